import KVCore
import KVModel

/// A shard's storage on RocksDB.
///
/// ```
///            loop                                    other threads
///   submit ─┬─ read ──── in memory? ── yes ─► .record          (cache, memtables, block cache)
///           │               └─ no ─────────────────► IOPool ──┐
///           └─ merge ─ Merge.apply ─► .merged                 ├─► Mailbox ─► collect
///                        └► RecordTable, WriteBatch ─endTurn─► BatchWriter ─┘      └► .synced
/// ```
///
/// What is not synced exists as an unsynced join in the table and in batches only. RocksDB itself appends a batch to the log, syncs it,
/// and only then inserts it into the memtable and publishes its sequence number (7.8, `DBImpl::WriteImpl`: pipelined
/// and unordered writes are off), so whatever a read of the database finds is synced.
public final class RocksDBStorage: ShardStorage {
  /// What is to be done on the loop when a batch is synced.
  struct PendingBatch {
    let number: UInt64
    var answers: [StorageCompletion] = []
    /// Where its joins stand in `records`.
    var places: [RecordTable.Place] = []
    var leaves: [(place: LeafPlace, change: Digest)] = []
    /// Of the last hint noted in it.
    var hintSequence: UInt64 = 0
    /// Of the last gap noted in it.
    var gapSequence: UInt64 = 0
    var bytes = 0
  }

  public let directory: String
  public let geometry: ShardGeometry
  /// Table files with damaged blocks that were given up as it opened; what was in them is a gap now.
  public let filesGivenUp: Int
  /// The bounds that earlier runs had leased, nil when there were none.
  public let recoveredLease: Lease?
  public private(set) var metrics = StorageMetrics()
  /// Bytes of table files in each of `RingShares`, as of the last `measureShares`; empty before the first.
  public private(set) var shareBytes: [UInt64] = []
  var isMeasuringShares = false

  let options: StorageOptions
  let database: Database
  let mailbox: Mailbox
  let writer: BatchWriter
  let pool: IOPool

  /// Joins that are not yet synced, and synced records, so that most reads and merges need not ask the database.
  var records: RecordTable
  /// Keys that were written while their record was being loaded: what is loaded may be what was there before.
  var writtenWhileLoading: Set<Key> = []
  /// Keys whose first operation waits for the disk, and those that queue behind it.
  var lanes: [Key: [(operation: StorageOperation, id: StorageID)]] = [:]
  /// Batches not known to be synced, numbers ascending. While `gathering` is set, it is the last one's.
  var pending: [PendingBatch] = []
  /// The batch that is being filled in this turn.
  var gathering: WriteBatch?
  var nextBatch: UInt64 = 1
  /// Batches to be filled again.
  var spare: [WriteBatch] = []
  /// Leaves with all joins, and with the synced ones.
  var newestLeaves: LeafTable
  var syncedLeaves: LeafTable
  /// Newest state, and the sequence of what of it is synced.
  var hints: HintIndex
  var hintsSynced: UInt64 = 0
  /// Newest state, and the sequence of what of it is synced.
  var gaps: GapIndex
  var gapsSynced: UInt64 = 0
  /// Keys that were being loaded when a gap was closed: what comes may be what was there before.
  var loadedBeforeClose: Set<Key> = []
  /// A table file with a damaged block, on its way out.
  var brokenFile: String?
  /// What begins when a batch is synced, in order.
  var afterSync: [(batch: UInt64, load: Load)] = []
  var scratch: [UInt8] = []
  /// The minute in which request ids were last forgotten.
  var forgottenUntil: UInt64 = 0
  /// Set by the first failed write: from then on nothing is answered.
  var fault: StorageFault?
  private var isClosed = false

