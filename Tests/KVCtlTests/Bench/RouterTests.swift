import KVModel
import Testing

@testable import kvctl

@Suite struct `Routing of load` {
  /// Partition p belongs to p, p+1, p+2 of five nodes.
  private let table = PartitionTable(
    partitionBits: 4, copies: 3, owners: (0..<16).flatMap { p in (0..<3).map { UInt16((p + $0) % 5) } })

  private func pools(ready: Set<Int> = [0, 1, 2, 3, 4]) -> [LanePool] {
    (0..<5).map { node in
      var pool = LanePool(depth: 4)
      if ready.contains(node) { pool.add(node) }
      return pool
    }
  }

  private func owners(_ key: [UInt8]) throws -> [Int] {
    table[try Key(key).token.partition(bits: 4)].map { Int($0) }
  }

  @Test func `a write goes to the first owner, a read to any of them`() throws {
    var random = PRNG(seed: 1)
    let keys = KeyMaker(size: 16)
    for record in 0..<UInt64(200) {
      let key = keys.key(of: record)
      let owners = try owners(key)
      #expect(Router.ring(table).node(for: key, isWrite: true, pools(), &random) == owners[0])
      var seen: Set<Int> = []
      for _ in 0..<60 { seen.insert(try #require(Router.ring(table).node(for: key, isWrite: false, pools(), &random))) }
      #expect(seen == Set(owners))
    }
  }

  @Test func `of two owners a read takes the less busy one`() throws {
    var random = PRNG(seed: 1)
    let key = KeyMaker(size: 16).key(of: 3)
    let owners = try owners(key)
    var pools = pools()
    for _ in 0..<3 { _ = pools[owners[1]].take() }
    for _ in 0..<2 { _ = pools[owners[2]].take() }
    var counts = [Int: Int]()
    for _ in 0..<3_000 {
      counts[try #require(Router.ring(table).node(for: key, isWrite: false, pools, &random)), default: 0] += 1
    }
    // The busiest loses against both; the idle one wins against both.
    #expect(counts[owners[1]] == nil)
    #expect(counts[owners[0], default: 0] > counts[owners[2], default: 0])
  }

  @Test func `an owner that is away is passed over, and when all are, another node forwards`() throws {
    var random = PRNG(seed: 1)
    let key = KeyMaker(size: 16).key(of: 3)
    let owners = try owners(key)
    let others = Set(0..<5).subtracting(owners)
    let withoutFirst = pools(ready: Set(0..<5).subtracting([owners[0]]))
    #expect(Router.ring(table).node(for: key, isWrite: true, withoutFirst, &random) == owners[1])
    for _ in 0..<50 {
      #expect(Router.ring(table).node(for: key, isWrite: false, withoutFirst, &random) != owners[0])
      let far = try #require(Router.ring(table).node(for: key, isWrite: false, pools(ready: others), &random))
      #expect(others.contains(far))
    }
    #expect(Router.ring(table).node(for: key, isWrite: true, pools(ready: []), &random) == nil)
    #expect(Router.single.node(for: key, isWrite: true, [LanePool(depth: 1)], &random) == nil)
  }
}
