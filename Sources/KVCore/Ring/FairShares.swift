import KVModel

/// What each member ought to hold: its weight's part of the copies, as far as zones and hosts allow it.
///
/// With Z zones, h(z) distinct hosts in zone z and C = min(N, distinct hosts) copies, one partition takes from zone z
///
///     floor(z) = min(h(z), L)      where L is the largest level with Σ min(h(z), L) ≤ C
///
/// copies, and the C − Σ floor(z) extra copies go to distinct zones that have more than L hosts, one each. With at
/// least C zones that is C distinct zones (L = 0, or L = 1 when there are exactly C); with fewer, the most even spread
/// there is. On average over the partitions zone z may take any x(z) from floor(z) to floor(z) + 1 (floor(z) when it
/// has no more hosts), a host at most one copy, and a node its weight's part of its host's.
///
/// Fair is the one feasible point in which weights are water-filled: there is a level μ with
///
///     x(z) = Σ over hosts h of z of min(1, μ·weight(h)), brought into its bounds;    Σ x(z) = C
///     share(h) = min(1, μ(z)·weight(h)), where μ(z) is the level that makes them sum to x(z)
///     share(node) = share(host)·weight(node)/weight(host)
///
/// so that nobody could have more without someone who has less for its weight having less still. A join or a leave
/// moves at least Σ max(0, fair copies after − fair copies before): copies that someone must receive.
public struct FairShares: Hashable, Sendable {
  /// A share of one: the member holds a copy of every partition.
  public static let one: UInt64 = 1 << 32

  /// Copies of each partition: N, or the number of distinct hosts when there are fewer.
  public let copies: Int
  /// Copies a partition that each member ought to hold, in units of 2^-32; `layout.members`' order.
  public private(set) var shares: [UInt64]

  /// The zone of each member, numbered by first appearance. A host lies where its member of least id does.
  let zoneOf: [Int]
  /// The host of each member, numbered by first appearance.
  let hostOf: [Int]
  /// Copies of every partition that each zone holds at least.
  let floors: [Int]
  /// Whether a zone may hold one more than its floor.
  let takesExtra: [Bool]
  /// Copies of a partition above the floors, each in a zone of its own.
  let extras: Int

  /// The shares in `layout`. Needs at least one member.
  public init(of layout: Layout) {
    let members = layout.members
    let domains = Domains(of: members)
    copies = min(layout.settings.replication, domains.hostWeights.count)
    var level = 0
    while domains.hosts.reduce(0, { $0 + min($1.count, level + 1) }) <= copies, level < copies { level += 1 }
    zoneOf = domains.zoneOf
    hostOf = domains.hostOf
    floors = domains.hosts.map { min($0.count, level) }
    takesExtra = domains.hosts.map { $0.count > level }
    extras = copies - floors.reduce(0, +)
    shares = []
    let ofHosts = waterFill(domains)
    shares = members.indices.map { index in
      let host = hostOf[index]
      return ofHosts[host] * UInt64(max(1, members[index].weight)) / domains.hostWeights[host]
    }
  }

  /// Copies that a member ought to hold among `partitions` of them, in units of 2^-32.
  public func fair(_ member: Int, of partitions: Int) -> UInt64 { shares[member] * UInt64(partitions) }

  private func waterFill(_ domains: Domains) -> [UInt64] {
    func zone(_ zone: Int, at level: UInt64) -> UInt64 {
      domains.hosts[zone].reduce(0) { $0 + FairShares.filled(domains.hostWeights[$1], to: level) }
    }
    func bounded(_ index: Int, at level: UInt64) -> UInt64 {
      let floor = UInt64(floors[index]) * FairShares.one
      return min(max(zone(index, at: level), floor), takesExtra[index] ? floor + FairShares.one : floor)
    }
    let all = FairShares.level { level in
      domains.hosts.indices.reduce(0) { $0 + bounded($1, at: level) } >= UInt64(copies) * FairShares.one
    }
    var filled = [UInt64](repeating: 0, count: domains.hostWeights.count)
    for index in domains.hosts.indices {
      let own = FairShares.level { zone(index, at: $0) >= bounded(index, at: all) }
      for host in domains.hosts[index] { filled[host] = FairShares.filled(domains.hostWeights[host], to: own) }
    }
    return filled
  }

  /// The part of a partition that a host of `weight` takes at `level`, which is in units of 2^-52 a unit of weight.
  private static func filled(_ weight: UInt64, to level: UInt64) -> UInt64 {
    level >= (one << 20) / weight ? one : (level * weight) >> 20
  }

  /// The least level that is `enough`; at the highest everybody is full.
  private static func level(_ enough: (UInt64) -> Bool) -> UInt64 {
    var low: UInt64 = 0
    var high = one << 20
    while low < high {
      let middle = (low + high) / 2
      if enough(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

/// Members grouped by host, hosts by zone. Numbers follow the order of members, never that of a dictionary.
private struct Domains {
  var zoneOf: [Int] = []
  var hostOf: [Int] = []
  /// The hosts of each zone.
  var hosts: [[Int]] = []
  var hostWeights: [UInt64] = []

  init(of members: [Member]) {
    var zones: [String: Int] = [:]
    var known: [String: (host: Int, zone: Int)] = [:]
    for member in members {
      let weight = UInt64(max(1, member.weight))
      if let place = known[member.host] {
        hostOf.append(place.host)
        zoneOf.append(place.zone)
        hostWeights[place.host] += weight
        continue
      }
      let zone = zones[member.zone] ?? hosts.count
      if zone == hosts.count {
        zones[member.zone] = zone
        hosts.append([])
      }
      let host = hostWeights.count
      known[member.host] = (host, zone)
      hosts[zone].append(host)
      hostWeights.append(weight)
      hostOf.append(host)
      zoneOf.append(zone)
    }
  }
}
