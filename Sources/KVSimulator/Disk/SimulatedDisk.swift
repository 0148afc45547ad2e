import KVCore
import KVModel

/// A shard's storage on a disk that the simulation moves: syncs take time, reads may, and a crash keeps what was synced
/// and perhaps the beginning of what was not.
///
/// ```
///   submit ─► gathered ─endTurn─► handed ─beginSync─► syncing ─finishSync─► durable ─collect─► .synced
///             └────────────────── lost, or a beginning of it kept, by crash ────┘
/// ```
///
/// What is handed during a sync waits for the next one, as in a log with one writer.
public final class SimulatedDisk: ShardStorage {
  /// Chances of a draw at each operation, in millionths.
  public struct Faults: Equatable, Sendable {
    /// An operation whose record is not in memory: it waits for the disk, and later ones on its key behind it.
    public var slowRead: UInt64 = 0
    /// One of those whose record the disk does not give back, this time: `.unreadable`.
    public var readError: UInt64 = 0

    public init() {}
  }

  public var faults: Faults
  private let memory: MemoryStorage
  private var prng: PRNG
  /// Of the handed batches, the oldest ones that the sync under way will make durable; nil when none is under way.
  private var syncing: Int?
  /// In the order in which they were asked, and their keys.
  private var slowReads: [(operation: StorageOperation, id: StorageID)] = []
  private var slowKeys: Set<Key> = []
  private var finishedReads: [StorageCompletion] = []
  /// Batches that were handed over when a sync failed.
  private var unsyncedAtFailure = 0
  private var isDead = false

  public convenience init(
    geometry: ShardGeometry, faults: Faults = Faults(), hintKeysMax: Int = 1_000_000, seed: UInt64
  ) {
    self.init(MemoryStorage(geometry: geometry, hintKeysMax: hintKeysMax), faults, PRNG(seed: seed))
  }

  private init(_ memory: MemoryStorage, _ faults: Faults, _ prng: PRNG) {
    self.memory = memory
    self.faults = faults
    self.prng = prng
    memory.holdsSyncs = true
  }

  // MARK: The seam

  public func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    if isDead { return }
    if let key = operation.key, mustWait(key) {
      slowReads.append((operation, id))
      slowKeys.insert(key)
    } else {
      memory.submit(operation, id: id, results: &results)
    }
  }

  private func mustWait(_ key: Key) -> Bool {
    if slowKeys.contains(key) { return true }
    return faults.slowRead > 0 && prng.chance(faults.slowRead, of: 1_000_000)
  }

  public func endTurn(results: inout [StorageCompletion]) {
    if !isDead { memory.endTurn(results: &results) }
  }

  public func collect(results: inout [StorageCompletion]) {
    if isDead { return }
    results.append(contentsOf: finishedReads)
    finishedReads.removeAll(keepingCapacity: true)
    memory.collect(results: &results)
  }

  // MARK: Moved by the simulation

  public var isSyncing: Bool { syncing != nil }

  /// Batches wait, and no sync is under way.
  public var wantsSync: Bool { !isDead && syncing == nil && memory.awaitsSync }

  public func beginSync() { if wantsSync { syncing = memory.handedCount } }

  /// The sync has ended well; the answers come through `collect`.
  public func finishSync() {
    guard !isDead, let count = syncing else { return }
    syncing = nil
    memory.sync(oldest: count)
  }

  /// The sync has failed: the fault comes through `collect`, and nothing after it. Whether the log holds what was to
  /// be synced, only the next start will tell.
  public func failSync(_ fault: StorageFault) {
    guard !isDead, syncing != nil else { return }
    unsyncedAtFailure = memory.handedCount
    memory.nextSyncFails = fault
    memory.sync()
  }

  /// The simulation has planned when the waiting reads end.
  var areReadsPlanned = false

  /// Operations wait for their records.
  public var wantsReads: Bool { !isDead && !slowReads.isEmpty }

  /// What waited is read, as it is synced now; the answers come through `collect`. Merges among it are gathered, and
  /// handed over when the turn of that `collect` ends.
  public func finishReads() {
    guard !isDead else { return }
    for read in slowReads {
      if faults.readError > 0, prng.chance(faults.readError, of: 1_000_000) {
        finishedReads.append(StorageCompletion(id: read.id, result: .unreadable))
      } else {
        memory.submit(read.operation, id: read.id, results: &finishedReads)
      }
    }
    slowReads.removeAll(keepingCapacity: true)
    slowKeys.removeAll(keepingCapacity: true)
  }

  /// The disk as the next start finds it. `keepsTail`: the log may hold a beginning of what was not synced; a process
  /// that died alone leaves all that it had handed over, a power cut any part of it.
  public func crash(keepsTail: Bool) -> SimulatedDisk {
    isDead = true
    let kept = keepsTail ? prng.index(max(memory.handedCount, unsyncedAtFailure) + 1) : 0
    return SimulatedDisk(memory.crash(keeping: kept), faults, prng.fork())
  }

  /// A copy of what is synced.
  public func image() -> SimulatedDisk { SimulatedDisk(memory.crash(), faults, prng.fork()) }

  /// Forgets the request ids of minutes that are over, as a store does by itself once a minute.
  public func forgetRequests(at wall: WallTime) { memory.forgetRequests(at: wall) }

  // MARK: Looked at

  public var recoveredLease: Lease? { memory.recoveredLease }

  /// Flips a bit of a stored record; false when there is none.
  public func damage(_ key: Key, byte: Int) -> Bool { memory.damage(key, byte: byte) }

  /// All that is durable.
  public func snapshot() -> StorageSnapshot { memory.snapshot() }

  /// Versions that had been swept and got their bytes back, since the last crash.
  public var unsweptVersions: Int { memory.unsweptVersions }
}