  init(
    database: Database, contents: OpenedContents, geometry: ShardGeometry, options: StorageOptions,
    filesGivenUp: Int, onResults: @escaping @Sendable () -> Void
  ) {
    directory = database.directory
    self.geometry = geometry
    self.options = options
    self.filesGivenUp = filesGivenUp
    self.database = database
    recoveredLease = contents.lease
    records = RecordTable(bytesMax: options.recordCacheBytes)
    newestLeaves = contents.leaves
    syncedLeaves = contents.leaves
    hints = contents.hints
    gaps = contents.gaps
    mailbox = Mailbox(onResults: onResults)
    writer = BatchWriter(database: database, mailbox: mailbox, beforeWrite: options.beforeWrite)
    pool = IOPool(database: database, mailbox: mailbox, threads: options.ioThreads)
    for partition in gaps.partitionsToRescan { pool.submit(.recount(partition, geometry)) }
  }

  public func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    if fault != nil || isClosed { return }
    if !lanes.isEmpty, let key = operation.key, lanes[key] != nil {
      lanes[key]?.append((operation, id))
      return
    }
    if let load = perform(operation, id: id, results: &results) { wait(for: load, operation, id) }
  }

  public func endTurn(results: inout [StorageCompletion]) {
    if fault != nil { return }
    guard let batch = gathering else { return }
    forgetRequests(in: batch)
    switch options.durability {
    case .sync: handOver(batch)
    case .os: writeHere(batch, results: &results)
    }
  }

  public func collect(results: inout [StorageCompletion]) {
    for event in mailbox.take() {
      if fault != nil { return }
      switch event {
      case .written(let batch, let error, let ns): onWritten(batch, error, ns: ns, results: &results)
      case .loaded(let load, let outcome, let ns):
        metrics.diskReads.record(ns)
        onLoaded(load, outcome, results: &results)
      case .measured(let bytes):
        shareBytes = bytes
        isMeasuringShares = false
      }
    }
  }

  /// The digest of a Merkle leaf over what is synced.
  public func syncedLeaf(_ place: LeafPlace) -> Digest { syncedLeaves[place] }

  /// A failed flush or compaction, which stops the store as a failed write does; nil when all is well.
  ///
  /// Such failures happen behind the writes and would otherwise show only in the next one. The owner asks about once
  /// a second, and treats a fault like `.failed`.
  public func backgroundFault() -> StorageFault? {
    if let fault { return fault }
    guard !isClosed, database.property("rocksdb.background-errors") > 0 else { return nil }
    // Every write is answered with what stopped the database, one that writes nothing too.
    if let error = database.write(WriteBatch(for: database), synced: false), error.kind == .corruption {
      fault = onFailed(error)
      return fault
    }
    let usage = try? DiskUsage(of: directory)
    let isFull = usage.map { $0.availableBytes < UInt64(options.writeBufferBytes) } ?? false
    fault = StorageFault(
      isFull ? .diskFull : .ioError, path: directory,
      detail: "a flush or compaction failed; \(directory)/LOG says which file")
    return fault
  }

  /// Writes and syncs what was gathered, and waits for every thread of the store. Answers still due come through
  /// `collect`. The database itself is closed when the store is released.
  public func close() -> StorageFault? {
    if isClosed { return fault }
    isClosed = true
    if fault == nil, let batch = gathering { handOver(batch) }
    writer.drain()
    pool.drain()
    if fault == nil, let error = database.syncLog() { fault = onFailed(error) }
    return fault
  }

  deinit { _ = close() }

  func countCached() { metrics.servedFromCache += 1 }
  func countUnreadable() { metrics.unreadable += 1 }
  func countOverloaded() { metrics.overloaded += 1 }
  func countRead(fromMemory: Bool) {
    if fromMemory { metrics.servedFromMemory += 1 } else { metrics.servedFromDisk += 1 }
  }
  func addUnsynced(bytes: Int) { metrics.unsyncedBytes += bytes }
  func count(_ batch: PendingBatch, ns: UInt64) {
    metrics.count(batchOf: batch.answers.count, bytes: batch.bytes, ns: ns)
    metrics.unsyncedBytes -= batch.bytes
  }
}
