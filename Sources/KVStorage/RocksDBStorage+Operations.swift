import KVCore
import KVModel

// What an operation does on the loop, and how it goes on when its record had to be read from the disk.
extension RocksDBStorage {
  /// Carries an operation out. When its record is not in memory, returns what must be loaded first.
  func perform(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) -> Load? {
    switch operation {
    case .read(let key): return read(key, id: id, results: &results)
    case .merge(let key, let change): return merge(key, change, id: id, results: &results)
    case .extendLease(let lease):
      extend(lease, id: id)
      return nil
    // A retry is rare, and its answer seldom in memory.
    case .findRequest(let request, let key): return .request(request, key)
    case .digests(let partition, let nodes):
      results.append(StorageCompletion(id: id, result: .digests(syncedLeaves.digests(of: nodes, partition))))
      return nil
    case .listLeaf(let place, after: let after, limit: let limit):
      pool.submit(.leaf(place, geometry, after: after, limit: limit, id))
      return nil
    }
  }

  /// Lets an operation wait, and later ones on its key behind it.
  func wait(for load: Load, _ operation: StorageOperation, _ id: StorageID) {
    guard let key = load.key else { fatalError("invariant broken: \(operation) waits for no key") }
    lanes[key] = [(operation, id)]
    pool.submit(load)
  }

  private func onLeafLoaded(_ load: Load, _ outcome: Load.Outcome, results: inout [StorageCompletion]) {
    guard case .leaf(_, _, _, _, let id) = load else { return }
    switch outcome {
    case .leaf(let page): results.append(StorageCompletion(id: id, result: .listed(page)))
    case .record, .request, .damaged, .failed: answerUnreadable(id, &results)
    }
  }

  func onLoaded(_ load: Load, _ outcome: Load.Outcome, results: inout [StorageCompletion]) {
    countRead(fromMemory: false)
    guard let key = load.key else { return onLeafLoaded(load, outcome, results: &results) }
    guard let lane = lanes.removeValue(forKey: key), let (operation, id) = lane.first else { return }
    keep(outcome, of: key)
    finish(operation, id: id, with: outcome, results: &results)
    for index in lane.indices.dropFirst() {
      guard let load = perform(lane[index].operation, id: lane[index].id, results: &results) else { continue }
      lanes[key] = Array(lane[index...])
      pool.submit(load)
      return
    }
  }

  /// What was read for somebody who reads may be asked for again.
  private func keep(_ outcome: Load.Outcome, of key: Key) {
    let wasWritten = writtenWhileLoading.remove(key) != nil
    guard !wasWritten, case .record(let bytes) = outcome, bytes.withUnsafeBytes(EncodedRecord.isIntact) else { return }
    cache.store(EncodedRecord(unverified: bytes), of: key)
  }

  private func finish(
    _ operation: StorageOperation, id: StorageID, with outcome: Load.Outcome, results: inout [StorageCompletion]
  ) {
    switch (operation, outcome) {
    case (.read, .record(let bytes)):
      if bytes.withUnsafeBytes(EncodedRecord.isIntact) {
        results.append(StorageCompletion(id: id, result: .record(EncodedRecord(unverified: bytes))))
      } else {
        answerUnreadable(id, &results)
      }
    case (.merge(let key, let change), .record(let bytes)):
      if let record = try? EncodedRecord(unverified: bytes).decoded() {
        apply(change, to: key, record, id: id, results: &results)
      } else {
        answerUnreadable(id, &results)
      }
    case (.findRequest, .request(let seen)):
      results.append(StorageCompletion(id: id, result: .request(seen: seen)))
    // A disk that refuses to give a record back has lost that copy; the other owners have theirs.
    case (_, .damaged), (_, .failed): answerUnreadable(id, &results)
    case (.digests, _), (.listLeaf, _), (_, .leaf), (.extendLease, _), (.read, .request), (.merge, .request),
      (.findRequest, .record):
      fatalError("invariant broken: \(operation) waited for \(outcome)")
    }
  }

  private func answerUnreadable(_ id: StorageID, _ results: inout [StorageCompletion]) {
    countUnreadable()
    results.append(StorageCompletion(id: id, result: .unreadable))
  }

  /// Reads what is synced; the overlay is not asked.
  private func read(_ key: Key, id: StorageID, results: inout [StorageCompletion]) -> Load? {
    if let record = cache.record(of: key) {
      countCached()
      results.append(StorageCompletion(id: id, result: .record(record)))
      return nil
    }
    let lookup = database.get(.data, key.bytes, .memory) { (bytes) -> EncodedRecord? in
      EncodedRecord.isIntact(bytes) ? EncodedRecord(unverified: [UInt8](bytes)) : nil
    }
    switch lookup {
    case .found(let record?):
      cache.store(record, of: key)
      results.append(StorageCompletion(id: id, result: .record(record)))
    case .absent: results.append(StorageCompletion(id: id, result: .record(.empty)))
    case .failed(let error) where error.kind == .notInMemory: return .record(key)
    case .found(nil), .failed: answerUnreadable(id, &results)
    }
    countRead(fromMemory: true)
    return nil
  }

  private func merge(
    _ key: Key, _ change: Change, id: StorageID, results: inout [StorageCompletion]
  ) -> Load? {
    if let unsynced = overlay[key] {
      apply(change, to: key, unsynced.record, id: id, results: &results)
      return nil
    }
    if let record = try? cache.record(of: key)?.decoded() {
      countCached()
      apply(change, to: key, record, id: id, results: &results)
      return nil
    }
    switch database.get(.data, key.bytes, .memory, { try? EncodedRecord.decode($0) }) {
    case .found(let record?): apply(change, to: key, record, id: id, results: &results)
    case .absent: apply(change, to: key, Record(), id: id, results: &results)
    case .failed(let error) where error.kind == .notInMemory: return .record(key)
    case .found(nil), .failed: answerUnreadable(id, &results)
    }
    countRead(fromMemory: true)
    return nil
  }

  private func apply(
    _ change: Change, to key: Key, _ current: Record, id: StorageID, results: inout [StorageCompletion]
  ) {
    guard metrics.unsyncedBytes < options.unsyncedBytesMax else {
      countOverloaded()
      let detail = "\(metrics.unsyncedBytes) bytes wait for the disk"
      results.append(
        StorageCompletion(id: id, result: .refused(Failure(.overloaded, retryAfterMs: 50, detail: detail))))
      return
    }
    switch Merge.step(change, onto: current, id: id, results: &results) {
    case .changed(let record, let encoded): gather(key, from: current, to: record, encoded: encoded, id: id)
    case .unchanged: acknowledgeUnchanged(key, id: id, results: &results)
    case .refused: break
    }
  }

  /// A merge that changed nothing is synced when what it joined onto is.
  private func acknowledgeUnchanged(_ key: Key, id: StorageID, results: inout [StorageCompletion]) {
    let answer = StorageCompletion(id: id, result: .synced)
    if let unsynced = overlay[key], let index = pending.firstIndex(where: { $0.number == unsynced.batch }) {
      pending[index].answers.append(answer)
    } else {
      results.append(answer)
    }
  }
}
