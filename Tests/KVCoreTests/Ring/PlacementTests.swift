import KVCore
import KVModel
import Testing

struct PlacementTests {
  /// The ring of `issue 2`, part 3: nodes, zones, whether weights are 1:2:4.
  static let grid: [(nodes: Int, zones: Int, weights: [Int])] = RingSample.nodes.flatMap { nodes in
    (1...5).filter { $0 <= nodes }.flatMap { zones in [(nodes, zones, [100]), (nodes, zones, [100, 200, 400])] }
  }

  @Test(arguments: grid)
  func `a fresh table is sound and loads no node above 1.10 of its fair share`(
    nodes: Int, zones: Int, weights: [Int]
  ) {
    for seed in 0..<RingSample.seeds {
      var random = PRNG(seed: UInt64(seed))
      let members = RingSample.members(nodes, zones: zones, weights: weights, scattered: seed % 2 == 1, random: &random)
      let layout = RingSample.layout(members, RingSample.settings(nodes: nodes))
      let table = Placement.table(for: layout)
      let loads = RingMeasure.loads(table, layout)
      #expect(RingMeasure.faults(table, layout) == [])
      #expect(loads.most <= 1_100, "seed \(seed)")
      #expect(loads.mostFirst <= 1_200, "seed \(seed)")
    }
  }

  @Test(arguments: grid)
  func `a join and a leave move at most 1.25 times the least possible`(nodes: Int, zones: Int, weights: [Int]) {
    for seed in 0..<RingSample.seeds {
      var random = PRNG(seed: UInt64(seed))
      let members = RingSample.members(nodes, zones: zones, weights: weights, scattered: seed % 2 == 1, random: &random)
      let settings = RingSample.settings(nodes: nodes)
      let before = RingSample.layout(members, settings)
      let table = Placement.table(for: before)
      for zone in 0..<(seed / 2 == 0 ? zones : 1) {
        let weight = weights[(zone + seed) % weights.count]
        let joined = members + [RingSample.member(zone: zone, weight: weight, random: &random)]
        change(from: (before, table), to: RingSample.layout(joined, settings, version: 2))
      }
      for gone in [random.index(nodes), random.index(nodes)] where nodes > 3 {
        var left = members
        left.remove(at: gone)
        change(from: (before, table), to: RingSample.layout(left, settings, version: 2))
      }
    }
  }

  private func change(from old: (layout: Layout, table: PartitionTable), to layout: Layout) {
    let table = Placement.table(for: layout, after: old.table, of: old.layout)
    let (moved, least) = RingMeasure.movement(from: old, to: (layout, table))
    let loads = RingMeasure.loads(table, layout)
    #expect(RingMeasure.faults(table, layout) == [])
    #expect(loads.most <= 1_100)
    #expect(loads.mostFirst <= 1_200)
    #expect(moved * 100 <= least * 125)
  }

  @Test func `thirty changes in a row keep every bound`() {
    var random = PRNG(seed: 11)
    let settings = RingSample.settings(nodes: 40)
    var members = RingSample.members(12, zones: 4, weights: [100, 200, 400], random: &random)
    var layout = RingSample.layout(members, settings)
    var table = Placement.table(for: layout)
    var (moved, least) = (0, 0)
    for version in 2...31 {
      if random.chance(1, of: 3) {
        members.remove(at: random.index(members.count))
      } else {
        members.append(RingSample.member(zone: random.index(4), weight: 100 << random.index(3), random: &random))
      }
      let next = RingSample.layout(members, settings, version: UInt32(version))
      let after = Placement.table(for: next, after: table, of: layout)
      let movement = RingMeasure.movement(from: (layout, table), to: (next, after))
      (moved, least) = (moved + movement.moved, least + movement.least)
      #expect(RingMeasure.faults(after, next) == [])
      #expect(RingMeasure.loads(after, next).most <= 1_100)
      (layout, table) = (next, after)
    }
    #expect(moved * 100 <= least * 125)
  }

  @Test func `a change that changes nothing moves nothing`() {
    var random = PRNG(seed: 12)
    let members = RingSample.members(20, zones: 4, weights: [100, 300], scattered: true, random: &random)
    let layout = RingSample.layout(members, RingSample.settings(nodes: 20))
    let table = Placement.table(for: layout)
    #expect(
      RingMeasure.movement(
        from: (layout, table), to: (layout, Placement.table(for: layout, after: table, of: layout))
      ).moved == 0)
  }

  @Test func `the table is the same whatever the order in which members were learnt`() {
    var random = PRNG(seed: 13)
    let settings = RingSample.settings(nodes: 30)
    let members = RingSample.members(30, zones: 4, weights: [100, 200, 400], scattered: true, random: &random)
    let layout = RingSample.layout(members, settings)
    let table = Placement.table(for: layout)
    let fewer = RingSample.layout(Array(members.dropLast()), settings)
    let after = Placement.table(for: fewer, after: table, of: layout)
    for _ in 0..<10 {
      #expect(Placement.table(for: RingSample.layout(members.shuffled(using: &random), settings)) == table)
      let shuffled = RingSample.layout(members.dropLast().shuffled(using: &random), settings)
      #expect(Placement.table(for: shuffled, after: table, of: layout) == after)
    }
  }

  /// What every version of this code must compute, for clusters that run on it.
  @Test func `the table of a given layout never changes`() {
    var random = PRNG(seed: 14)
    let members = RingSample.members(9, zones: 3, weights: [100, 200, 400], random: &random)
    var bytes: [UInt8] = []
    Placement.table(for: RingSample.layout(members, RingSample.settings(nodes: 9))).encode(into: &bytes)
    #expect(Checksum.of(bytes) == 13_631_278_061_962_028_117)
  }
}
