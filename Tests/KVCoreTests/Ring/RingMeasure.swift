import KVCore
import KVModel

/// What the placement tests measure and check. None of it uses the placement's own bookkeeping but `FairShares`.
enum RingMeasure {
  /// Highest load over fair share, and highest number of first places over its fair part, in thousandths.
  struct Loads {
    var most = 0
    var mostFirst = 0
  }

  static func loads(_ table: PartitionTable, _ layout: Layout) -> Loads {
    let fair = FairShares(of: layout)
    var copies = [Int](repeating: 0, count: layout.members.count)
    var firsts = copies
    for partition in 0..<table.partitions {
      let owners = table[PartitionID(UInt16(partition))]
      for owner in owners { copies[Int(owner)] += 1 }
      firsts[Int(owners.first!)] += 1
    }
    var loads = Loads()
    for member in layout.members.indices {
      let exact = Int(fair.fair(member, of: table.partitions))
      loads.most = max(loads.most, (copies[member] << 32) * 1_000 / exact)
      loads.mostFirst = max(loads.mostFirst, (firsts[member] << 32) * 1_000 * table.copies / exact)
    }
    return loads
  }

  /// Copies that a change moved, and the least that the change of fair shares forces, in thousandths of a copy.
  static func movement(
    from old: (layout: Layout, table: PartitionTable), to new: (layout: Layout, table: PartitionTable)
  ) -> (moved: Int, least: Int) {
    var moved = 0
    for partition in 0..<new.table.partitions {
      let id = PartitionID(UInt16(partition))
      let before = old.table[id].map { old.layout.members[Int($0)].id }
      for owner in new.table[id] where !before.contains(new.layout.members[Int(owner)].id) { moved += 1 }
    }
    let before = FairShares(of: old.layout)
    let after = FairShares(of: new.layout)
    var least: UInt64 = 0
    for (index, member) in new.layout.members.enumerated() {
      let had = old.layout.index(of: member.id).map { before.fair($0, of: new.table.partitions) } ?? 0
      let has = after.fair(index, of: new.table.partitions)
      if has > had { least += has - had }
    }
    return (moved * 1_000, Int((least * 1_000) >> 32))
  }

  /// The rules that a table breaks, by name; empty when it is sound.
  static func faults(_ table: PartitionTable, _ layout: Layout) -> [String] {
    let hosts = Set(layout.members.map(\.host)).count
    let zones = Dictionary(grouping: layout.members, by: \.zone).mapValues { Set($0.map(\.host)).count }
    var faults: [String] = []
    if table.copies != min(layout.settings.replication, hosts) { faults.append("copies \(table.copies)") }
    for partition in 0..<table.partitions {
      let owners = table[PartitionID(UInt16(partition))].map { layout.members[Int($0)] }
      if Set(owners.map(\.id)).count != table.copies { faults.append("\(partition): a node twice") }
      if Set(owners.map(\.host)).count != table.copies { faults.append("\(partition): a host twice") }
      let used = Dictionary(grouping: owners, by: \.zone).mapValues(\.count)
      if used.count != min(table.copies, zones.count) { faults.append("\(partition): \(used.count) zones") }
      if !isEven(used, zones) { faults.append("\(partition): zones \(used)") }
    }
    return faults
  }

  /// No copy could go from a zone to one with two fewer and a host to spare.
  private static func isEven(_ used: [String: Int], _ hosts: [String: Int]) -> Bool {
    hosts.allSatisfy { zone, count in
      let here = used[zone, default: 0]
      return here == count || used.values.allSatisfy { $0 <= here + 1 }
    }
  }
}

/// Layouts to measure. Member ids are drawn from the seed.
enum RingSample {
  /// Optimised code is some forty times as fast; a debug build runs a sample of the same cases.
  #if DEBUG
    static let (nodes, seeds, rings) = ([3, 5, 10], 2, 200)
  #else
    static let (nodes, seeds, rings) = ([3, 5, 10, 30, 100], 4, 3_000)
  #endif

  static func settings(nodes: Int, replication: Int = 3) -> ClusterSettings {
    var bits = 10
    while 1 << bits < 40 * nodes { bits += 1 }
    return ClusterSettings(replication: replication, partitionBits: bits)
  }

  static func layout(_ members: [Member], _ settings: ClusterSettings, version: UInt32 = 1) -> Layout {
    Layout(cluster: ClusterID(7), version: version, settings: settings, members: members)
  }

  static func member(zone: Int, weight: Int = 100, host: String? = nil, random: inout PRNG) -> Member {
    let id = NodeID(random.next())
    let address = Address(host: "127.0.0.1", port: 1)
    return Member(
      id: id, name: "\(id)", clientAddress: address, peerAddress: address, zone: "z\(zone)", host: host ?? "\(id)",
      weight: UInt16(weight))
  }

  /// `nodes` members dealt over `zones`; `weights` in turn within a zone, or (scattered) both at random.
  static func members(
    _ nodes: Int, zones: Int, weights: [Int], scattered: Bool = false, random: inout PRNG
  ) -> [Member] {
    (0..<nodes).map { number in
      let zone = scattered && number >= zones ? random.index(zones) : number % zones
      let weight = weights[scattered ? random.index(weights.count) : number / zones % weights.count]
      return member(zone: zone, weight: weight, random: &random)
    }
  }

  /// The plain clockwise walk, for one zone or several: the first N tokens of distinct hosts, of distinct zones while
  /// there are any. What `Placement` would be without its levelling.
  static func clockwiseWalk(_ layout: Layout) -> PartitionTable {
    let copies = min(layout.settings.replication, Set(layout.members.map(\.host)).count)
    let zones = Set(layout.members.map(\.zone)).count
    let ring = layout.members.enumerated().flatMap { index, member in
      (0..<(Int(member.weight) * layout.settings.virtualNodes / 100)).map { number in
        var bytes: [UInt8] = []
        bytes.append(integer: member.id.value)
        bytes.append(integer: UInt32(number))
        return (bytes.withUnsafeBytes { Murmur3.hash($0).first }, index)
      }
    }.sorted { $0 < $1 }
    var owners: [UInt16] = []
    for partition in 0..<layout.settings.partitions {
      let start = UInt64(partition) << UInt64(64 - layout.settings.partitionBits)
      var list: [Int] = []
      var place = ring.firstIndex { $0.0 >= start } ?? 0
      while list.count < copies {
        let member = layout.members[ring[place].1]
        let used = Set(list.map { layout.members[$0].zone })
        let isNew = !list.contains { layout.members[$0].host == member.host }
        if isNew, !used.contains(member.zone) || used.count == zones { list.append(ring[place].1) }
        place = (place + 1) % ring.count
      }
      owners += list.map { UInt16($0) }
    }
    return PartitionTable(partitionBits: layout.settings.partitionBits, copies: copies, owners: owners)
  }
}
