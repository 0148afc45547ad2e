import Glibc
import KVCore
import KVModel

/// What an open found.
struct OpenedContents {
  var lease: Lease?
  var leaves: LeafTable
  var hints: HintIndex
  var gaps: GapIndex
}

extension RocksDBStorage {
  /// Opens the database of one shard, or makes it. What was synced before a crash is there afterwards; a torn tail of
  /// the log is cut; any other damage, and every mismatch, is refused.
  ///
  /// How RocksDB 7.8 recovers its log (kTolerateCorruptedTailRecords, logs not recycled; `db/log_reader.cc`):
  ///
  /// | the log | what happens |
  /// |---|---|
  /// | ends in the middle of a record (header or body) | the record is cut |
  /// | ends in zeros | they are skipped |
  /// | has a wrong checksum anywhere, its last record included | refused |
  /// | has a wrong length field in its last 32 KiB, pointing past the end | cut from there on: not told from a torn tail |
  /// | is shorter than the manifest says, or missing, and a later log exists | refused (track_and_verify_wals) |
  ///
  /// `onResults` is called on any thread when `collect` has something to give again.
  public static func open(
    directory: String, identity: ShardIdentity, geometry: ShardGeometry, generation: UInt64, options: StorageOptions,
    onResults: @escaping @Sendable () -> Void
  ) throws(StorageOpenError) -> RocksDBStorage {
    try prepare(directory)
    let expected = StoredIdentity(identity: identity, geometry: geometry, generation: generation)
    let place = Place(directory: directory, expected: expected, options: options)
    var filesGivenUp = 0
    for _ in 0..<giveUpsMax {
      filesGivenUp += try giveUpNoted(place)
      let database = try openDatabase(directory, options.staggered(for: identity))
      do {
        return try read(database, place, filesGivenUp: filesGivenUp, onResults: onResults)
      } catch {
        // A table file of leaves or hints, which are read as it opens.
        guard case .damaged(let path, _) = error, let file = RocksDBError.tableFile(in: path) else { throw error }
        do { try DamagedTables.note(String(file.dropFirst()), in: directory) } catch { throw StorageOpenError(error) }
      }
    }
    throw .damaged(path: directory, detail: "\(filesGivenUp) table files were given up, and there are more")
  }

  /// Table files that one open gives up, each when the one before is gone: a disk that damages more is to be looked at.
  private static let giveUpsMax = 8

  private static func read(
    _ database: Database, _ place: Place, filesGivenUp: Int, onResults: @escaping @Sendable () -> Void
  ) throws(StorageOpenError) -> RocksDBStorage {
    let (geometry, options) = (place.expected.geometry, place.options)
    try claim(database, place.expected)
    let lease = try lease(of: database)
    var contents = OpenedContents(
      lease: lease, leaves: try leaves(of: database, geometry),
      hints: try hints(of: database, geometry, keysMax: options.hintKeysMax),
      gaps: try gaps(of: database, geometry, actor: lease?.actor))
    contents.gaps.onFilesDropped(filesGivenUp)
    return RocksDBStorage(
      database: database, contents: contents, geometry: geometry, options: options, filesGivenUp: filesGivenUp,
      onResults: onResults)
  }

  private static func prepare(_ directory: String) throws(StorageOpenError) {
    do {
      try FileSystem.makeDirectory(directory)
      try FileSystem.checkDirectory(directory)
      if let slash = directory.lastIndex(of: "/") { try FileSystem.syncDirectory(String(directory[..<slash])) }
    } catch {
      throw StorageOpenError(error)
    }
  }

  static func openDatabase(
    _ directory: String, _ options: StorageOptions
  ) throws(StorageOpenError) -> Database {
    do {
      let names = try Database.familyNames(in: directory)
      let unknown = names.filter { name in !Family.allCases.contains { $0.name == name } }
      if !unknown.isEmpty {
        throw StorageOpenError.newerFormat(path: directory, found: "families \(unknown.joined(separator: ", "))")
      }
      var options = options
      try? FileSystem.makeDirectory(directory)
      if !FileSystem.canBypassPageCache(in: directory) { options.bypassesPageCache = false }
      return try Database(directory: directory, options: options)
    } catch let error as RocksDBError {
      let refusal = StorageOpenError(error, in: directory)
      guard case .damaged(directory, let detail) = refusal else { throw refusal }
      throw .damaged(path: damagedLog(in: directory) ?? directory, detail: detail)
    } catch let error as StorageOpenError {
      throw error
    } catch {
      throw .failed(path: directory, detail: "\(error)")
    }
  }

  /// The log that recovery stumbled over: RocksDB's error does not say, its own log does, in lines such as
  /// `…/000012.log: dropping 512 bytes; Corruption: checksum mismatch`.
  private static func damagedLog(in directory: String) -> String? {
    guard let bytes = try? FileSystem.read(directory + "/LOG", bytesMax: 64 << 20) else { return nil }
    let prefix = Array((directory + "/").utf8)
    let suffix = Array(".log: dropping".utf8)
    for line in bytes.split(separator: UInt8(ascii: "\n")).reversed() {
      guard line.count > prefix.count + suffix.count else { continue }
      for start in line.startIndex...(line.endIndex - prefix.count) where line[start...].starts(with: prefix) {
        let name = line[(start + prefix.count)...].prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        if line[name.endIndex...].starts(with: suffix) {
          return directory + "/" + String(decoding: name, as: UTF8.self) + ".log"
        }
      }
    }
    return nil
  }

