import KVCore
import KVModel

/// A merge whose key was looked up.
struct KeyMerge {
  let key: Key
  let place: RecordTable.Place?
  let change: Change
  let targets: [NodeID]
  let id: StorageID
}

// What an operation does on the loop, and how it goes on when its record had to be read from the disk.
extension RocksDBStorage {
  /// Carries an operation out. When its record is not in memory, returns what must be loaded first.
  func perform(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) -> Load? {
    switch operation {
    case .read(let key): return read(key, id: id, results: &results)
    case .merge(let key, let change, let targets): return merge(key, change, targets, id: id, results: &results)
    case .extendLease(let lease):
      extend(lease, id: id)
      return nil
    // A retry is rare, and its answer seldom in memory.
    case .findRequest(let request, let key): return .request(request, key)
    case .digests(let partition, let nodes):
      results.append(StorageCompletion(id: id, result: .digests(syncedLeaves.digests(of: nodes, partition))))
      return nil
    case .roots(let partitions):
      results.append(StorageCompletion(id: id, result: .digests(partitions.map { syncedLeaves.root(of: $0) })))
      return nil
    case .listLeaf(let place, after: let after, limit: let limit):
      pool.submit(.leaf(place, geometry, after: after, limit: limit, id))
      return nil
    case .hint(let key, let targets):
      note(targets, key, id: id)
      return nil
    case .listHints(let target, let token, after: let after, limit: let limit):
      pool.submit(.hints(HintQuery(target, token, after, limit, hintsSynced), geometry, id))
      return nil
    case .forgetHints(let target, let keys, let sequence):
      forget(target, keys, upTo: sequence, id: id)
      return nil
    case .forgetMarks(let target, let partition, let sequence):
      forgetMarks(target, partition, upTo: sequence, id: id)
      return nil
    case .countHints:
      results.append(StorageCompletion(id: id, result: .census(hints.census(synced: hintsSynced))))
      return nil
    case .keyDigests(let keys):
      pool.submit(.digests(keys, geometry, id))
      return nil
    case .listExpired(let wall, after: let after, limit: let limit):
      pool.submit(.expired(upTo: wall, after: after, limit: limit, id))
      return nil
    case .rescan(let partition, from: let leaf, let bytesMax):
      rescan(partition, from: leaf, bytesMax: bytesMax, id: id, results: &results)
      return nil
    case .listGaps:
      results.append(StorageCompletion(id: id, result: .gaps(gaps.census(synced: gapsSynced))))
      return nil
    case .changeGaps(let changes):
      changeGaps(changes, id: id)
      return nil
    case .scrub(after: let after, bytes: let bytes):
      pool.submit(.scrub(after: after, bytes: bytes, id))
      return nil
    }
  }

  /// Lets an operation wait, and later ones on its key behind it.
  func wait(for load: Load, _ operation: StorageOperation, _ id: StorageID) {
    guard let key = load.key else { fatalError("invariant broken: \(operation) waits for no key") }
    lanes[key] = [(operation, id)]
    pool.submit(load)
  }

  /// What belongs to no one key.
  private func onLoaded(_ id: StorageID, _ outcome: Load.Outcome, results: inout [StorageCompletion]) {
    switch outcome {
    case .leaf(let page):
      for entry in page.entries where entry.digest == .zero { inspect(entry.key) }
      results.append(StorageCompletion(id: id, result: .listed(page)))
    case .hints(var page, let damaged):
      for key in damaged { inspect(key) }
      // What may lack something is handed over once it is whole again.
      for place in page.entries.indices where gaps.isOpen(page.entries[place].key) {
        (page.entries[place].digest, page.entries[place].bytes) = (.zero, 0)
      }
      results.append(StorageCompletion(id: id, result: .hints(page)))
    case .digests(let digests, let damaged):
      for key in damaged { inspect(key) }
      results.append(StorageCompletion(id: id, result: .digests(digests)))
    case .scrubbed(let page, let damaged):
      for key in damaged { inspect(key) }
      results.append(StorageCompletion(id: id, result: .scrubbed(page)))
    case .expired(let page): results.append(StorageCompletion(id: id, result: .expired(page)))
    case .rescan(let rescan, let scanned): onRescanned(rescan, scanned, id, &results)
    case .record, .request, .damaged, .failed, .inspected, .located, .dropped, .recounted:
      answerUnreadable(id, &results)
    }
  }

