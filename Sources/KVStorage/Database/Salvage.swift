private import CRocksDB
import KVCore
import KVModel

/// What a scan of a leaf has found damaged.
struct Inspection: Sendable {
  let place: LeafPlace
  /// Ascending, with the bytes as they are.
  var damaged: [(key: Key, bytes: [UInt8])] = []
  /// What the leaf's digest has of records that are not there, or cannot be read.
  var excess = Digest.zero
}

/// Which table files must go so that one with a damaged block goes, and what they may hold.
struct DropPlan: Sendable {
  let file: String
  /// Files of level 0, oldest first: only the oldest can go, and only when there is nothing below.
  let levelZero: [String]
  /// Files of the other levels that lie within these bounds go.
  let range: (first: [UInt8], last: [UInt8])?
  let firstToken: UInt64
  let lastToken: UInt64
}

extension RocksDBError {
  /// The table file that a corruption was found in: `…/000012.sst offset 8192 size 4061`.
  var tableFile: String? {
    let bytes = Array(text.utf8)
    let suffix = Array(".sst".utf8)
    guard bytes.count > suffix.count else { return nil }
    for end in 0..<(bytes.count - suffix.count) where bytes[end...].starts(with: suffix) {
      let digits = bytes[..<end].reversed().prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      if !digits.isEmpty { return "/" + String(decoding: digits.reversed(), as: UTF8.self) + ".sst" }
    }
    return nil
  }
}

extension Database {
  private struct Table {
    var name: String
    var level: Int32
    var smallest: [UInt8]
    var largest: [UInt8]
  }

  private func tables(of family: Family) -> [Table] {
    guard let files = rocksdb_livefiles(handle) else { return [] }
    defer { rocksdb_livefiles_destroy(files) }
    return (0..<rocksdb_livefiles_count(files)).compactMap { index in
      guard String(cString: rocksdb_livefiles_column_family_name(files, index)) == family.name else { return nil }
      func bytes(_ get: (UnsafeMutablePointer<Int>) -> UnsafePointer<CChar>?) -> [UInt8] {
        var count = 0
        let start = get(&count)
        return [UInt8](UnsafeRawBufferPointer(start: start, count: count))
      }
      return Table(
        name: String(cString: rocksdb_livefiles_name(files, index)), level: rocksdb_livefiles_level(files, index),
        smallest: bytes { rocksdb_livefiles_smallestkey(files, index, $0) },
        largest: bytes { rocksdb_livefiles_largestkey(files, index, $0) })
    }
  }

  /// Nil when the file is none of the records' any more.
  func plan(toDrop file: String) -> DropPlan? {
    let tables = tables(of: .data)
    guard let broken = tables.first(where: { $0.name == file }) else { return nil }
    if broken.level > 0 { return plan(broken, levelZero: [], below: [broken]) }
    // Names of one length ascend with age; of level 0 only the oldest file can go.
    let older = tables.filter { $0.level == 0 && ($0.name.count, $0.name) <= (file.count, file) }
      .sorted { ($0.name.count, $0.name) < ($1.name.count, $1.name) }
    return plan(broken, levelZero: older, below: tables.filter { $0.level > 0 })
  }

  private func plan(_ broken: Table, levelZero: [Table], below: [Table]) -> DropPlan? {
    func earlier(_ a: [UInt8], _ b: [UInt8]) -> Bool { a.lexicographicallyPrecedes(b) }
    let all = levelZero + below
    guard let first = all.map(\.smallest).min(by: earlier), let last = all.map(\.largest).max(by: earlier) else {
      return nil
    }
    let belowFirst = below.map(\.smallest).min(by: earlier)
    let belowLast = below.map(\.largest).max(by: earlier)
    func token(_ key: [UInt8]) -> UInt64 { key.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }
    return DropPlan(
      file: broken.name, levelZero: levelZero.map(\.name),
      range: belowFirst.flatMap { first in belowLast.map { (first, $0) } },
      firstToken: token(first), lastToken: token(last))
  }