  /// Compares what the database says of itself with what is expected, and notes the start that opens it now.
  static func claim(_ database: Database, _ expected: StoredIdentity) throws(StorageOpenError) {
    if let found = try identity(of: database) {
      try compare(found, expected, path: database.directory)
      if found.generation == expected.generation { return }
    }
    let batch = WriteBatch(for: database)
    batch.put(.meta, StoredIdentity.key, expected.encoded)
    if let error = database.write(batch, synced: true) { throw StorageOpenError(error, in: database.directory) }
  }

  /// Nil when the database is new: made, perhaps by a start that died at once, and never written to.
  private static func identity(of database: Database) throws(StorageOpenError) -> StoredIdentity? {
    let path = database.directory
    switch database.get(.meta, StoredIdentity.key, .disk, { [UInt8]($0) }) {
    case .failed(let error): throw StorageOpenError(error, in: path)
    case .found(let bytes):
      do { return try StoredIdentity(bytes) } catch { throw StorageOpenError(error, of: "the identity", path: path) }
    case .absent:
      var isEmpty = true
      if let error = database.scan(
        .data,
        { _, _ in
          isEmpty = false; return false
        })
      {
        throw StorageOpenError(error, in: path)
      }
      guard isEmpty else { throw .damaged(path: path, detail: "records, but no identity") }
      return nil
    }
  }

  private static func compare(
    _ found: StoredIdentity, _ expected: StoredIdentity, path: String
  ) throws(StorageOpenError) {
    let (has, wants) = (found.identity, expected.identity)
    if has.node != wants.node { throw .otherNode(path: path, found: has.node, expected: wants.node) }
    if has.shards != wants.shards { throw .otherShardCount(path: path, found: has.shards, expected: wants.shards) }
    if has.shard != wants.shard { throw .otherShard(path: path, found: has.shard, expected: wants.shard) }
    if found.geometry.cluster != expected.geometry.cluster {
      throw .otherCluster(path: path, found: found.geometry.cluster, expected: expected.geometry.cluster)
    }
    if found.geometry != expected.geometry {
      throw .otherGeometry(path: path, found: found.geometry, expected: expected.geometry)
    }
    if found.generation > expected.generation {
      throw .laterGeneration(path: path, found: found.generation, expected: expected.generation)
    }
  }

  static func lease(of database: Database) throws(StorageOpenError) -> Lease? {
    switch database.get(.meta, LeaseSpace.key, .disk, { [UInt8]($0) }) {
    case .absent: return nil
    case .failed(let error): throw StorageOpenError(error, in: database.directory)
    case .found(let bytes):
      do { return try LeaseSpace.decode(bytes) } catch {
        throw StorageOpenError(error, of: "the lease", path: database.directory)
      }
    }
  }

  private static func leaves(
    of database: Database, _ geometry: ShardGeometry
  ) throws(StorageOpenError) -> LeafTable {
    var table = LeafTable(geometry)
    var isSound = true
    let failure = database.scan(.merkle) { key, value in
      guard let (place, digest) = try? MerkleSpace.decode(key: key, value: value), table.contains(place) else {
        isSound = false
        return false
      }
      table.combine(place, digest)
      return true
    }
    if let failure { throw StorageOpenError(failure, in: database.directory) }
    guard isSound else { throw .damaged(path: database.directory, detail: "a Merkle leaf cannot be read") }
    return table
  }
}

extension StorageOpenError {
  init(_ error: RocksDBError, in directory: String) {
    let path = error.path(in: directory)
    self =
      switch error.kind {
      case .inUse: .inUse(path: directory)
      case .diskFull: .diskFull(path: path)
      case .notPermitted: .notPermitted(path: path)
      case .notADirectory: .notADirectory(path: path)
      case .corruption: .damaged(path: path, detail: error.text)
      case .notInMemory, .ioError, .other: .failed(path: path, detail: error.text)
      }
  }

  init(_ error: DecodeError, of what: String, path: String) {
    self =
      switch error {
      case .unknownRevision(let revision): .newerFormat(path: path, found: "revision \(revision) of \(what)")
      case .truncated, .trailingBytes, .outOfBounds, .unknownTag, .checksumMismatch, .notCanonical, .badMagic,
        .notText, .invalidKey, .invalidContext:
        .damaged(path: path, detail: "\(what): \(error)")
      }
  }

  init(_ error: FileError) {
    self =
      switch error.code {
      case ENOTDIR, EEXIST: .notADirectory(path: error.path)
      case EACCES, EPERM, EROFS: .notPermitted(path: error.path)
      case ENOSPC, EDQUOT: .diskFull(path: error.path)
      default: .failed(path: error.path, detail: error.text)
      }
  }
}
