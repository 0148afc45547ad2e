import KVModel
import KVSimulator
import Testing

/// Whole clusters, run from seeds. More of them, and in child processes: `kvsim --seeds 1..2000`.
struct SimulationTests {
  /// Runs a seed with settings; what did not hold.
  static func violations(_ seed: UInt64, _ settings: [(String, String)] = []) throws -> [Violation] {
    let options = try Shrink.options(seed: seed, settings.map { Shrink.Setting($0.0, $0.1) })
    let simulation = Simulation(options)
    simulation.run()
    #expect(simulation.counts.completed >= UInt64(options.workload.operations), "seed \(seed)")
    return simulation.violations
  }

  @Test(arguments: UInt64(1)...20)
  func `Simulated: a seed holds, and gives the same trace every time`(seed: UInt64) throws {
    let runs = (0..<2).map { _ in Simulation(SimulationOptions.drawn(from: seed)) }
    for run in runs { run.run() }
    #expect(runs[0].violations.isEmpty)
    #expect(runs[0].trace.hash == runs[1].trace.hash)
    #expect(runs[0].history == runs[1].history)
  }

  /// Each of these once showed a fault of the core:
  ///
  /// - 3, 260, 97: a version of a node whose clock was an hour ahead made a key unwritable, for the second round minted at
  ///   the very edge of the bound, and a peer whose clock was a little behind refused it; answers to pings found the
  ///   wrong shard of a node with more shards than its peer, which was then taken for slow.
  /// - 4, 49, 1928: a retry asked R owners and minted a second version beside the first attempt's, which came to light
  ///   after it had been replaced, a delete among what had replaced it.
  /// - 58: a receipt's context covered versions that lay beside the write, and the next write replaced them unseen.
  /// - 21, 231: the second round of an overwrite that had been replaced meanwhile deleted what had replaced it.
  /// - 92, 209: an acknowledgement of an owner at which the overwrite had been replaced counted for what it held.
  /// - 114: a request id was forgotten since one stamp was an hour ahead, and its retry was applied once more.
  /// - 100203: the second round of an overwrite that had been replaced took away what had been written after both.
  /// - 200207, 201027, 201392: the same kind of overwrite was acknowledged, and what it was to replace stayed.
  /// - 102007: a new connection did not end the silence of the one before it (a fault of the simulator's).
  @Test(
    arguments: [
      3, 4, 21, 49, 58, 92, 97, 114, 209, 231, 260, 905, 939, 1928, 100_203, 102_007, 200_207, 201_027, 201_392,
    ] as [UInt64])
  func `Simulated: a seed that once showed a fault holds`(seed: UInt64) throws {
    #expect(try Self.violations(seed).isEmpty)
  }

  private static let quiet = [("loss", "0"), ("duplicates", "0"), ("clogged", "0"), ("operations", "600")]

  @Test(arguments: UInt64(2_001)...2_010)
  func `hazard 12: reads between the writes of a tombstone bring nothing back`(seed: UInt64) throws {
    #expect(try Self.violations(seed, [("faults", "clog,crash"), ("keys", "2"), ("clients", "8")]).isEmpty)
  }

  /// Half of what is written is deleted again, while those who hold the hints are down at times, and copies are compared.
  @Test(arguments: UInt64(2_731)...2_736)
  func `hazard 02: no hint brings back what was deleted while its holder was down`(seed: UInt64) throws {
    let settings = [("faults", "crash,isolate"), ("deletes", "40"), ("keys", "20"), ("exchange-interval", "100")]
    #expect(try Self.violations(seed, settings + [("hints", "1000000")]).isEmpty)
  }

  @Test(arguments: UInt64(2_741)...2_746)
  func `hazard 04: deletes by the hundred, while hints pass and copies are compared, settle`(seed: UInt64) throws {
    let settings = [("faults", "isolate,cut,pause"), ("deletes", "100"), ("keys", "50"), ("exchange-interval", "20")]
    #expect(try Self.violations(seed, settings + [("hints", "1000000")]).isEmpty)
  }

