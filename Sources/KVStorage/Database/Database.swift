private import CRocksDB
import Glibc
import KVModel

/// An open RocksDB database and everything of it that must be freed. The C interface is safe to call from any thread;
/// reads run on the loop and in the IO pool, writes in one place at a time.
final class Database: @unchecked Sendable {
  /// How far a read may go for its answer.
  enum Reach {
    /// Memtables and block cache.
    case memory
    case disk
  }

  enum Lookup<Value> {
    case found(Value)
    case absent
    case failed(RocksDBError)
  }

  let directory: String
  let handle: OpaquePointer
  let families: [OpaquePointer]
  let options: NativeOptions
  private let memoryReads: OpaquePointer
  private let diskReads: OpaquePointer
  private let scans: OpaquePointer
  private let walks: OpaquePointer
  private let syncedWrites: OpaquePointer
  private let unsyncedWrites: OpaquePointer

  init(directory: String, options storageOptions: StorageOptions) throws(RocksDBError) {
    let options = NativeOptions(storageOptions)
    var families = [OpaquePointer?](repeating: nil, count: Family.allCases.count)
    let names = Family.allCases.map { UnsafePointer<CChar>(strdup($0.name)) }
    defer { for name in names { Glibc.free(UnsafeMutableRawPointer(mutating: name)) } }
    var error: UnsafeMutablePointer<CChar>?
    let handle = rocksdb_open_column_families(
      options.database, directory, Int32(families.count), names, options.families, &families, &error)
    guard let handle else {
      options.free()
      throw RocksDBError(taking: error) ?? RocksDBError(text: "rocksdb_open_column_families gave nothing")
    }
    self.directory = directory
    self.handle = handle
    self.families = families.map { $0! }
    self.options = options
    memoryReads = rocksdb_readoptions_create()
    rocksdb_readoptions_set_read_tier(memoryReads, 1)  // kBlockCacheTier
    diskReads = rocksdb_readoptions_create()
    scans = rocksdb_readoptions_create()
    rocksdb_readoptions_set_fill_cache(scans, 0)
    walks = rocksdb_readoptions_create()
    rocksdb_readoptions_set_fill_cache(walks, 0)
    rocksdb_readoptions_set_readahead_size(walks, 128 << 10)
    syncedWrites = rocksdb_writeoptions_create()
    rocksdb_writeoptions_set_sync(syncedWrites, 1)
    unsyncedWrites = rocksdb_writeoptions_create()
  }

  deinit {
    for family in families { rocksdb_column_family_handle_destroy(family) }
    rocksdb_close(handle)
    rocksdb_readoptions_destroy(memoryReads)
    rocksdb_readoptions_destroy(diskReads)
    rocksdb_readoptions_destroy(scans)
    rocksdb_readoptions_destroy(walks)
    rocksdb_writeoptions_destroy(syncedWrites)
    rocksdb_writeoptions_destroy(unsyncedWrites)
    options.free()
  }

  /// Column families that a directory has; empty when it holds no database yet.
  static func familyNames(in directory: String) throws(RocksDBError) -> [String] {
    guard access(directory + "/CURRENT", F_OK) == 0 else { return [] }
    let options = rocksdb_options_create()
    defer { rocksdb_options_destroy(options) }
    var count = 0
    var error: UnsafeMutablePointer<CChar>?
    let list = rocksdb_list_column_families(options, directory, &count, &error)
    if let error = RocksDBError(taking: error) { throw error }
    guard let list else { return [] }
    defer { rocksdb_list_column_families_destroy(list, count) }
    return (0..<count).compactMap { list[$0].map { String(cString: $0) } }
  }

  /// Reads a value in place: `body` sees memory that is pinned for its duration only.
  func get<Value>(
    _ family: Family, _ key: [UInt8], _ reach: Reach, _ body: (UnsafeRawBufferPointer) -> Value
  ) -> Lookup<Value> {
    get(family, key, reach == .memory ? memoryReads : diskReads, body)
  }

