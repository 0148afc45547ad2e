import Dispatch
import KVCore
import KVModel

// From a join to the log: filling batches, handing them on, and what follows when they are synced.
extension RocksDBStorage {
  /// A record, its leaf, its expiry entries and the request ids that it forgets: together in one batch.
  func gather(_ merge: KeyMerge, from old: Record, to new: StoredRecord) {
    let key = merge.key
    let delta = RecordDelta(of: key, from: old, to: new.record, seed: geometry.digestSeed)
    let batch = openBatch()
    batch.put(.data, key.bytes, new.encoded.bytes)
    let leafPlace = LeafPlace(of: key, geometry)
    if !merge.targets.isEmpty { note(merge.targets, key, leafPlace, in: batch) }
    let leaf = newestLeaves.combine(leafPlace, delta.leaf)
    MerkleSpace.withKey(leafPlace) { key in MerkleSpace.withValue(leaf) { batch.put(.merkle, key, $0) } }
    writeExpiries(delta, of: key, into: batch)
    for entry in delta.requestsReplaced { remember(entry, in: batch) }

    let bytes = key.bytes.count + new.encoded.bytes.count + 128
    let last = pending.count - 1
    pending[last].answers.append(StorageCompletion(id: merge.id, result: .synced))
    pending[last].places.append(records.stage(new, of: key, at: merge.place, in: batch.number))
    pending[last].leaves.append((leafPlace, delta.leaf))
    pending[last].bytes += bytes
    addUnsynced(bytes: bytes)
    if options.durability == .sync, pending[last].bytes >= options.batchBytesMax { handOver(batch) }
  }

  func extend(_ lease: Lease, id: StorageID) {
    let batch = openBatch()
    batch.put(.meta, LeaseSpace.key, LeaseSpace.encode(lease))
    batch.mustSync = true
    write(gaps.onLeased(lease.actor), into: batch)
    pending[pending.count - 1].answers.append(StorageCompletion(id: id, result: .leased))
  }

  func put(_ entry: ExpiryEntry, into batch: WriteBatch) {
    ExpirySpace.encode(entry.at, entry.key, into: &scratch)
    batch.put(.expiry, scratch, [])
  }

  /// The entry by which a sweep came is of a record that was put aside, or lost with its file.
  func dropExpiry(_ entry: ExpiryEntry, id: StorageID) {
    drop(entry, from: openBatch())
    pending[pending.count - 1].answers.append(StorageCompletion(id: id, result: .synced))
  }

  private func drop(_ entry: ExpiryEntry, from batch: WriteBatch) {
    ExpirySpace.encode(entry.at, entry.key, into: &scratch)
    batch.delete(.expiry, scratch)
  }

  private func writeExpiries(_ delta: RecordDelta, of key: Key, into batch: WriteBatch) {
    for at in delta.expiriesDropped { drop(ExpiryEntry(at: at, key: key), from: batch) }
    for at in delta.expiriesAdded { put(ExpiryEntry(at: at, key: key), into: batch) }
  }

  private func remember(_ entry: RequestMemory.Entry, in batch: WriteBatch) {
    RequestSpace.encode(entry.id, minute: RequestMemory.minute(of: entry.until), into: &scratch)
    scratch.withUnsafeBytes { key in
      withUnsafeBytes(of: entry.until.milliseconds.littleEndian) { batch.put(.meta, key, $0) }
    }
  }

  /// Forgets, once a minute, the request ids of minutes that are over.
  func forgetRequests(in batch: WriteBatch) {
    let minute = RequestMemory.minute(of: options.wallClock())
    guard minute > forgottenUntil else { return }
    forgottenUntil = minute
    batch.delete(.meta, from: RequestSpace.start(of: 0), to: RequestSpace.start(of: minute))
  }

  /// The batch to add to: this turn's, or the one that still waits for the writer, or a new one.
  func openBatch() -> WriteBatch {
    if let gathering { return gathering }
    if options.durability == .sync, let last = pending.last, last.bytes < options.batchBytesMax,
      let batch = writer.reclaim()
    {
      gathering = batch
      return batch
    }
    let batch = spare.popLast() ?? WriteBatch(for: database)
    batch.number = nextBatch
    nextBatch += 1
    pending.append(PendingBatch(number: batch.number))
    gathering = batch
    return batch
  }

  func handOver(_ batch: WriteBatch) {
    gathering = nil
    writer.hand(batch)
  }

  /// `durability: os`: no other thread, no sync, unless a lease asks for it.
  func writeHere(_ batch: WriteBatch, results: inout [StorageCompletion]) {
    gathering = nil
    let begin = DispatchTime.now().uptimeNanoseconds
    let error = database.write(batch, synced: batch.mustSync)
    onWritten(batch, error, ns: DispatchTime.now().uptimeNanoseconds - begin, results: &results)
  }

  func onWritten(_ batch: WriteBatch, _ error: RocksDBError?, ns: UInt64, results: inout [StorageCompletion]) {
    invariant(pending.first?.number == batch.number, "batch \(batch.number) came back out of order")
    let synced = pending.removeFirst()
    if let error {
      let fault = onFailed(error)
      self.fault = fault
      results.append(StorageCompletion(id: synced.answers.first?.id ?? StorageID(raw: 0), result: .failed(fault)))
      return
    }
    count(synced, ns: ns)
    for place in synced.places { onSynced(place, in: synced.number) }
    for (place, change) in synced.leaves { syncedLeaves.combine(place, change) }
    hintsSynced = max(hintsSynced, synced.hintSequence)
    gapsSynced = max(gapsSynced, synced.gapSequence)
    submitWhatWaited(for: synced.number)
    results.append(contentsOf: synced.answers)
    recycle(batch, bytes: synced.bytes)
  }

  private func onSynced(_ place: RecordTable.Place, in batch: UInt64) {
    if !lanes.isEmpty, let key = records.key(at: place), lanes[key] != nil { writtenWhileLoading.insert(key) }
    records.settle(place, in: batch)
  }

  /// Keeps a batch, unless an unusual one made it large.
  private func recycle(_ batch: WriteBatch, bytes: Int) {
    guard spare.count < 4, bytes <= 1 << 20 else { return }
    batch.clear()
    spare.append(batch)
  }
}
