import KVCore
import KVModel

// A compaction that meets a damaged block stops the database, and would stop it after every start. So its file is given up,
// as one that a read came by (`RocksDBStorage+Gaps.swift`), but at the next open, before anything is compacted:
//
//   compaction: checksum mismatch in 000012.sst ──► DamagedTables.note, synced ──► the store fails, the node stops
//   next open, compactions off: gaps of what lies in it, synced ──► the file goes ──► DamagedTables.forget ──► opened as ever
//
// What is lost of records is pulled from the other owners. Of Merkle leaves and expiry entries nothing is lost that does not
// follow from the records, but they have to be scanned for it, and a copy whose tree is wrong must not be compared: until
// then their partitions are gaps too (`Gap.hasRecords`), of which nothing is pulled. Hints only save comparisons: they go.
// Nothing of the `meta` family can be done without.
//
// A start gives up one file at least, or is refused: however often a node is started, that comes to an end.
extension RocksDBStorage {
  /// The fault that an error means. When it names a damaged table file, the next open gives that one up.
  func onFailed(_ error: RocksDBError) -> StorageFault {
    var fault = error.fault(in: directory)
    guard error.kind == .corruption, let file = error.tableFile else { return fault }
    do throws(FileError) {
      try DamagedTables.note(String(file.dropFirst()), in: directory)
      fault.detail += "; the next start gives this file up, and what was in it is rebuilt from the other owners"
    } catch {
      fault.detail += "; it could not be noted to be given up (\(error.path): \(error.text))"
    }
    return fault
  }

  /// The database's files as a start finds them.
  struct Place {
    let directory: String
    let expected: StoredIdentity
    let options: StorageOptions
  }

  /// Gives up the table files that are noted; the number of files that went.
  static func giveUpNoted(_ place: Place) throws(StorageOpenError) -> Int {
    let files: [String]
    do { files = try DamagedTables.noted(in: place.directory) } catch { throw StorageOpenError(error) }
    if files.isEmpty { return 0 }
    let count = try giveUp(files, place)
    do { try DamagedTables.forget(in: place.directory) } catch { throw StorageOpenError(error) }
    return count
  }

  /// The database is closed again when this returns.
  private static func giveUp(_ files: [String], _ place: Place) throws(StorageOpenError) -> Int {
    var options = place.options
    options.compacts = false
    let database = try openDatabase(place.directory, options)
    for file in files where database.plan(toDrop: "/" + file, of: .meta) != nil {
      let note = place.directory + "/" + DamagedTables.name
      throw .damaged(
        path: place.directory + "/" + file,
        detail: "it holds what the shard knows of itself, which nothing replaces; if you restore it, remove \(note)")
    }
    try claim(database, place.expected)
    var count = 0
    for file in files { count += try giveUp("/" + file, of: database, place.expected) }
    return count
  }

  private static func giveUp(
    _ file: String, of database: Database, _ identity: StoredIdentity
  ) throws(StorageOpenError) -> Int {
    let plans = [Family.data, .merkle, .expiry, .hints].compactMap { database.plan(toDrop: file, of: $0) }
    // An earlier start has come so far.
    guard let plan = plans.first else { return 0 }
    try noteGaps(plan, in: database, identity)
    let count = database.drop(plan)
    if count == 0 { throw .damaged(path: database.directory + file, detail: "RocksDB does not let it go") }
    return count
  }

  /// What lies in the files may be missing: synced when this returns.
  private static func noteGaps(
    _ plan: DropPlan, in database: Database, _ identity: StoredIdentity
  ) throws(StorageOpenError) {
    let geometry = identity.geometry
    var gaps = try gaps(of: database, geometry, actor: try lease(of: database)?.actor)
    let batch = WriteBatch(for: database)
    for index in 0..<(1 << geometry.partitionBits) {
      let partition = PartitionID(UInt16(index))
      guard partition.shard(of: identity.identity.shards) == identity.identity.shard, plan.touches(partition, geometry),
        database.mayHold(partition, geometry)
      else { continue }
      let note =
        plan.family == .data
        ? gaps.note(.partition(partition), needsRescan: true) : gaps.noteDerived(partition)
      guard case .put(let noted) = note else { continue }
      batch.put(.meta, GapSpace.key(of: noted.part), GapSpace.value(of: noted))
    }
    if let error = database.write(batch, synced: true) { throw StorageOpenError(error, in: database.directory) }
  }
}

extension Database {
  /// Whether there are records of a partition; also when that cannot be read.
  fileprivate func mayHold(_ partition: PartitionID, _ geometry: ShardGeometry) -> Bool {
    var isThere = false
    let start = LeafPlace(partition: partition, leaf: 0).firstToken(geometry)
    var from: [UInt8] = []
    from.append(bigEndian: start)
    let error = scan(.data, from: from) { bytes, _ in
      isThere = Key(stored: bytes).map { LeafPlace(of: $0, geometry).partition == partition } ?? true
      return false
    }
    return isThere || error != nil
  }
}
