import Dispatch
import KVCore
import KVModel
import Synchronization
import Testing

@testable import KVStorage

/// Which store a contract test runs against.
enum StoreKind: String, CaseIterable, CustomTestStringConvertible {
  case memory
  case rocksDB

  var testDescription: String { rawValue }

  func make() -> StoreUnderTest {
    switch self {
    case .memory: StoreUnderTest(MemoryStorage(geometry: testGeometry))
    case .rocksDB: StoreUnderTest(in: TemporaryDirectory())
    }
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

  func close() { state.withLock { $0.isClosed = true } }

  func open() {
    let waiting = state.withLock { state in
      defer { state = State() }
      return state.waiting
    }
    for _ in 0..<waiting { opened.signal() }
  }
}

/// A store, a loop that drives it, and what tests need beyond the seam: syncs held back, crashes, a full listing.
final class StoreUnderTest {
  private(set) var storage: any ShardStorage
  private var directory: TemporaryDirectory?
  private let gate = Gate()
  private let wakeups = DispatchSemaphore(value: 0)
  private var nextID: UInt64 = 0
  /// Everything answered so far.
  private(set) var answers: [StorageID: [StorageResult]] = [:]
  private(set) var options = StorageOptions()
  private var generation: UInt64 = 0

  init(_ storage: any ShardStorage) { self.storage = storage }

  init(in directory: TemporaryDirectory, adjusting adjust: (inout StorageOptions) -> Void = { _ in }) {
    self.directory = directory
    let gate = gate
    options.beforeWrite = { gate.pass() }
    options.wallClock = { WallTime(milliseconds: 0) }
    options.blockCacheBytes = 8 << 20
    adjust(&options)
    storage = MemoryStorage(geometry: testGeometry)
    storage = open(directory.path)
  }

  deinit { gate.open() }

  /// The memory store, be it planted with a fault.
  private var memory: MemoryStorage? { storage as? MemoryStorage ?? (storage as? EagerStorage)?.inner }

  var rocksDB: RocksDBStorage { storage as! RocksDBStorage }

  private func open(_ path: String) -> RocksDBStorage {
    let wakeups = wakeups
    generation += 1
    do {
      return try RocksDBStorage.open(
        directory: path, identity: testIdentity, geometry: testGeometry, generation: generation, options: options,
        onResults: { wakeups.signal() })
    } catch { fatalError("\(error)") }
  }

  /// Submits an operation without ending the turn.
  @discardableResult
  func submit(_ operation: StorageOperation) -> StorageID {
    nextID += 1
    let id = StorageID(raw: nextID)
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

  /// Takes turns until `id` has `count` answers. No answer within ten seconds is a failure.
  @discardableResult
  func wait(for id: StorageID, answers count: Int = 1) -> [StorageResult] {
    while answers[id, default: []].count < count {
      if storage is RocksDBStorage, wakeups.wait(timeout: .now() + 10) == .timedOut {
        Issue.record("no answer to operation \(id.raw)")
        break
      }
      let before = answers
      pump()
      if !(storage is RocksDBStorage), before == answers {
        Issue.record("no answer to operation \(id.raw)")
        break
      }
    }
    return answers[id, default: []]
  }

  func pump() {
    var results: [StorageCompletion] = []
    storage.collect(results: &results)
    storage.endTurn(results: &results)
    note(results)
  }

  /// The synced record of a key.
  func read(_ key: Key) -> StorageResult { wait(for: turn(.read(key)))[0] }

  func values(_ key: Key) -> [String] {
    guard case .record(let record) = read(key) else { return ["unreadable"] }
    return record.values
  }

  /// Merges and waits for the sync; returns the first answer.
  @discardableResult
  func merge(_ key: Key, _ change: Change) -> StorageResult {
    let id = turn(.merge(key, change))
    switch wait(for: id)[0] {
    case .merged(let merged):
      wait(for: id, answers: 2)
      return .merged(merged)
    case let other: return other
    }
  }

  /// From now on nothing is synced.
  func holdSyncs() {
    memory?.holdsSyncs = true
    gate.close()
  }

  /// Waits until a batch stands before its sync.
  func waitForHeldSync() { if storage is RocksDBStorage { gate.reached.wait() } }

  /// Lets the held syncs happen.
  func releaseSyncs() {
    memory?.holdsSyncs = false
    memory?.sync()
    gate.open()
    pump()
  }

  func snapshot() -> StorageSnapshot {
    if let memory { return memory.snapshot() }
    return try! rocksDB.snapshot()
  }

  func syncedLeaf(_ place: LeafPlace) -> Digest {
    if let memory { return memory.syncedLeaf(place) }
    return rocksDB.syncedLeaf(place)
  }

  /// The store after a clean stop and a start.
  func reopen() {
    if let memory {
      storage = memory.crash()
      return
    }
    #expect(rocksDB.close() == nil)
    storage = MemoryStorage(geometry: testGeometry)
    storage = open(directory!.path)
  }

  /// The store as a kill and a power cut leave it: unsynced batches are gone. Held syncs stay undone.
  func crash() {
    if let memory {
      let holds = memory.holdsSyncs
      storage = memory.crash()
      (storage as! MemoryStorage).holdsSyncs = holds
      return
    }
    let copy = TemporaryDirectory()
    TemporaryDirectory.copy(directory!.path, to: copy.path)
    gate.open()
    storage = MemoryStorage(geometry: testGeometry)
    directory = copy
    storage = open(copy.path)
  }

  var recoveredLease: Lease? {
    if let memory { return memory.recoveredLease }
    return rocksDB.recoveredLease
  }

  /// Flips a bit of a stored record.
  func damage(_ key: Key) {
    if let memory {
      #expect(memory.damage(key, byte: 40))
      return
    }
    guard case .found(var bytes) = rocksDB.database.get(.data, key.bytes, .disk, { [UInt8]($0) }) else { return }
    bytes[40] ^= 1
    let batch = WriteBatch(for: rocksDB.database)
    batch.put(.data, key.bytes, bytes)
    #expect(rocksDB.database.write(batch, synced: true) == nil)
  }

  private func note(_ results: [StorageCompletion]) {
    for completion in results { answers[completion.id, default: []].append(completion.result) }
  }
}

/// A planted fault: it says `.synced` when the join is known, before any sync.
final class EagerStorage: ShardStorage {
  let inner = MemoryStorage(geometry: testGeometry)

  func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    inner.submit(operation, id: id, results: &results)
    if case .merge = operation { results.append(StorageCompletion(id: id, result: .synced)) }
  }

  func endTurn(results: inout [StorageCompletion]) { inner.endTurn(results: &results) }

  func collect(results: inout [StorageCompletion]) { inner.collect(results: &results) }
}
