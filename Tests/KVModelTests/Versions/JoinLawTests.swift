import Testing

@testable import KVModel

#if DEBUG
  private let vectorCases = 20_000
  private let recordCases = 5_000
#else
  private let vectorCases = 1_500_000
  private let recordCases = 700_000
#endif

/// DESIGN.md §5: "its join is commutative, associative, idempotent; a version leaves only when a context covers its
/// dot". Preguiça et al. 2010; Almeida et al., DAIS 2014. Some 2.2 M cases in release.
@Suite struct JoinLawTests {
  @Test func `vectors form a lattice whose join is the least upper bound`() {
    let world = World(seed: 1)
    var random = PRNG(seed: 2)
    let pool = (0..<4_096).map { _ in world.vector(&random) }
    var broken = 0
    for _ in 0..<vectorCases {
      let (a, b, c) = (random.pick(pool), random.pick(pool), random.pick(pool))
      let ab = a.joined(b)
      let upper = c.covers(a) && c.covers(b)
      let holds =
        ab == b.joined(a) && ab.joined(c) == a.joined(b.joined(c)) && a.joined(a) == a
        && ab.covers(a) && ab.covers(b) && (!upper || c.covers(ab)) && (a.covers(b) == (ab == a))
      broken += holds ? 0 : 1
    }
    #expect(broken == 0)
  }

  @Test func `a joined vector has the higher counter of each actor, and no other`() {
    var random = PRNG(seed: 3)
    for _ in 0..<(vectorCases / 50) {
      let (a, b) = (random.vector(), random.vector())
      var naive: [Actor: UInt64] = [:]
      for entry in a.entries + b.entries { naive[entry.actor] = max(naive[entry.actor] ?? 0, entry.counter) }
      let joined = a.joined(b)
      #expect(joined.entries == naive.map { .init(actor: $0, counter: $1) }.sorted { $0.actor < $1.actor })
      for (actor, counter) in naive { #expect(joined[actor] == counter) }
      #expect(joined == VersionVector(a.entries.reversed() + b.entries.shuffled(using: &random)))
    }
  }

  @Test func `records form a lattice whose join is the least upper bound`() {
    let (broken, example) = judge({ $0.joined($1) }, cases: recordCases)
    #expect(broken == 0, "\(example)")
  }

  @Test func `planted: wrong joins break a law or lose a dot, and the same judge says so`() {
    for (name, join) in PlantedJoin.all {
      #expect(judge(join, cases: 2_000).broken > 0, "\(name) passed")
    }
  }

  @Test func `a join keeps every version that no context covers, and revives none`() {
    let world = World(seed: 6, actors: 3, countersMax: 3)
    var random = PRNG(seed: 7)
    let pool = (0..<1_024).map { _ in world.record(&random) }
    var lost = 0
    for _ in 0..<(recordCases / 10) {
      let (a, b) = (random.pick(pool), random.pick(pool))
      lost += lostOrRevived(by: { $0.joined($1) }, a, b, in: world) == nil ? 0 : 1
    }
    #expect(lost == 0)
  }

  @Test func `a sweep commutes with the join and leaves the digest as it was`() throws {
    let world = World(seed: 8)
    var random = PRNG(seed: 9)
    let key = try Key(Array("k".utf8))
    let pool = (0..<1_024).map { _ in world.record(&random) }
    for _ in 0..<(recordCases / 20) {
      let (a, b) = (random.pick(pool), random.pick(pool))
      let wall = WallTime(milliseconds: random.number())
      var (sweptA, sweptB, sweptJoin) = (a, b, a.joined(b))
      sweptA.sweep(at: wall)
      sweptB.sweep(at: wall)
      sweptJoin.sweep(at: wall)
      #expect(sweptA.joined(sweptB) == sweptJoin)
      #expect(sweptA.joined(b) == b.joined(sweptA))
      #expect(sweptA.digest(of: key, seed: 5) == a.digest(of: key, seed: 5))
      #expect(sweptA.joined(b).digest(of: key, seed: 5) == a.joined(b).digest(of: key, seed: 5))
      #expect(sweptA.versions.allSatisfy { !$0.isExpired(at: wall) || $0.valueBytes == 0 })
    }
  }

  @Test func `what a record names as standing beside it is exactly what it has not seen`() {
    let world = World(seed: 10)
    var random = PRNG(seed: 11)
    for _ in 0..<(recordCases / 50) {
      let (a, b) = (world.record(&random), world.record(&random))
      let beside = a.beside(in: b)
      let unseen = zip(world.standings(in: a), world.standings(in: b)).contains { $0 == .unseen && $1 == .live }
      #expect((beside != nil) == unseen)
      guard let beside else { continue }
      #expect(b.versions.allSatisfy { beside.history.covers($0.dot) && $0.stamp <= beside.stamp })
    }
  }
}

/// How many of `cases` triples break a law of `join` or lose or revive a dot, with the first example.
private func judge(_ join: Join, cases: Int) -> (broken: Int, example: String) {
  let world = World(seed: 4)
  var random = PRNG(seed: 5)
  let pool = (0..<2_048).map { _ in world.record(&random) }
  var broken = 0
  var example = ""
  for round in 0..<cases {
    let records = (random.pick(pool), random.pick(pool), random.pick(pool))
    var law = brokenLaw(of: join, on: records, in: world)
    if law == nil, round % 16 == 0, let dot = lostOrRevived(by: join, records.0, records.1, in: world) {
      law = "standing of \(dot)"
    }
    guard let law else { continue }
    if broken == 0 { example = "\(law): \(records)" }
    broken += 1
  }
  return (broken, example)
}
