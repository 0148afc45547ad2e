import Dispatch
import KVCore
import KVModel
import Synchronization
import Testing

@testable import KVStorage

/// RocksDB in this process. Its syncs are held at a gate that stands before the write, and it crashes into a copy of
/// its directory.
final class RocksDBRig: Rig {
  private var directory: TemporaryDirectory
  private let gate = Gate()
  private let wakeups = DispatchSemaphore(value: 0)
  private var options = StorageOptions()
  private var generation: UInt64 = 0
  private var open: RocksDBStorage?

  init(in directory: TemporaryDirectory, adjusting adjust: (inout StorageOptions) -> Void = { _ in }) {
    self.directory = directory
    let gate = gate
    options.beforeWrite = { gate.pass() }
    options.wallClock = { WallTime(milliseconds: 0) }
    options.blockCacheBytes = 8 << 20
    // Small, so that records come and go.
    options.recordCacheBytes = 8 << 10
    adjust(&options)
    start()
  }

  deinit { gate.open() }

  var store: RocksDBStorage { open! }
  var storage: any ShardStorage { store }

  private func start() {
    let wakeups = wakeups
    generation += 1
    do {
      open = try RocksDBStorage.open(
        directory: directory.path, identity: testIdentity, geometry: testGeometry, generation: generation,
        options: options, onResults: { wakeups.signal() })
    } catch { fatalError("\(error)") }
  }

  /// No answer within ten seconds is none.
  func awaitResults() -> Bool { wakeups.wait(timeout: .now() + 10) == .success }

  func holdSyncs() { gate.close() }
  func waitForHeldSync() { gate.reached.wait() }
  func releaseSyncs() { gate.open() }
  func failNextSync() { fatalError("only a process of its own can be given a disk that fails") }

  func reopen() {
    #expect(store.close() == nil)
    open = nil
    start()
  }

  /// While its syncs are held, what is not synced is not written either, so both kinds are one.
  func crash(_ crash: Crash) {
    let copy = TemporaryDirectory()
    TemporaryDirectory.copy(directory.path, to: copy.path)
    gate.open()
    open = nil
    directory = copy
    start()
  }

  func evict() {
    #expect(store.database.settle(.data) == nil)
    reopen()
  }

  func snapshot() -> StorageSnapshot {
    do { return try store.snapshot() } catch { fatalError("\(error)") }
  }
  func syncedLeaf(_ place: LeafPlace) -> Digest { store.syncedLeaf(place) }
  var recoveredLease: Lease? { store.recoveredLease }

  func damage(_ key: Key) {
    guard case .found(var bytes) = store.database.get(.data, key.bytes, .disk, { [UInt8]($0) }) else { return }
    bytes[damagedByte % bytes.count] ^= 1
    let batch = WriteBatch(for: store.database)
    batch.put(.data, key.bytes, bytes)
    #expect(store.database.write(batch, synced: true) == nil)
    // A copy in memory is whole, and hides the damage for as long as it is there.
    store.records.remove(key)
  }
}

/// A door that threads pass through, and wait at while it is closed.
final class Gate: Sendable {
  private struct State {
    var isClosed = false
    var waiting = 0
  }

  private let state = Mutex(State())
  private let opened = DispatchSemaphore(value: 0)
  /// Signalled when a thread begins to wait.
  let reached = DispatchSemaphore(value: 0)

  func pass() {
    let waits = state.withLock { state in
      if state.isClosed { state.waiting += 1 }
      return state.isClosed
    }
    guard waits else { return }
    reached.signal()
    opened.wait()
  }

  func close() {
    while reached.wait(timeout: .now()) == .success {}
    state.withLock { $0.isClosed = true }
  }

  func open() {
    let waiting = state.withLock { state in
      defer { state = State() }
      return state.waiting
    }
    for _ in 0..<waiting { opened.signal() }
  }
}