  /// The number of files that are gone; zero when the one that had to go is still there: it may be in use.
  func drop(_ plan: DropPlan) -> Int {
    let before = tables(of: .data).count
    var error: UnsafeMutablePointer<CChar>?
    if let range = plan.range {
      range.first.withUnsafeBytes { first in
        range.last.withUnsafeBytes { last in
          rocksdb_delete_file_in_range_cf(
            handle, families[Family.data.rawValue], first.characters, first.count, last.characters, last.count, &error)
        }
      }
      _ = RocksDBError(taking: error)
    }
    for file in plan.levelZero { rocksdb_delete_file(handle, file) }
    let after = tables(of: .data)
    return after.contains { $0.name == plan.file } ? 0 : max(1, before - after.count)
  }

  // MARK: Leaves and the records that they are about, at one moment

  /// Reads a leaf's records and its digest at a snapshot: what one has more than the other was lost.
  func inspect(_ place: LeafPlace, _ geometry: ShardGeometry) -> Result<Inspection, RocksDBError> {
    var inspection = Inspection(place: place)
    let result = compare(place, toNext: false, geometry) { _, digest in
      inspection.excess = digest
    } onDamaged: {
      inspection.damaged.append(($0, $1))
    }
    return result.map { .failure($0) } ?? .success(inspection)
  }

  /// The same for all leaves of a partition: those that differ.
  func recount(
    _ partition: PartitionID, _ geometry: ShardGeometry
  ) -> Result<[(place: LeafPlace, digest: Digest)], RocksDBError> {
    var excess: [(place: LeafPlace, digest: Digest)] = []
    let first = LeafPlace(partition: partition, leaf: 0)
    let result = compare(first, toNext: true, geometry) { place, digest in
      if digest != .zero { excess.append((place, digest)) }
    } onDamaged: { _, _ in
    }
    return result.map { .failure($0) } ?? .success(excess)
  }

  private func compare(
    _ first: LeafPlace, toNext isPartition: Bool, _ geometry: ShardGeometry,
    onExcess: (LeafPlace, Digest) -> Void, onDamaged: (Key, [UInt8]) -> Void
  ) -> RocksDBError? {
    func isWithin(_ place: LeafPlace) -> Bool { isPartition ? place.partition == first.partition : place == first }

    var digests: [LeafPlace: Digest] = [:]
    let error = withSnapshot { view -> RocksDBError? in
      let start = MerkleSpace.withKey(first) { [UInt8]($0) }
      let error = view.scan(.merkle, from: start) { key, value in
        guard let (place, digest) = try? MerkleSpace.decode(key: key, value: value), isWithin(place) else {
          return false
        }
        digests[place, default: .zero].combine(digest)
        return true
      }
      if let error { return error }
      var from: [UInt8] = []
      from.append(bigEndian: first.firstToken(geometry))
      return view.scan(.data, from: from) { bytes, value in
        guard let key = Key(stored: bytes) else { return true }
        let place = LeafPlace(of: key, geometry)
        guard isWithin(place) else { return false }
        if let record = try? EncodedRecord.decode(value) {
          digests[place, default: .zero].combine(record.digest(of: key, seed: geometry.digestSeed))
        } else {
          onDamaged(key, [UInt8](value))
        }
        return true
      }
    }
    if let error { return error }
    for (place, digest) in digests.sorted(by: { $0.key < $1.key }) { onExcess(place, digest) }
    return nil
  }

  // MARK: Scrub

  /// Reads records in ring order; the keys of those that are damaged.
  func scrub(after: Key?, bytes limit: Int) -> Result<(page: ScrubPage, damaged: [Key]), RocksDBError> {
    var page = ScrubPage(last: nil, bytes: 0)
    var damaged: [Key] = []
    let error = walk(from: after.map { $0.bytes + [0] } ?? []) { bytes, value in
      page.bytes += bytes.count + value.count
      guard let key = Key(stored: bytes) else { return true }
      if (try? EncodedRecord.decode(value)) == nil { damaged.append(key) }
      page.last = key
      return page.bytes < limit
    }
    if let error { return .failure(error) }
    if page.bytes < limit { page.last = nil }
    return .success((page, damaged))
  }
}