  fileprivate func get<Value>(
    _ family: Family, _ key: [UInt8], _ options: OpaquePointer, _ body: (UnsafeRawBufferPointer) -> Value
  ) -> Lookup<Value> {
    Database.skipCounting()
    var error: UnsafeMutablePointer<CChar>?
    let pinned = key.withUnsafeBytes {
      rocksdb_get_pinned_cf(handle, options, families[family.rawValue], $0.characters, $0.count, &error)
    }
    if let error = RocksDBError(taking: error) { return .failed(error) }
    guard let pinned else { return .absent }
    defer { rocksdb_pinnableslice_destroy(pinned) }
    var count = 0
    let value = rocksdb_pinnableslice_value(pinned, &count)
    return .found(body(UnsafeRawBufferPointer(start: value, count: count)))
  }

  /// Writes a batch as one record of the log; `synced` waits for the disk.
  func write(_ batch: WriteBatch, synced: Bool) -> RocksDBError? {
    Database.skipCounting()
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_write(handle, synced ? syncedWrites : unsyncedWrites, batch.handle, &error)
    guard let error = RocksDBError(taking: error) else { return nil }
    // Else RocksDB mends a full disk by itself (7.8, `ErrorHandler::RecoverFromNoSpace`; it cannot be turned off): it
    // flushes at once, and before that asks for the failed sync of the log again (HAZARDS.md row 37). Its thread may
    // still come before this; a kvnode that then loses power as well finds its directory refused as damaged.
    rocksdb_cancel_all_background_work(handle, 0)
    return error
  }

  /// Turns RocksDB's counters of this thread off: they take a tenth of a read. A serial queue may run on another thread
  /// each time, so this is said at every call.
  private static func skipCounting() { rocksdb_set_perf_level(Int32(rocksdb_disable)) }

  /// Visits a family from `start` on, in order of its keys, until `body` returns false.
  func scan(
    _ family: Family, from start: [UInt8] = [], _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
  ) -> RocksDBError? {
    scan(family, from: start, scans, body)
  }

  /// The same for a long way through the records: tables are read in large pieces, one system call each.
  func walk(
    from start: [UInt8], _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
  ) -> RocksDBError? {
    scan(.data, from: start, walks, body)
  }

  /// Calls `body` with a view of all families as they are now, whatever is written meanwhile.
  func withSnapshot<R>(_ body: (DatabaseView) -> R) -> R {
    let snapshot = rocksdb_create_snapshot(handle)!
    let options = rocksdb_readoptions_create()!
    rocksdb_readoptions_set_fill_cache(options, 0)
    rocksdb_readoptions_set_snapshot(options, snapshot)
    defer {
      rocksdb_readoptions_destroy(options)
      rocksdb_release_snapshot(handle, snapshot)
    }
    return body(DatabaseView(database: self, options: options))
  }