  /// No room, a target that refuses what its disk does not let it join, a coordinator that dies before its hint is synced.
  @Test(arguments: UInt64(2_751)...2_756, ["0", "3"])
  func `hazard 16: what finds no room among the hints, is refused, or dies with its holder, is mended`(
    seed: UInt64, hints: String
  ) throws {
    let settings = [
      ("faults", "crash,isolate"), ("hints", hints), ("exchange-interval", "20"), ("slow-reads", "50000"),
      ("read-errors", "300000"),
    ]
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  /// Bits flip in all copies of a record but one, also in what nobody reads: none of them is served, taken for an absence,
  /// or handed to the copy that is whole.
  @Test(arguments: UInt64(2_781)...2_790)
  func `hazard 41: damage to all copies but one does not spread, and is mended from that one`(seed: UInt64) throws {
    let settings = Shrink.damageOnAllButOne.map { ($0.name, $0.value) }
    #expect(try Self.violations(seed, settings + [("operations", "600")]).isEmpty)
  }

  /// No peer knows of a later start of the node, but all hold dots of it that it has not minted: it must notice by these,
  /// and serve nothing of what it has left until that is whole.
  @Test(arguments: UInt64(2_791)...2_800)
  func `hazard 07: a node whose disk forgot what it had synced notices by its own dots`(seed: UInt64) throws {
    let settings = Shrink.forgottenByDisk.map { ($0.name, $0.value) }
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  /// A node that was put back to an old image, and started a dozen times before anybody refused it, had more ancestors than
  /// it can name, so that no peer could tell: it was confirmed, and answered for what it had lost.
  @Test func `hazard 07: an old image that is started often is told by its many ancestors`() throws {
    #expect(try Self.violations(82, []).isEmpty)
  }

  /// More copies are damaged than a write quorum may lose, and the third one has it all: it stays unread until somebody accepts
  /// that, and then it is as it was.
  @Test(arguments: UInt64(2_811)...2_818)
  func `hazard 41: what two of three owners have lost comes back from the third, once that is accepted`(
    seed: UInt64
  ) throws {
    let settings = Shrink.damageBeyondQuorum.map { ($0.name, $0.value) }
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  /// A record that is put aside leaves its expiry entry behind.
  @Test(arguments: UInt64(2_801)...2_806)
  func `hazard 41: of damaged records that expire nothing is left over`(seed: UInt64) throws {
    let settings = [
      ("faults", "bit-flip"), ("fault-interval", "30"), ("scrub", "400000"), ("expiring", "40"), ("ttl", "500"),
      ("sweep-interval", "20"), ("sweep-margin", "0"),
    ]
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  /// A node whose disks are lost is a stranger from then on: its hints wait for a layout without it, and say nothing.
  @Test(arguments: UInt64(2_761)...2_766)
  func `hazard 17: hints for a node that does not come back neither vanish nor storm`(seed: UInt64) throws {
    #expect(try Self.violations(seed, [("faults", "wipe,isolate"), ("nodes", "5"), ("hints", "1000000")]).isEmpty)
  }

  /// Everything that a node missed comes at once, while clients go on.
  @Test(arguments: UInt64(2_771)...2_774)
  func `hazard 46: a node that is handed much keeps serving`(seed: UInt64) throws {
    let settings = [
      ("faults", "isolate"), ("keys", "400"), ("clients", "12"), ("operations", "2500"), ("hints", "1000000"),
      ("exchange-interval", "100"),
    ]
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  /// Owners whose clocks differ sweep at different times, and compare their copies all the while.
  @Test(arguments: UInt64(2_701)...2_708)
  func `hazard 15: what expires does not bounce between owners whose clocks differ`(seed: UInt64) throws {
    let expiring = [
      ("faults", "pause,cut"), ("clock-offset", "240"), ("exchange-interval", "20"), ("expiring", "40"), ("ttl", "500"),
      ("sweep-interval", "20"), ("sweep-margin", "0"), ("keys", "10"),
    ]
    #expect(try Self.violations(seed, expiring).isEmpty)
  }

  /// A delete, or an expiry, and a write after it: also when a copy that was away has yet to hear of either.
  @Test(arguments: UInt64(2_711)...2_716)
  func `what was deleted or has expired is written anew, and is there`(seed: UInt64) throws {
    let reborn = [
      ("faults", "crash,isolate"), ("expiring", "40"), ("ttl", "30"), ("sweep-interval", "20"), ("sweep-margin", "0"),
      ("keys", "3"),
    ]
    #expect(try Self.violations(seed, reborn).isEmpty)
  }

  @Test(arguments: UInt64(2_011)...2_020)
  func `hazard 21: what a coordinator that died left behind appears for good or not at all`(seed: UInt64) throws {
    #expect(try Self.violations(seed, [("faults", "crash,cut"), ("keys", "2"), ("retries", "0")]).isEmpty)
  }

  @Test(arguments: UInt64(2_021)...2_030)
  func `hazard 22: of concurrent acknowledged writes none is lost, whatever the clocks say`(seed: UInt64) throws {
    let settings = [("faults", "clock-step,clock-day-back,clock-hour-ahead"), ("keys", "1"), ("clock-offset", "2000")]
    #expect(try Self.violations(seed, Self.quiet + settings).isEmpty)
  }

  @Test(arguments: UInt64(2_031)...2_040)
  func `hazard 24: a node that restarts a day earlier mints no dot twice`(seed: UInt64) throws {
    #expect(try Self.violations(seed, Self.quiet + [("faults", "clock-day-back,crash")]).isEmpty)
  }

  @Test(arguments: UInt64(2_041)...2_050)
  func `hazard 25: a pause longer than every lease and deadline loses nothing`(seed: UInt64) throws {
    #expect(try Self.violations(seed, [("faults", "pause"), ("operations", "600")]).isEmpty)
  }

  @Test(arguments: UInt64(2_051)...2_060)
  func `hazard 44: retries of lost and duplicated requests are applied once`(seed: UInt64) throws {
    let settings = [("lost", "1000"), ("retries", "100"), ("duplicates", "1000"), ("operations", "600")]
    #expect(try Self.violations(seed, settings).isEmpty)
  }

  @Test(arguments: UInt64(2_061)...2_070)
  func `hazard 50: one-way and partial partitions lose nothing, and end`(seed: UInt64) throws {
    #expect(try Self.violations(seed, Self.quiet + [("faults", "cut,cut-one-way,isolate,halves")]).isEmpty)
  }

  /// A node with one shard among nodes with three: its answers find the shard that asked.
  @Test(arguments: UInt64(2_071)...2_080)
  func `Simulated: nodes with unequal numbers of shards serve each other`(seed: UInt64) throws {
    var options = try Shrink.options(seed: seed, Self.quiet.map { Shrink.Setting($0.0, $0.1) })
    options.shards = options.shards.indices.map { [1, 3, 2][$0 % 3] }
    let simulation = Simulation(options)
    simulation.run()
    #expect(simulation.violations.isEmpty)
  }

  @Test func `shrinking keeps the failure and drops the rest`() {
    // Fails while node faults 2 and 5 happen, whatever else does.
    var shrink = Shrink(seed: 7, settings: [.init("faults", "crash"), .init("nodes", "5")]) { settings in
      guard let options = try? Shrink.options(seed: 7, settings), options.faults.contains(.crash) else { return false }
      guard let kept = options.keptFaults else { return true }
      return kept.contains(2) && kept.contains(5)
    }
    shrink.run()
    #expect(shrink.settings.contains(.init("keep", "2,5")))
    #expect(shrink.settings.contains(.init("clients", "1")))
    #expect(shrink.settings.contains(.init("operations", "1")))
  }

  @Test func `an option that is not there, or not a number, is refused by name`() {
    var options = SimulationOptions(seed: 1)
    for (name, value) in [("speed", "1"), ("nodes", "0"), ("nodes", "many"), ("faults", "fire"), ("keep", "1,x")] {
      let fault = #expect(throws: SimulationOptions.SetFault.self) { try options.set(name, value) }
      #expect(fault?.description.contains(name == "faults" ? "fire" : name) == true)
    }
  }
}
