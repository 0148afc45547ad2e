import KVCore
import KVModel
import Testing

@testable import KVStorage

/// A store on its rig, and a loop that drives it.
final class StoreUnderTest {
  let rig: any Rig
  private var nextID: UInt64 = 0
  /// Everything answered so far.
  private(set) var answers: [StorageID: [StorageResult]] = [:]
  private(set) var answerCount = 0
  /// It said `.failed`, and has not been started again.
  private(set) var hasFailed = false
  /// Knows what may be there after a crash.
  private let ledger: CrashLedger?

  init(_ rig: any Rig, keepsLedger: Bool = true) {
    self.rig = rig
    ledger = keepsLedger ? CrashLedger() : nil
  }

  convenience init(in directory: TemporaryDirectory, adjusting adjust: (inout StorageOptions) -> Void = { _ in }) {
    self.init(RocksDBRig(in: directory, adjusting: adjust))
  }

  private var storage: any ShardStorage { rig.storage }

  var rocksDB: RocksDBStorage { storage as! RocksDBStorage }

  // MARK: Turns

  /// Submits an operation without ending the turn.
  @discardableResult
  func submit(_ operation: StorageOperation) -> StorageID {
    nextID += 1
    let id = StorageID(raw: nextID)
    ledger?.ask(operation, id)
    var results: [StorageCompletion] = []
    storage.submit(operation, id: id, results: &results)
    note(results)
    return id
  }

  func endTurn() {
    var results: [StorageCompletion] = []
    storage.endTurn(results: &results)
    note(results)
  }

  /// One operation in a turn of its own; returns what is answered at once.
  @discardableResult
  func turn(_ operation: StorageOperation) -> StorageID {
    let id = submit(operation)
    endTurn()
    return id
  }

  func pump() {
    var results: [StorageCompletion] = []
    storage.collect(results: &results)
    storage.endTurn(results: &results)
    note(results)
  }

  /// Takes turns until `id` has `count` answers. That no more will come is a failure.
  @discardableResult
  func wait(for id: StorageID, answers count: Int = 1) -> [StorageResult] {
    while answers[id, default: []].count < count {
      let before = answerCount
      let comes = rig.awaitResults()
      pump()
      if !comes, answerCount == before {
        Issue.record("no answer to operation \(id.raw)")
        break
      }
    }
    return answers[id, default: []]
  }

  private func note(_ results: [StorageCompletion]) {
    answerCount += results.count
    ledger?.hear(results)
    for completion in results {
      answers[completion.id, default: []].append(completion.result)
      if case .failed = completion.result { hasFailed = true }
    }
  }

  // MARK: Whole operations

  /// The synced record of a key.
  func read(_ key: Key) -> StorageResult { wait(for: turn(.read(key))).first ?? .unreadable }

  func values(_ key: Key) -> [String] {
    guard case .record(let record) = read(key) else { return ["unreadable"] }
    return record.values
  }

  /// Merges and waits for the sync; returns the first answer.
  @discardableResult
  func merge(_ key: Key, _ change: Change) -> StorageResult {
    let id = turn(.merge(key, change))
    let answer = wait(for: id).first ?? .unreadable
    if case .merged = answer { wait(for: id, answers: 2) }
    return answer
  }

  /// The first answer to a merge as what it must be.
  func merged(_ id: StorageID) throws -> Merged {
    guard case .merged(let merged)? = answers[id]?.first else { throw NotMerged() }
    return merged
  }

  struct NotMerged: Error {}

  // MARK: The rig

  /// From now on nothing is synced.
  func holdSyncs() { rig.holdSyncs() }

  /// Waits until a batch stands before its sync.
  func waitForHeldSync() { rig.waitForHeldSync() }

  /// Lets the held syncs happen.
  func releaseSyncs() {
    rig.releaseSyncs()
    pump()
  }

  func snapshot() -> StorageSnapshot { rig.snapshot() }
  func syncedLeaf(_ place: LeafPlace) -> Digest { rig.syncedLeaf(place) }
  var recoveredLease: Lease? { rig.recoveredLease }
  func damage(_ key: Key) { rig.damage(key) }

  /// The store after a clean stop and a start.
  func reopen() { rig.reopen() }

  /// The store after it ended without warning. Held syncs stay undone.
  func crash(_ crash: Crash = .powerCut) {
    rig.crash(crash)
    restarted()
  }

  /// The store was started again behind this object's back.
  func restarted() { hasFailed = false }

  /// Whether the store holds, after a crash, what it may.
  func judge() -> CrashLedger.Verdict? { ledger?.judge(snapshot()) }
}
