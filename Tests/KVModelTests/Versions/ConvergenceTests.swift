import Testing

@testable import KVModel

#if DEBUG
  private let histories = 150
#else
  private let histories: UInt64 = 12_000
#endif

/// HAZARDS.md NLA, NR, DU, CV on one key, without network or disk: the simulator's invariants, in small.
@Suite struct ConvergenceTests {
  @Test func `random histories agree with explicit causal histories at every step, and replicas end byte-identical`() {
    var failures: [String] = []
    for seed in 0..<UInt64(histories) {
      if let failure = live(seed, replicas: 2 + Int(seed % 4)) { failures.append("seed \(seed): \(failure)") }
    }
    #expect(failures == [])
  }

  @Test func `planted: wrong joins lose, revive or diverge, and the same judge says so`() {
    for (name, join) in PlantedJoin.all {
      let caught = (0..<200).contains { live($0, replicas: 3, join: join) != nil }
      #expect(caught, "\(name) passed")
    }
  }

  /// Rk#679, 1070, 1643: what the epoch is for. The simulator wipes disks; this is the rule alone.
  @Test func `planted: hazard 07: a replica that forgets and does not raise its epoch is caught`() {
    let caught = (0..<400).filter { live($0, replicas: 3, raisesEpoch: false) != nil }
    #expect(caught.count > 100)
  }

  /// Rk#746. Rounds of read, then write with what was read: of W writers that read the same, W siblings stand.
  @Test func `hazard 10: siblings never exceed the truly concurrent writers`() {
    for seed in 0..<UInt64(histories) / 3 {
      var random = PRNG(seed: seed)
      var record = Record()
      var counter: UInt64 = 0
      var held = 0
      for _ in 0..<20 {
        let context = record.context
        let writers = Int(random.within(1...5))
        var copies = (0..<3).map { _ in record }
        for _ in 0..<writers {
          counter += 1
          let place = random.index(copies.count)
          let dot = Dot(actor: Actor(node: NodeID(UInt64(place)), epoch: 0), counter: counter)
          copies[place].add(random.version(dot), superseding: context)
          // Interleaved repair must not multiply what it carries.
          if random.chance(1, of: 2) { copies[random.index(3)].join(copies[place]) }
        }
        record = copies.reduce(Record()) { $0.joined($1) }
        if record.versions.count != writers { held += 1 }
      }
      #expect(held == 0, "seed \(seed)")
    }
  }

  @Test func `planted: hazard 10: writers that never send a context back pile up siblings, and the count shows it`() {
    var record = Record()
    var random = PRNG(seed: 1)
    for counter in 1...20 as ClosedRange<UInt64> {
      let dot = Dot(actor: Actor(node: NodeID(1), epoch: 0), counter: counter)
      record.add(random.version(dot), superseding: VersionVector())
    }
    #expect(record.versions.count == 20)
  }
}

/// Lives one history; nil when both lives agree to the end and every order of joins ends in the same bytes.
private func live(
  _ seed: UInt64, replicas: Int, raisesEpoch: Bool = true, join: @escaping Join = { $0.joined($1) }
) -> String? {
  var options = History.Options()
  options.replicas = replicas
  options.raisesEpoch = raisesEpoch
  options.join = join
  var history = History(seed: seed, options: options)
  history.run()
  if let fault = history.fault { return fault }
  var random = PRNG(seed: ~seed)
  let (record, seen) = history.converged(with: &random)
  if let difference = history.difference(record, seen) { return "at the end: \(difference)" }
  let bytes = EncodedRecord(record)
  for _ in 0..<4 where EncodedRecord(history.converged(with: &random).record) != bytes { return "the order shows" }
  do { return try bytes.decoded() == record ? nil : "the bytes say otherwise" } catch { return "unreadable: \(error)" }
}
