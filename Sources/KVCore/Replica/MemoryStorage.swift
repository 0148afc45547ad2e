import KVModel

/// A shard's storage without a disk: the same promises, with the sync in the caller's hands. Core tests and the
/// simulator's disk stand on it.
///
/// ```
///   submit ──► gathered ──endTurn──► handed ──sync()──► durable ──► collect(): .synced
///              └───────── lost by crash() ────────┘     └─ kept by crash()
/// ```
public final class MemoryStorage: ShardStorage {
  /// What survives a crash.
  private struct Durable {
    var records: [Key: Stored] = [:]
    var leaves: [LeafPlace: Digest] = [:]
    var expiries: Set<StorageSnapshot.Expiry> = []
    /// By minute, as `RequestMemory` keeps them.
    var requests: [UInt64: [RequestID: WallTime]] = [:]
    var lease: Lease?
  }

  private enum Stored {
    case intact(Record, EncodedRecord)
    case damaged(EncodedRecord)

    var encoded: EncodedRecord {
      switch self {
      case .intact(_, let encoded), .damaged(let encoded): encoded
      }
    }
  }

  /// A join not yet durable, and the batch that will make it so.
  private struct Unsynced {
    var record: Record
    var batch: UInt64
  }

  private struct Write {
    var key: Key
    var record: Record
    var encoded: EncodedRecord
    var delta: RecordDelta
  }

  private struct Batch {
    var number: UInt64
    var writes: [Write] = []
    var lease: Lease?
    var answers: [StorageCompletion] = []

    var isEmpty: Bool { answers.isEmpty }
  }

  public let geometry: ShardGeometry
  /// While true, nothing becomes durable before `sync()`; else `endTurn` makes it so.
  public var holdsSyncs = false
  /// The next sync fails with this, once, and the store is dead.
  public var nextSyncFails: StorageFault?
  /// Called when `collect` has something to give again.
  public var onResults: (() -> Void)?

  private var durable = Durable()
  private var unsynced: [Key: Unsynced] = [:]
  private var gathered = Batch(number: 1)
  /// Ended turns that wait for the sync, oldest first.
  private var handed: [Batch] = []
  private var done: [StorageCompletion] = []
  private var isDead = false

  public init(geometry: ShardGeometry) { self.geometry = geometry }

