import KVModel
import Testing

@testable import KVCore

struct MemberTableTests {
  static func entry(
    _ node: UInt64, generation: UInt64 = 1, incarnation: UInt64 = 0, _ state: MemberEntry.State = .alive,
    port: UInt16 = 7_421
  ) -> MemberEntry {
    MemberEntry(
      node: NodeID(node), generation: generation, incarnation: incarnation, state: state,
      clientAddress: Address(host: "10.0.0.1", port: 7_420), peerAddress: Address(host: "10.0.0.1", port: port),
      name: "n\(node)")
  }

  private static func table() -> MemberTable {
    var table = MemberTable()
    table.adopt([1, 2, 3].map(ControlTests.member))
    return table
  }

  /// Few values of each field, so that ties of all kinds occur.
  private static func draw(_ random: inout PRNG) -> MemberTable {
    var table = table()
    for _ in 0..<random.below(8) {
      table.merge(
        entry(
          random.within(1...3), generation: random.within(1...2), incarnation: random.below(3),
          MemberEntry.State.allCases[random.index(3)], port: UInt16(random.within(1...2))))
    }
    return table
  }

  private static func join(_ a: MemberTable, _ b: MemberTable) -> MemberTable {
    var joined = a
    for entry in b.entries { joined.merge(entry) }
    return joined
  }

  @Test func `hazard 30: the merge of tables is associative, commutative and idempotent`() {
    var random = PRNG(seed: 30)
    var differing = 0
    for _ in 0..<5_000 {
      let (a, b, c) = (Self.draw(&random), Self.draw(&random), Self.draw(&random))
      #expect(Self.join(a, b) == Self.join(b, a))
      #expect(Self.join(a, Self.join(b, c)) == Self.join(Self.join(a, b), c))
      #expect(Self.join(a, a) == a)
      #expect(Self.join(Self.join(a, b), b) == Self.join(a, b))
      differing += a == b ? 0 : 1
    }
    #expect(differing > 4_000, "the draw must tell the laws apart from no merge at all")
  }

  @Test func `of two entries of a node the later start counts, then the incarnation, then the worse state`() {
    let order = [
      Self.entry(2, generation: 1, incarnation: 0, .dead), Self.entry(2, generation: 1, incarnation: 1, .alive),
      Self.entry(2, generation: 1, incarnation: 1, .suspect), Self.entry(2, generation: 1, incarnation: 1, .dead),
      Self.entry(2, generation: 1, incarnation: 2, .alive), Self.entry(2, generation: 2, incarnation: 0, .alive),
    ]
    for (place, lower) in order.enumerated() {
      #expect(!lower.supersedes(lower))
      for higher in order[(place + 1)...] {
        #expect(higher.supersedes(lower) && !lower.supersedes(higher), "\(higher) and \(lower)")
      }
    }
  }

  @Test func `nobody comes in by gossip`() {
    var table = Self.table()
    let isTaken = table.merge(Self.entry(4))
    #expect(!isTaken)
    #expect(table == Self.table())
    #expect(table.isAbsurd(Self.entry(4)))
  }

  @Test func `hearsay far ahead of what is known is absurd, and nothing overflows`() {
    var table = Self.table()
    table.merge(Self.entry(2, generation: 7, incarnation: 9))
    let most = MemberTable.jumpMax
    #expect(!table.isAbsurd(Self.entry(2, generation: 7, incarnation: 9 + most)))
    #expect(table.isAbsurd(Self.entry(2, generation: 7, incarnation: 10 + most)))
    #expect(!table.isAbsurd(Self.entry(2, generation: 7 + most)))
    #expect(table.isAbsurd(Self.entry(2, generation: 8 + most)))
    #expect(table.isAbsurd(Self.entry(2, generation: .max, incarnation: .max)))
    #expect(table.isAbsurd(Self.entry(2, generation: 8, incarnation: .max)))
    #expect(!table.isAbsurd(Self.entry(2, generation: 6, incarnation: .max)), "what is old is only old")
  }
}
