import KVModel

/// What of the hints every store keeps in memory, so that their number is exact, their bound holds, and none is forgotten
/// that was written again. Newest state, what is not yet synced included.
///
/// A hint costs its key on the disk and about thirty bytes here: of a key only its hash is kept. Should two keys ever
/// share one, the count is off by one and a hint is delivered once more; none is lost.
///
/// ```
///   note(target, key) ──► room? ──yes──► .key   the key's own entry
///                           │ no
///                           └──────────► .mark  its Merkle leaf is dirty for that target, until an exchange ends
/// ```
public struct HintIndex: Sendable {
  /// What is to be written beside the record.
  public enum Entry: Equatable, Sendable {
    case key
    case mark(LeafPlace)
    /// Its leaf is marked already.
    case nothing
  }

  private struct Target: Sendable {
    let node: NodeID
    /// When each was last noted, by the hash of its key.
    var keys: [UInt64: UInt64] = [:]
    var marks: [LeafPlace: UInt64] = [:]
  }

  /// Hints of keys, of all targets together; beyond it leaves are marked.
  public let keysMax: Int
  /// Hints of keys there are.
  public private(set) var count = 0
  /// Counts what was noted. Batches and pages carry it, so that what was noted later is told apart.
  public private(set) var sequence: UInt64 = 0
  /// Hints that found no room, since the start.
  public private(set) var overBudget: UInt64 = 0
  /// Ascending by node.
  private var targets: [Target] = []

  public init(keysMax: Int) { self.keysMax = keysMax }

  public var isEmpty: Bool { targets.isEmpty }

  // MARK: Noting

  /// A key of which `target` may have missed something.
  public mutating func note(_ target: NodeID, _ key: Key, _ place: LeafPlace) -> Entry {
    sequence += 1
    let index = self.place(of: target)
    let hash = key.fingerprint(seed: 0)
    let isKnown = targets[index].keys[hash] != nil
    guard isKnown || count < keysMax else {
      overBudget += 1
      return targets[index].marks.updateValue(sequence, forKey: place) == nil ? .mark(place) : .nothing
    }
    if !isKnown { count += 1 }
    targets[index].keys[hash] = sequence
    return .key
  }

  private mutating func place(of node: NodeID) -> Int {
    let index = targets.firstIndex { $0.node >= node } ?? targets.count
    if index == targets.count || targets[index].node != node { targets.insert(Target(node: node), at: index) }
    return index
  }

  // MARK: What an earlier start left

  public mutating func load(_ target: NodeID, _ key: Key) {
    let index = self.place(of: target)
    if targets[index].keys.updateValue(0, forKey: key.fingerprint(seed: 0)) == nil { count += 1 }
  }

  public mutating func load(_ target: NodeID, _ place: LeafPlace) {
    targets[self.place(of: target)].marks[place] = 0
  }

  // MARK: Forgetting

  /// Of these keys those whose hint may go: none that was noted after `sequence`.
  public mutating func forget(_ target: NodeID, _ keys: [Key], upTo sequence: UInt64) -> [Key] {
    guard let index = targets.firstIndex(where: { $0.node == target }) else { return keys }
    let forgotten = keys.filter { key in
      let hash = key.fingerprint(seed: 0)
      guard let noted = targets[index].keys[hash] else { return true }
      guard noted <= sequence else { return false }
      targets[index].keys[hash] = nil
      count -= 1
      return true
    }
    dropIfEmpty(index)
    return forgotten
  }

  /// The marks of a partition that may go, ascending: none that was noted after `sequence`.
  public mutating func forgetMarks(
    _ target: NodeID, _ partition: PartitionID, upTo sequence: UInt64
  ) -> [LeafPlace] {
    guard let index = targets.firstIndex(where: { $0.node == target }) else { return [] }
    let gone = targets[index].marks.filter { $0.key.partition == partition && $0.value <= sequence }.keys.sorted()
    for place in gone { targets[index].marks[place] = nil }
    dropIfEmpty(index)
    return gone
  }

  private mutating func dropIfEmpty(_ index: Int) {
    if targets[index].keys.isEmpty, targets[index].marks.isEmpty { targets.remove(at: index) }
  }

  // MARK: Counted

  /// All that is noted; `synced` is the sequence of what is synced.
  public func census(synced: UInt64) -> HintCensus {
    HintCensus(
      targets: targets.map { target in
        HintCensus.Target(
          node: target.node, keys: target.keys.count, marks: target.marks.count,
          marked: Set(target.marks.keys.map(\.partition)).sorted())
      }, sequence: synced, overBudget: overBudget)
  }
}

/// How many hints a store holds, and for whom.
public struct HintCensus: Equatable, Sendable {
  public struct Target: Equatable, Sendable {
    public var node: NodeID
    /// Keys with a hint of their own.
    public var keys: Int
    /// Dirty leaves.
    public var marks: Int
    /// The partitions of these, ascending.
    public var marked: [PartitionID]

    public init(node: NodeID, keys: Int, marks: Int, marked: [PartitionID]) {
      self.node = node
      self.keys = keys
      self.marks = marks
      self.marked = marked
    }
  }

  /// Ascending by node; those for whom there is nothing are left out.
  public var targets: [Target]
  /// Of what is synced: what is noted later has a higher one.
  public var sequence: UInt64
  /// Hints that found no room and became marks, since the start.
  public var overBudget: UInt64

  public init(targets: [Target] = [], sequence: UInt64 = 0, overBudget: UInt64 = 0) {
    self.targets = targets
    self.sequence = sequence
    self.overBudget = overBudget
  }

  public var keys: Int { targets.reduce(0) { $0 + $1.keys } }
  public var marks: Int { targets.reduce(0) { $0 + $1.marks } }

  public func isMarked(_ partition: PartitionID, for node: NodeID) -> Bool {
    targets.contains { $0.node == node && $0.marked.contains(partition) }
  }
}

/// Some hints for a target, in ring order, with what this owner has of their keys now.
public struct HintPage: Equatable, Sendable {
  /// A damaged record, or none, has the digest of nothing.
  public var entries: [HintOffer.Entry]
  /// Nothing follows these.
  public var isLast: Bool
  /// Of what was synced when they were listed.
  public var sequence: UInt64

  public init(entries: [HintOffer.Entry], isLast: Bool, sequence: UInt64) {
    self.entries = entries
    self.isLast = isLast
    self.sequence = sequence
  }
}
