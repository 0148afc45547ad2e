import Glibc
import KVModel
import KVSimulator
import Testing

#if DEBUG
  private let histories = 200
#else
  private let histories = 30_000
#endif

/// `RINGKV_SEED=7` draws other histories than those that every run looks at.
private let seed = getenv("RINGKV_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1

/// Histories of stores that keep the promises, none of which the checker may complain of.
@Suite struct SoundnessTests {
  @Test func `whatever an atomic store shows holds`() {
    var random = PRNG(seed: seed)
    for round in 0..<histories {
      let workload = Workload.drawn(&random)
      let (history, _) = AtomicStore.history(workload, &random)
      if !holds(history, .init(), "history \(round) of \(workload)") { return }
    }
  }

  @Test func `whatever a store of quorums shows holds`() {
    var random = PRNG(seed: ~seed)
    var answered = 0
    for round in 0..<histories {
      let workload = Workload.drawn(&random)
      let history = QuorumStore.history(workload, &random)
      answered += history.operations.count { $0.outcome == .ok }
      var bounds = HistoryChecker.Bounds()
      if random.chance(1, of: 2) { bounds.clockErrorMs = QuorumStore.clockError }
      if random.chance(1, of: 2) { bounds.deadlineMs = QuorumStore.deadline }
      if !holds(history, bounds, "history \(round) of \(workload)") { return }
    }
    #expect(answered > 20 * histories)
  }

  private func holds(_ history: History, _ bounds: HistoryChecker.Bounds, _ name: String) -> Bool {
    let violations = HistoryChecker.check(history, bounds: bounds)
    #expect(violations.isEmpty, "\(name): \(violations)")
    if let first = violations.first { print(first, explain(history, first)) }
    return violations.isEmpty
  }

  /// The operations on the key concerned, a line each.
  private func explain(_ history: History, _ violation: Violation) -> String {
    let key = history.operations.first { violation.operations.contains($0.number) }?.key
    return history.operations.filter { $0.key == key }.map { operation in
      let end = operation.returnedAt.map { "\($0)" } ?? "…"
      let context = operation.context.map { " context \($0)" } ?? ""
      return "\n\(operation.number) \(operation.kind)/\(operation.quorum) \(operation.invokedAt)–\(end) "
        + "\(operation.outcome)\(context) \(operation.seen)"
    }.joined()
  }
}
