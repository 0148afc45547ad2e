import KVCore
import KVModel

/// What a store was asked and what it acknowledged, and from that all that it may hold after a crash:
///
/// ```
///   joins, in the order of their `.merged`   a  b  c  d  e  f
///   acknowledged                             ─────────►│
///   allowed after a crash                              c, or c d, or c d e, or c d e f
/// ```
///
/// So what was acknowledged is there, what was not may be, an operation is there whole or not at all (record, leaf,
/// expiries, request ids and lease are compared byte for byte), and none without those before it. What was answered
/// `.failed` is in this no different from what was not answered.
final class CrashLedger {
  enum Verdict: Equatable {
    /// So many operations beyond the acknowledged ones survived.
    case held(beyond: Int)
    /// The store is as it was before this many acknowledged ones.
    case lost(acknowledged: Int)
    /// It is as it never was.
    case torn
    /// It answered something else than the model before the crash.
    case answered(StorageID)

    var isHeld: Bool { if case .held = self { true } else { false } }
  }

  /// With a batch of its own for every operation that changes something.
  private var model = MemoryStorage(geometry: testGeometry)
  private var asked: [StorageID: StorageOperation] = [:]
  /// How many batches must be synced before this may be acknowledged.
  private var places: [StorageID: Int] = [:]
  private var lastPlaces: [Key: Int] = [:]
  private var acknowledged = 0
  private var wrongAnswer: StorageID?

  init() { model.holdsSyncs = true }

  /// Call before the store is asked.
  func ask(_ operation: StorageOperation, _ id: StorageID) {
    asked[id] = operation
    switch operation {
    case .extendLease, .hint, .forgetHints, .forgetMarks, .changeGaps: carryOut(operation, id, answer: nil)
    case .merge, .read, .findRequest, .digests, .roots, .listLeaf, .listHints, .countHints, .keyDigests, .listExpired,
      .rescan, .listGaps, .scrub:
      break
    }
  }

  /// Call with what the store answered, in its order.
  func hear(_ completions: some Sequence<StorageCompletion>) {
    for completion in completions {
      switch completion.result {
      case .merged, .refused:
        if let operation = asked[completion.id] { carryOut(operation, completion.id, answer: completion.result) }
      case .synced, .leased:
        if let place = places[completion.id] {
          acknowledged = max(acknowledged, place)
        } else {
          disagree(completion.id)
        }
      case .record, .request, .digests, .listed, .hints, .census, .expired, .rescanned, .unreadable, .incomplete, .gaps,
        .scrubbed, .failed:
        break
      }
    }
  }

  /// Joins are gathered when they are answered, whatever waited for the disk before that; leases at once.
  private func carryOut(_ operation: StorageOperation, _ id: StorageID, answer: StorageResult?) {
    var results: [StorageCompletion] = []
    let before = model.handedCount
    model.submit(operation, id: id, results: &results)
    if let answer, results.first?.result != answer { disagree(id) }
    model.endTurn(results: &results)
    if model.handedCount > before, let key = operation.key { lastPlaces[key] = model.handedCount }
    places[id] = operation.key.map { lastPlaces[$0] ?? 0 } ?? model.handedCount
  }

  private func disagree(_ id: StorageID) { if wrongAnswer == nil { wrongAnswer = id } }

  /// Judges what the store holds after a crash. The ledger goes on from there.
  func judge(_ found: StorageSnapshot) -> Verdict {
    if let wrongAnswer { return .answered(wrongAnswer) }
    guard let kept = (0...model.handedCount).reversed().first(where: { model.crash(keeping: $0).snapshot() == found })
    else { return .torn }
    let verdict: Verdict =
      kept >= acknowledged ? .held(beyond: kept - acknowledged) : .lost(acknowledged: acknowledged - kept)
    model = model.crash(keeping: kept)
    model.holdsSyncs = true
    (asked, places, lastPlaces, acknowledged) = ([:], [:], [:], 0)
    return verdict
  }
}
