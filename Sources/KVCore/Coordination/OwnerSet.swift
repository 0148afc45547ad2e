import KVModel

/// A set of owners of one key, by their places in its `OwnerSet`.
public struct OwnerMask: Equatable, Sendable {
  public var bits: UInt32

  public init(bits: UInt32 = 0) { self.bits = bits }

  public mutating func insert(_ place: Int) { bits |= 1 << UInt32(place) }
  public mutating func remove(_ place: Int) { bits &= ~(1 << UInt32(place)) }
  public func contains(_ place: Int) -> Bool { bits & 1 << UInt32(place) != 0 }
  public func union(_ other: OwnerMask) -> OwnerMask { OwnerMask(bits: bits | other.bits) }
  public var count: Int { bits.nonzeroBitCount }
}

/// The owners of a key in every live layout. A quorum is a quorum in each of them.
public struct OwnerSet: Equatable, Sendable {
  /// In order of preference, each node once; at most 32.
  public private(set) var nodes: [NodeID] = []
  /// For each live layout, newest first, who of `nodes` is an owner in it.
  public private(set) var groups: [OwnerMask] = []

  /// What the answers so far mean.
  public enum Decision: Equatable, Sendable {
    case met
    case impossible
    case waiting
  }

  /// Adds a layout's owners.
  mutating func addGroup(_ owners: [NodeID]) {
    var group = OwnerMask()
    for owner in owners {
      if let place = place(of: owner) {
        group.insert(place)
      } else {
        group.insert(nodes.count)
        nodes.append(owner)
      }
    }
    if groups.last != group { groups.append(group) }
    invariant(nodes.count <= 32, "\(nodes.count) owners of one key")
  }

  /// N: owners in the current layout.
  public var copies: Int { groups.first?.count ?? 0 }

  /// Those of `nodes` whose places are in a mask.
  func nodes(of mask: OwnerMask) -> [NodeID] { nodes.indices.filter { mask.contains($0) }.map { nodes[$0] } }

  /// The place of a node in `nodes`; nil when it is no owner.
  public func place(of node: NodeID) -> Int? { nodes.firstIndex(of: node) }

  /// Whether more than half of the owners of every layout are in a mask, so that any two such masks share an owner.
  func isMajority(_ mask: OwnerMask) -> Bool {
    groups.allSatisfy { ($0.bits & mask.bits).nonzeroBitCount * 2 > $0.count }
  }

  /// Whether `needed` owners of every layout are among `succeeded`, or still can be when those in `failed` cannot.
  ///
  /// An owner has one bit, so it counts once however many replies it sends.
  public func decision(needed: Int, succeeded: OwnerMask, failed: OwnerMask) -> Decision {
    var decision = Decision.met
    for group in groups {
      let needed = min(needed, group.count)
      if (group.bits & succeeded.bits).nonzeroBitCount >= needed { continue }
      let lost = group.bits & failed.bits & ~succeeded.bits
      if group.count - lost.nonzeroBitCount < needed { return .impossible }
      decision = .waiting
    }
    return decision
  }
}
