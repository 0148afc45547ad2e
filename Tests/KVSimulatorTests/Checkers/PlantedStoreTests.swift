import KVModel
import KVSimulator
import Testing

/// Bugs of whole stores, not of single histories: each one planted into the store of quorums, which holds without it.
@Suite struct PlantedStoreTests {
  /// Histories of a hundred operations in which the bug shows, of a thousand: what was measured less a margin.
  @Test(
    arguments: [
      (.noWriteBack, 10), (.lowReads, 550), (.lowWrites, 350), (.oneRound, 70), (.replacesReaders, 20),
      (.wideReceipt, 400), (.wideContext, 650), (.deltas, 750), (.forgets, 90), (.falseRejection, 550),
      (.showsExpired, 130), (.purges, 12),
    ] as [(QuorumStore.Plant, Int)])
  func `a planted bug shows in clients' histories`(_ plant: QuorumStore.Plant, _ share: Int) {
    var random = PRNG(seed: 2)
    #if DEBUG
      #expect((0..<1_000).contains { _ in shows(plant, &random) })
    #else
      let caught = (0..<2_000).count { _ in shows(plant, &random) }
      #expect(caught / 2 >= share, "\(caught) of 2000")
    #endif
  }

  private func shows(_ plant: QuorumStore.Plant, _ random: inout PRNG) -> Bool {
    var workload = Workload.drawn(&random)
    workload.keys = 1
    workload.mixesQuorums = false
    workload.clients = 3 + random.index(4)
    workload.operations = 100
    let history = QuorumStore.history(workload, plant: plant, &random)
    let bounds = HistoryChecker.Bounds(clockErrorMs: QuorumStore.clockError, deadlineMs: QuorumStore.deadline)
    return !HistoryChecker.check(history, bounds: bounds).isEmpty
  }
}