  public func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    if isDead { return }
    switch operation {
    case .read(let key): results.append(StorageCompletion(id: id, result: read(key)))
    case .merge(let key, let change): merge(key, change, id: id, results: &results)
    case .extendLease(let lease):
      gathered.lease = lease
      gathered.answers.append(StorageCompletion(id: id, result: .leased))
    case .findRequest(let request, let key):
      results.append(StorageCompletion(id: id, result: find(request, key)))
    case .digests(let partition, let nodes):
      results.append(StorageCompletion(id: id, result: .digests(nodes.map { digest(of: $0, partition) })))
    case .listLeaf(let place, after: let after, limit: let limit):
      results.append(StorageCompletion(id: id, result: .listed(list(place, after: after, limit: limit))))
    }
  }

  private func digest(of node: TreeNode, _ partition: PartitionID) -> Digest {
    var digest = Digest.zero
    for leaf in node.leaves(leafBits: geometry.leafBits) {
      digest.combine(syncedLeaf(LeafPlace(partition: partition, leaf: leaf)))
    }
    return digest
  }

  private func list(_ place: LeafPlace, after: Key?, limit: Int) -> LeafPage {
    let keys = durable.records.keys.filter { key in
      LeafPlace(of: key, geometry) == place && after.map { $0 < key } ?? true
    }.sorted()
    let entries = keys.prefix(limit).map { key in
      switch durable.records[key] {
      case .intact(let record, _)?:
        LeafPage.Entry(key: key, digest: record.digest(of: key, seed: geometry.digestSeed))
      case .damaged?, nil: LeafPage.Entry(key: key, digest: .zero)
      }
    }
    return LeafPage(entries: Array(entries), isLast: keys.count <= limit)
  }

  public func endTurn(results: inout [StorageCompletion]) {
    if isDead { return }
    if !gathered.isEmpty {
      handed.append(gathered)
      gathered = Batch(number: gathered.number + 1)
    }
    if !holdsSyncs { makeDurable(results: &results) }
  }

  public func collect(results: inout [StorageCompletion]) {
    results.append(contentsOf: done)
    done.removeAll()
  }

  /// Ended turns that wait for `sync()`.
  public var handedCount: Int { isDead ? 0 : handed.count }
  public var awaitsSync: Bool { handedCount > 0 }

  /// Makes ended turns durable: all, or the `count` oldest. The answers come through `collect`.
  public func sync(oldest count: Int = .max) {
    let wasEmpty = done.isEmpty
    makeDurable(oldest: count, results: &done)
    if wasEmpty, !done.isEmpty { onResults?() }
  }

  /// The store as a power cut leaves it: what was synced, and nothing of the process. Of what was not synced the log
  /// may hold a beginning, whole batches from the oldest on: `keeping` so many.
  public func crash(keeping count: Int = 0) -> MemoryStorage {
    let survivor = MemoryStorage(geometry: geometry)
    survivor.durable = durable
    var unheard: [StorageCompletion] = []
    for batch in handed.prefix(count) { survivor.apply(batch, results: &unheard) }
    return survivor
  }

  public var recoveredLease: Lease? { durable.lease }

  /// The digest of a leaf over what is durable.
  public func syncedLeaf(_ place: LeafPlace) -> Digest { durable.leaves[place] ?? .zero }

  /// Flips a bit of a stored record; false when there is none.
  public func damage(_ key: Key, byte: Int) -> Bool {
    guard let stored = durable.records[key] else { return false }
    var bytes = stored.encoded.bytes
    bytes[byte % bytes.count] ^= 1
    durable.records[key] = .damaged(EncodedRecord(unverified: bytes))
    return true
  }

  /// All that is durable.
  public func snapshot() -> StorageSnapshot {
    var result = StorageSnapshot()
    result.records = durable.records.map { StorageSnapshot.Entry(key: $0.key.bytes, record: $0.value.encoded) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    result.leaves = durable.leaves.map { StorageSnapshot.Leaf(place: $0.key, digest: $0.value) }
      .sorted { $0.place < $1.place }
    result.expiries = durable.expiries.sorted()
    result.requests = durable.requests.values.joined().map { RequestMemory.Entry(id: $0.key, until: $0.value) }.sorted()
    result.lease = durable.lease
    return result
  }

  /// Forgets the request ids of minutes that are over.
  public func forgetRequests(at wall: WallTime) {
    durable.requests = durable.requests.filter { $0.key >= RequestMemory.minute(of: wall) }
  }

  private func read(_ key: Key) -> StorageResult {
    if planted(.unsyncedReadable), let entry = unsynced[key] { return .record(EncodedRecord(entry.record)) }
    return switch durable.records[key] {
    case nil: .record(.empty)
    case .intact(_, let encoded): .record(encoded)
    case .damaged: .unreadable
    }
  }

  private func find(_ request: RequestID, _ key: Key) -> StorageResult {
    switch durable.records[key] {
    case .damaged: return .unreadable
    case .intact(let record, _) where record.versions.contains(where: { $0.requestID == request }):
      return .request(seen: true)
    case nil, .intact: return .request(seen: durable.requests.values.contains { $0[request] != nil })
    }
  }

  private func merge(_ key: Key, _ change: Change, id: StorageID, results: inout [StorageCompletion]) {
    guard let current = current(key) else {
      results.append(StorageCompletion(id: id, result: .unreadable))
      return
    }
    switch Merge.step(change, onto: current, id: id, results: &results) {
    case .changed(let record, let encoded): gather(key, from: current, to: record, encoded: encoded, id: id)
    case .unchanged: acknowledgeUnchanged(key, id: id, results: &results)
    case .refused: break
    }
  }

  /// The newest state of a key, unsynced joins included; nil when the stored record is damaged.
  private func current(_ key: Key) -> Record? {
    if let entry = unsynced[key] { return entry.record }
    switch durable.records[key] {
    case nil: return Record()
    case .intact(let record, _): return record
    case .damaged: return nil
    }
  }

  private func gather(_ key: Key, from old: Record, to new: Record, encoded: EncodedRecord, id: StorageID) {
    let delta = RecordDelta(of: key, from: old, to: new, seed: geometry.digestSeed)
    gathered.writes.append(Write(key: key, record: new, encoded: encoded, delta: delta))
    gathered.answers.append(StorageCompletion(id: id, result: .synced))
    unsynced[key] = Unsynced(record: new, batch: gathered.number)
  }

  private func acknowledgeUnchanged(_ key: Key, id: StorageID, results: inout [StorageCompletion]) {
    let answer = StorageCompletion(id: id, result: .synced)
    guard let entry = unsynced[key] else {
      results.append(answer)
      return
    }
    if let waiting = handed.firstIndex(where: { $0.number == entry.batch }) {
      handed[waiting].answers.append(answer)
    } else {
      gathered.answers.append(answer)
    }
  }

  private func makeDurable(oldest count: Int = .max, results: inout [StorageCompletion]) {
    if isDead || handed.isEmpty { return }
    if let fault = nextSyncFails {
      isDead = true
      results.append(StorageCompletion(id: handed[0].answers[0].id, result: .failed(fault)))
      return
    }
    for batch in handed.prefix(count) { apply(batch, results: &results) }
    handed.removeFirst(min(count, handed.count))
  }

  private func apply(_ batch: Batch, results: inout [StorageCompletion]) {
    for write in batch.writes {
      durable.records[write.key] = .intact(write.record, write.encoded)
      durable.leaves[LeafPlace(of: write.key, geometry), default: .zero].combine(write.delta.leaf)
      for at in write.delta.expiriesDropped { durable.expiries.remove(.init(at: at, key: write.key.bytes)) }
      for at in write.delta.expiriesAdded { durable.expiries.insert(.init(at: at, key: write.key.bytes)) }
      for entry in write.delta.requestsReplaced {
        durable.requests[RequestMemory.minute(of: entry.until), default: [:]][entry.id] = entry.until
      }
      if unsynced[write.key]?.batch == batch.number { unsynced[write.key] = nil }
    }
    if let lease = batch.lease { durable.lease = lease }
    results.append(contentsOf: batch.answers)
  }
}
