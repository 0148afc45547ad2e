import Glibc
import KVCore
import KVModel
import Testing

@testable import StorageDriver

/// RocksDB in a process of its own, under the fault shim: syncs are held after the write, a power cut takes what was
/// written and not synced, and the disk may fail.
final class ProcessRig: Rig {
  let process: StoreProcess
  private let remote: RemoteStorage
  private var holds = false
  private var heldBefore = 0

  /// `wishes`: arguments of the driver.
  init(_ wishes: [String] = []) {
    process = StoreProcess(wishes)
    remote = RemoteStorage(process)
    start()
  }

  var storage: any ShardStorage { remote }

  private func start() {
    if let refusal = process.start() { Issue.record("the store does not open: \(refusal)") }
  }

  /// No answer within ten seconds is none.
  func awaitResults() -> Bool { awaitResults(ms: 10_000) }

  func awaitResults(ms: UInt32) -> Bool {
    if case .woken(true)? = process.call(.wait(ms: ms)) { true } else { false }
  }

  func rest() { rest(ms: 20) }
  func rest(ms: UInt32) { _ = awaitResults(ms: ms) }

  // MARK: Syncs

  private var heldSyncs: Int { process.faults.count { $0.rule == "hold-sync" } }

  func holdSyncs() {
    heldBefore = heldSyncs
    holds = true
    process.rules("hold-sync *.log")
  }

  func waitForHeldSync() {
    for _ in 0..<5_000 where heldSyncs == heldBefore { usleep(2_000) }
    #expect(heldSyncs > heldBefore, "no sync began")
  }

  func releaseSyncs() {
    holds = false
    process.rules()
  }

  func failNextSync() { process.rules("eio-sync *.log once") }

  // MARK: Ends

  func reopen() {
    guard case .fault(nil)? = process.call(.close) else {
      Issue.record("the store does not close")
      return
    }
    restart {}
  }

  func crash(_ crash: Crash) {
    restart {
      switch crash {
      case .powerCut: process.cut()
      case .death: break
      }
    }
  }

  /// Kills it, lets something befall its files, and starts it on a disk that is well again.
  func restart(_ disaster: () -> Void) {
    process.kill()
    disaster()
    process.rules()
    start()
    if holds { holdSyncs() }
  }

  func evict() { fatalError("not asked of a process") }

  // MARK: Looked at

  func snapshot() -> StorageSnapshot {
    guard case .snapshot(let snapshot)? = process.call(.snapshot) else {
      Issue.record("no snapshot")
      return StorageSnapshot()
    }
    return snapshot
  }

  func syncedLeaf(_ place: LeafPlace) -> Digest {
    guard case .leaf(let digest)? = process.call(.syncedLeaf(place)) else { return .zero }
    return digest
  }

  var recoveredLease: Lease? {
    guard case .lease(let lease)? = process.call(.recoveredLease) else { return nil }
    return lease
  }

  func damage(_ key: Key) { fatalError("not asked of a process") }
}

/// The seam, over the pipe.
private final class RemoteStorage: ShardStorage {
  private let process: StoreProcess

  init(_ process: StoreProcess) { self.process = process }

  func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    call(.submit(operation, id), &results)
  }

  func endTurn(results: inout [StorageCompletion]) { call(.endTurn, &results) }

  func collect(results: inout [StorageCompletion]) { call(.collect, &results) }

  private func call(_ call: Call, _ results: inout [StorageCompletion]) {
    guard case .completions(let completions)? = process.call(call) else {
      Issue.record("the store's process does not answer")
      return
    }
    results += completions
  }
}
