import KVCore
import KVModel

// What is damaged is put aside, and what may be missing is noted, before anything relies on it.
//
//   a record does not decode ──► Load.inspect: a scan of its leaf, at a snapshot ──► one batch: the damaged records go, their
//                                bytes are kept, the leaf follows, gaps are noted
//
//   a block does not decode ──► Load.locate: which file, and what lies in it ──► gaps of these partitions, synced
//                                  ──► Load.drop ──► Load.recount: the leaves follow ──► the gaps may be pulled
extension RocksDBStorage {
  // MARK: Noting

  func write(_ writes: [GapIndex.Write], into batch: WriteBatch) {
    for write in writes {
      switch write {
      case .put(let gap): batch.put(.meta, GapSpace.key(of: gap.part), GapSpace.value(of: gap))
      case .remove(let part): batch.delete(.meta, GapSpace.key(of: part))
      case .forgotten(let life, let until):
        batch.put(.meta, GapSpace.lifeKey, GapSpace.encode(life: life, until: until))
      }
    }
    if !writes.isEmpty { batch.mustSync = true }
    pending[pending.count - 1].gapSequence = gaps.sequence
  }

  func changeGaps(_ changes: [GapChange], id: StorageID) {
    let closes = changes.contains { if case .close = $0 { true } else { false } }
    // What is being loaded now was read before the last of what was pulled is synced.
    if closes { loadedBeforeClose.formUnion(lanes.keys) }
    let batch = openBatch()
    write(gaps.apply(changes), into: batch)
    pending[pending.count - 1].answers.append(StorageCompletion(id: id, result: .synced))
  }

  static func gaps(
    of database: Database, _ geometry: ShardGeometry, actor: Actor?
  ) throws(StorageOpenError) -> GapIndex {
    var index = GapIndex(geometry, actor: actor)
    var isSound = true
    let failure = database.scan(.meta, from: [GapSpace.tag]) { key, value in
      guard key.first == GapSpace.tag else { return false }
      if let gap = try? GapSpace.decode(key: key, value: value) { index.load(gap) } else { isSound = false }
      return isSound
    }
    if let failure { throw StorageOpenError(failure, in: database.directory) }
    if case .found(let bytes) = database.get(.meta, GapSpace.lifeKey, .disk, { [UInt8]($0) }) {
      if let (life, until) = try? GapSpace.decodeLife(bytes) {
        index.load(life: life, until: until)
      } else {
        isSound = false
      }
    }
    guard isSound else { throw .damaged(path: database.directory, detail: "a note about this copy cannot be read") }
    return index
  }

  // MARK: Damaged records

  /// The stored record of a key is damaged: later operations on it wait until it is put aside.
  func inspect(_ key: Key) {
    if lanes[key] != nil || records.isUnsynced(key) { return }
    lanes[key] = []
    pool.submit(.inspect(key, geometry))
  }

  /// Puts aside what a scan of the leaf has found; false when it has to be scanned again.
  func quarantine(_ inspection: Inspection) -> Bool {
    // A whole copy in memory, or a join under way, would be taken for what its leaf knows of it.
    let busy = inspection.damaged.filter { records.place(of: $0.key) != nil }
    guard busy.isEmpty else {
      for (key, _) in busy { records.remove(key) }
      return false
    }
    if inspection.damaged.isEmpty { return true }
    let batch = openBatch()
    var writes: [GapIndex.Write] = []
    for (key, bytes) in inspection.damaged {
      countUnreadable()
      batch.delete(.data, key.bytes)
      batch.put(.meta, GapSpace.quarantineKey(of: key), bytes)
      writes.append(gaps.quarantine(key))
      pending[pending.count - 1].places.append(records.stage(.empty, of: key, at: nil, in: batch.number))
    }
    write(writes, into: batch)
    correct(inspection.place, by: inspection.excess, in: batch)
    return true
  }

  /// Takes from a leaf what its records do not account for.
  private func correct(_ place: LeafPlace, by excess: Digest, in batch: WriteBatch) {
    let leaf = newestLeaves.combine(place, excess)
    MerkleSpace.withKey(place) { key in MerkleSpace.withValue(leaf) { batch.put(.merkle, key, $0) } }
    pending[pending.count - 1].leaves.append((place, excess))
  }

  // MARK: Damaged blocks

  /// A table file has a block that cannot be read. Its file is given up, one at a time: neither a compaction nor a scan
  /// ever comes past such a block.
  func onBroken(_ error: RocksDBError) {
    guard error.kind == .corruption, brokenFile == nil, let file = error.tableFile else { return }
    brokenFile = file
    pool.submit(.locate(file))
  }

  /// What lies in the file may be missing: noted before it goes.
  func onLocated(_ plan: DropPlan?) {
    guard let plan else {
      brokenFile = nil
      return
    }
    let partitions = newestLeaves.touched.filter { plan.touches($0, geometry) }
    let batch = openBatch()
    write(partitions.map { gaps.note(.partition($0), needsRescan: true) }, into: batch)
    waitForSync(.drop(plan))
  }

  /// What waits until everything that was gathered so far is synced.
  func waitForSync(_ load: Load) {
    let batch = openBatch()
    batch.mustSync = true
    afterSync.append((batch.number, load))
  }

  func submitWhatWaited(for batch: UInt64) {
    while let next = afterSync.first, next.batch <= batch {
      afterSync.removeFirst()
      pool.submit(next.load)
    }
  }

  /// What is in memory of the dropped records would be taken for what is stored.
  func onDropped(_ count: Int, _ plan: DropPlan) {
    brokenFile = nil
    gaps.onFilesDropped(count)
    records.forgetSynced()
    // First written to after the note: what they had may have come into a file of that range before it went.
    let late = newestLeaves.touched.filter { plan.touches($0, geometry) && !gaps.isOpen($0) }
    if !late.isEmpty { write(late.map { gaps.note(.partition($0), needsRescan: true) }, into: openBatch()) }
    for partition in gaps.partitionsToRescan { waitForSync(.recount(partition, geometry)) }
  }

  func onRecounted(_ partition: PartitionID, _ recount: Recount) {
    guard let write = gaps.onRescanned(partition) else { return }
    let batch = openBatch()
    for (place, digest) in recount.excess { correct(place, by: digest, in: batch) }
    // One that has gone meanwhile is stale, and goes when the sweep comes by.
    for entry in recount.expiries { put(entry, into: batch) }
    self.write([write], into: batch)
  }
}
