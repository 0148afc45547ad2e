import KVCore
import KVModel
import Testing

struct PlacementEdgeTests {
  private func table(_ members: [Member], replication: Int, bits: Int = 8) -> (Layout, PartitionTable) {
    let settings = ClusterSettings(replication: replication, partitionBits: bits)
    let layout = RingSample.layout(members, settings)
    return (layout, Placement.table(for: layout))
  }

  @Test func `one node owns everything`() {
    var random = PRNG(seed: 1)
    let (layout, table) = table([RingSample.member(zone: 0, random: &random)], replication: 3)
    #expect(table.copies == 1)
    #expect(RingMeasure.faults(table, layout) == [])
  }

  @Test func `two nodes hold two of three copies`() {
    var random = PRNG(seed: 2)
    let (layout, table) = table(RingSample.members(2, zones: 1, weights: [100], random: &random), replication: 3)
    #expect(table.copies == 2)
    #expect(RingMeasure.faults(table, layout) == [])
  }

  @Test(arguments: [1, 5, 7]) func `other numbers of copies keep the bounds`(replication: Int) {
    var random = PRNG(seed: 3)
    for zones in 1...9 {
      let members = RingSample.members(18, zones: zones, weights: [100, 200, 400], scattered: true, random: &random)
      let (layout, table) = table(members, replication: replication, bits: 10)
      #expect(RingMeasure.faults(table, layout) == [])
      #expect(RingMeasure.loads(table, layout).most <= 1_100)
    }
  }

  @Test func `a zone with almost all the weight gets its one copy and the others share the rest`() {
    var random = PRNG(seed: 4)
    let members = (0..<12).map { RingSample.member(zone: $0 % 4, weight: $0 % 4 == 0 ? 10_000 : 1, random: &random) }
    let (layout, table) = table(members, replication: 3, bits: 10)
    #expect(RingMeasure.faults(table, layout) == [])
    #expect(RingMeasure.loads(table, layout).most <= 1_100)
    let shares = FairShares(of: layout).shares
    let heavy = layout.members.indices.filter { layout.members[$0].weight > 1 }.map { shares[$0] }
    #expect(heavy.allSatisfy { $0 / 3 == FairShares.one / 9 })
  }

  @Test func `many nodes of one host share one copy`() {
    var random = PRNG(seed: 5)
    let crowd = (0..<6).map { _ in RingSample.member(zone: 0, host: "metal", random: &random) }
    let (layout, table) = table(
      crowd + RingSample.members(3, zones: 1, weights: [100], random: &random), replication: 3)
    #expect(RingMeasure.faults(table, layout) == [])
    #expect(RingMeasure.loads(table, layout).most <= 1_100)
    #expect(Placement.table(for: RingSample.layout(crowd, layout.settings)).copies == 1)
  }

  @Test func `a change of the number of copies keeps those that stay`() {
    var random = PRNG(seed: 6)
    let members = RingSample.members(10, zones: 3, weights: [100, 200], random: &random)
    let (layout, table) = table(members, replication: 3, bits: 10)
    for replication in [1, 2, 5] {
      let next = RingSample.layout(members, ClusterSettings(replication: replication), version: 2)
      let after = Placement.table(for: next, after: table, of: layout)
      #expect(RingMeasure.faults(after, next) == [])
      #expect(RingMeasure.loads(after, next).most <= 1_100)
    }
  }

  /// HAZARDS.md, row 20.
  @Test func `hazard 20: every list names distinct hosts on every ring, before and after a change`() {
    var random = PRNG(seed: 20)
    for _ in 0..<RingSample.rings {
      let (layout, table) = randomRing(&random)
      #expect(RingMeasure.faults(table, layout) == [])
      let gone = layout.members.count > 1 ? random.index(layout.members.count) : -1
      let left = layout.members.enumerated().filter { $0.offset != gone }.map(\.element)
      let next = RingSample.layout(left + [RingSample.member(zone: random.index(3), random: &random)], layout.settings)
      #expect(RingMeasure.faults(Placement.table(for: next, after: table, of: layout), next) == [])
    }
  }

  /// 1 to 12 nodes on hosts of up to 4 nodes, in up to 6 zones, with any weights.
  private func randomRing(_ random: inout PRNG) -> (Layout, PartitionTable) {
    let hosts = 1 + random.index(12)
    let zones = 1 + random.index(6)
    let members = (0..<(1 + random.index(12))).map { _ in
      let host = random.index(hosts)
      let weight = 1 + random.index(random.chance(1, of: 2) ? 4 : 10_000)
      return RingSample.member(zone: host % zones, weight: weight, host: "h\(host)", random: &random)
    }
    return table(members, replication: 1 + random.index(7), bits: 4 + random.index(3))
  }

  @Test func `the checkers reject a plain clockwise walk and a list with one host twice`() {
    var random = PRNG(seed: 7)
    let members = RingSample.members(100, zones: 1, weights: [100], random: &random)
    let layout = RingSample.layout(members, RingSample.settings(nodes: 100))
    let plain = RingSample.clockwiseWalk(layout)
    #expect(RingMeasure.faults(plain, layout) == [])
    #expect(RingMeasure.loads(plain, layout).most > 1_100)

    let bad = PartitionTable(partitionBits: 12, copies: 3, owners: plain.owners.map { $0 / 2 * 2 })
    #expect(RingMeasure.faults(bad, layout) != [])
    let zoned = RingSample.layout(RingSample.members(99, zones: 3, weights: [100], random: &random), layout.settings)
    let blind = PartitionTable(partitionBits: 12, copies: 3, owners: plain.owners.map { min($0, 98) })
    #expect(RingMeasure.faults(blind, zoned) != [])
  }

  @Test func `the checkers see that levelling afresh moves too much`() {
    var random = PRNG(seed: 8)
    let settings = RingSample.settings(nodes: 100)
    let members = RingSample.members(100, zones: 1, weights: [100], random: &random)
    let layout = RingSample.layout(members, settings)
    let next = RingSample.layout(Array(members.dropLast()), settings, version: 2)
    let (moved, least) = RingMeasure.movement(
      from: (layout, Placement.table(for: layout)), to: (next, Placement.table(for: next)))
    #expect(moved * 100 > least * 125)
  }
}