  func onLoaded(_ load: Load, _ outcome: Load.Outcome, results: inout [StorageCompletion]) {
    countRead(fromMemory: false)
    if case .failed(let error) = outcome { onBroken(error) }
    if let id = load.operation { return onLoaded(id, outcome, results: &results) }
    switch (load, outcome) {
    case (_, .located(let plan)): return onLocated(plan)
    case (.drop(let plan), .dropped(let count)): return onDropped(count, plan)
    case (.recount(let partition, _), .recounted(let recount)): return onRecounted(partition, recount)
    case (.inspect(let key, _), _): return onInspected(key, outcome, results: &results)
    default: break
    }
    guard let key = load.key else { return }
    guard let lane = lanes.removeValue(forKey: key), let (operation, id) = lane.first else { return }
    let isLatest = writtenWhileLoading.remove(key) == nil
    if finish(operation, id: id, with: outcome, isLatest: isLatest, results: &results) {
      work(off: lane.dropFirst(), key, results: &results)
    } else {
      lanes[key] = lane
      pool.submit(.inspect(key, geometry))
    }
  }

  /// Carries out what has waited for a key, until something has to wait again.
  private func work(
    off lane: ArraySlice<(operation: StorageOperation, id: StorageID)>, _ key: Key, results: inout [StorageCompletion]
  ) {
    for index in lane.indices {
      guard let load = perform(lane[index].operation, id: lane[index].id, results: &results) else { continue }
      lanes[key] = Array(lane[index...])
      pool.submit(load)
      return
    }
  }

  /// The damaged records of the key's leaf are put aside; what waited for this one goes on without it.
  private func onInspected(_ key: Key, _ outcome: Load.Outcome, results: inout [StorageCompletion]) {
    guard let lane = lanes[key] else { return }
    guard case .inspected(let inspection) = outcome else {
      lanes[key] = nil
      for (_, id) in lane { answerUnreadable(id, &results) }
      return
    }
    guard quarantine(inspection) else { return pool.submit(.inspect(key, geometry)) }
    lanes[key] = nil
    if inspection.damaged.contains(where: { $0.key == key }) { return work(off: lane[...], key, results: &results) }
    // It was damaged in memory alone, or has been replaced.
    for (_, id) in lane { answerUnreadable(id, &results) }
  }

  /// `isLatest`: nothing was written to the key since it was loaded, so that what was read may be kept.
  ///
  /// False when the record is damaged: it is put aside first.
  private func finish(
    _ operation: StorageOperation, id: StorageID, with outcome: Load.Outcome, isLatest: Bool,
    results: inout [StorageCompletion]
  ) -> Bool {
    switch (operation, outcome) {
    case (.read(let key), .record(let bytes)):
      guard bytes.withUnsafeBytes(EncodedRecord.isIntact) else {
        return records.isUnsynced(key) && refuse(id, &results)
      }
      let record = EncodedRecord(unverified: bytes)
      if isLatest { records.store(record, of: key) }
      let mayBeOld = loadedBeforeClose.remove(key) != nil
      answer(record, of: key, hasGap: mayBeOld, id, &results)
    case (.merge(let key, let change, let targets), .record(let bytes)):
      guard let record = try? EncodedRecord(unverified: bytes).decoded() else { return false }
      let merge = KeyMerge(key: key, place: records.place(of: key), change: change, targets: targets, id: id)
      apply(merge, to: record, results: &results)
    case (.findRequest(_, let key), .request(let seen)):
      if gaps.isOpen(key) { return refuse(id, &results) }
      results.append(StorageCompletion(id: id, result: .request(seen: seen)))
    case (.findRequest(_, let key), .damaged): return records.isUnsynced(key) && refuse(id, &results)
    // A disk that refuses to give a record back has lost that copy; the other owners have theirs.
    case (_, .failed): answerUnreadable(id, &results)
    default: fatalError("invariant broken: \(operation) waited for \(outcome)")
    }
    return true
  }

  private func refuse(_ id: StorageID, _ results: inout [StorageCompletion]) -> Bool {
    answerUnreadable(id, &results)
    return true
  }