  fileprivate func scan(
    _ family: Family, from start: [UInt8], _ options: OpaquePointer,
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
  ) -> RocksDBError? {
    let iterator = rocksdb_create_iterator_cf(handle, options, families[family.rawValue])!
    defer { rocksdb_iter_destroy(iterator) }
    start.withUnsafeBytes { rocksdb_iter_seek(iterator, $0.characters, $0.count) }
    while rocksdb_iter_valid(iterator) != 0 {
      var (keyBytes, valueBytes) = (0, 0)
      let key = rocksdb_iter_key(iterator, &keyBytes)
      let value = rocksdb_iter_value(iterator, &valueBytes)
      guard
        body(
          UnsafeRawBufferPointer(start: key, count: keyBytes), UnsafeRawBufferPointer(start: value, count: valueBytes))
      else { break }
      rocksdb_iter_next(iterator)
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_iter_get_error(iterator, &error)
    return RocksDBError(taking: error)
  }

  /// Looks for a remembered request id: one seek for each minute that has any.
  func remembers(_ id: RequestID) -> Result<Bool, RocksDBError> {
    let iterator = rocksdb_create_iterator_cf(handle, diskReads, families[Family.meta.rawValue])!
    defer { rocksdb_iter_destroy(iterator) }
    var target: [UInt8] = []
    var minute: UInt64 = 0
    while true {
      RequestSpace.encode(id, minute: minute, into: &target)
      target.withUnsafeBytes { rocksdb_iter_seek(iterator, $0.characters, $0.count) }
      guard rocksdb_iter_valid(iterator) != 0 else { break }
      var count = 0
      let key = rocksdb_iter_key(iterator, &count)
      guard let found = RequestSpace.decode(UnsafeRawBufferPointer(start: key, count: count)) else { break }
      if found.id == id { return .success(true) }
      minute = found.minute > minute ? found.minute : minute + 1
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_iter_get_error(iterator, &error)
    return RocksDBError(taking: error).map { .failure($0) } ?? .success(false)
  }

  /// Syncs what the log holds.
  func syncLog() -> RocksDBError? {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_flush_wal(handle, 1, &error)
    return RocksDBError(taking: error)
  }

  /// Writes the memtable of a family out.
  func flush(_ family: Family) -> RocksDBError? {
    let options = rocksdb_flushoptions_create()
    defer { rocksdb_flushoptions_destroy(options) }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_flush_cf(handle, options, families[family.rawValue], &error)
    return RocksDBError(taking: error)
  }

  /// Writes the memtable of a family out, and compacts it into its last level.
  func settle(_ family: Family) -> RocksDBError? {
    if let error = flush(family) { return error }
    rocksdb_compact_range_cf(handle, families[family.rawValue], nil, 0, nil, 0)
    return nil
  }

  fileprivate func family(_ family: Family) -> OpaquePointer { families[family.rawValue] }
}

/// A database as it was at one moment; see `Database.withSnapshot`.
struct DatabaseView {
  fileprivate let database: Database
  fileprivate let options: OpaquePointer

  func get<Value>(
    _ family: Family, _ key: [UInt8], _ body: (UnsafeRawBufferPointer) -> Value
  ) -> Database.Lookup<Value> {
    database.get(family, key, options, body)
  }

  func scan(
    _ family: Family, from start: [UInt8], _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
  ) -> RocksDBError? {
    database.scan(family, from: start, options, body)
  }
}

/// Changes that reach the log as one record: all of them or none. Kept and reused, since it grows as it is filled.
final class WriteBatch: @unchecked Sendable {
  fileprivate let handle: OpaquePointer
  private let database: Database
  /// Which batch it is for now.
  var number: UInt64 = 0
  /// Whether it must be synced even where `durability: os` does not ask for it.
  var mustSync = false

  init(for database: Database) {
    self.database = database
    handle = rocksdb_writebatch_create()
  }

  deinit { rocksdb_writebatch_destroy(handle) }

  func put(_ family: Family, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    rocksdb_writebatch_put_cf(
      handle, database.family(family), key.characters, key.count, value.characters, value.count)
  }

  func put(_ family: Family, _ key: [UInt8], _ value: [UInt8]) {
    key.withUnsafeBytes { key in value.withUnsafeBytes { put(family, key, $0) } }
  }

  func delete(_ family: Family, _ key: [UInt8]) {
    key.withUnsafeBytes { rocksdb_writebatch_delete_cf(handle, database.family(family), $0.characters, $0.count) }
  }

  /// Deletes the keys from `start` up to, not including, `end`.
  func delete(_ family: Family, from start: [UInt8], to end: [UInt8]) {
    start.withUnsafeBytes { start in
      end.withUnsafeBytes { end in
        rocksdb_writebatch_delete_range_cf(
          handle, database.family(family), start.characters, start.count, end.characters, end.count)
      }
    }
  }

  func clear() {
    rocksdb_writebatch_clear(handle)
    mustSync = false
  }
}

extension UnsafeRawBufferPointer {
  /// As the C interface wants it; never nil, because an empty value is not a missing one.
  var characters: UnsafePointer<CChar> {
    baseAddress.map { $0.assumingMemoryBound(to: CChar.self) } ?? emptyCharacters
  }
}

private nonisolated(unsafe) let emptyCharacters = UnsafePointer<CChar>(strdup("")!)