  private func answer(
    _ record: EncodedRecord, of key: Key, hasGap: Bool = false, _ id: StorageID, _ results: inout [StorageCompletion]
  ) {
    let result = hasGap || gaps.isOpen(key) ? StorageResult.incomplete(record) : .record(record)
    results.append(StorageCompletion(id: id, result: result))
  }

  private func answerUnreadable(_ id: StorageID, _ results: inout [StorageCompletion]) {
    countUnreadable()
    results.append(StorageCompletion(id: id, result: .unreadable))
  }

  /// Reads what is synced; unsynced joins are not asked.
  private func read(_ key: Key, id: StorageID, results: inout [StorageCompletion]) -> Load? {
    if let record = records.record(of: key) {
      countCached()
      answer(record, of: key, id, &results)
      return nil
    }
    let lookup = database.get(.data, key.bytes, .memory) { (bytes) -> EncodedRecord? in
      EncodedRecord.isIntact(bytes) ? EncodedRecord(unverified: [UInt8](bytes)) : nil
    }
    switch lookup {
    case .found(let record?):
      records.store(record, of: key)
      answer(record, of: key, id, &results)
    case .absent: answer(.empty, of: key, id, &results)
    case .failed(let error) where error.kind == .notInMemory: return .record(key)
    // What waits for its sync replaces it.
    case .found(nil) where !records.isUnsynced(key): return .inspect(key, geometry)
    case .found(nil): answerUnreadable(id, &results)
    case .failed(let error):
      onBroken(error)
      answerUnreadable(id, &results)
    }
    countRead(fromMemory: true)
    return nil
  }

  private func merge(
    _ key: Key, _ change: Change, _ targets: [NodeID], id: StorageID, results: inout [StorageCompletion]
  ) -> Load? {
    let place = records.place(of: key)
    let merge = KeyMerge(key: key, place: place, change: change, targets: targets, id: id)
    switch records.newest(at: place) {
    case .unsynced(let record):
      apply(merge, to: record, results: &results)
      return nil
    case .synced(let encoded):
      // Its bytes were checked when they came into memory.
      guard let record = try? encoded.decoded(isKnownIntact: true) else { break }
      countCached()
      apply(merge, to: record, results: &results)
      return nil
    case .unknown: break
    }
    switch database.get(.data, key.bytes, .memory, { try? EncodedRecord.decode($0) }) {
    case .found(let record?): apply(merge, to: record, results: &results)
    case .absent: apply(merge, to: Record(), results: &results)
    case .failed(let error) where error.kind == .notInMemory: return .record(key)
    case .found(nil): return .inspect(key, geometry)
    case .failed(let error):
      onBroken(error)
      answerUnreadable(id, &results)
    }
    countRead(fromMemory: true)
    return nil
  }

  private func apply(_ merge: KeyMerge, to current: Record, results: inout [StorageCompletion]) {
    guard metrics.unsyncedBytes < options.unsyncedBytesMax else {
      countOverloaded()
      let detail = "\(metrics.unsyncedBytes) bytes wait for the disk"
      results.append(
        StorageCompletion(id: merge.id, result: .refused(Failure(.overloaded, retryAfterMs: 50, detail: detail))))
      return
    }
    if case .mint(let mint) = merge.change, !gaps.mayMint(merge.key, as: mint.dot.actor) {
      results.append(StorageCompletion(id: merge.id, result: .unreadable))
      return
    }
    let hasGap = gaps.isOpen(merge.key)
    switch Merge.step(merge.change, onto: current, hasGap: hasGap, id: merge.id, results: &results) {
    case .changed(let stored): gather(merge, from: current, to: stored)
    case .unchanged:
      if let at = merge.change.staleExpiry(of: current) {
        dropExpiry(ExpiryEntry(at: at, key: merge.key), id: merge.id)
      } else if merge.targets.isEmpty {
        acknowledgeUnchanged(merge.key, id: merge.id, results: &results)
      } else {
        note(merge.targets, merge.key, id: merge.id)
      }
    case .refused: break
    }
  }

  /// A merge that changed nothing is synced when what it joined onto is.
  private func acknowledgeUnchanged(_ key: Key, id: StorageID, results: inout [StorageCompletion]) {
    let answer = StorageCompletion(id: id, result: .synced)
    if let batch = records.unsyncedBatch(of: key), let index = pending.firstIndex(where: { $0.number == batch }) {
      pending[index].answers.append(answer)
    } else {
      results.append(answer)
    }
  }
}
