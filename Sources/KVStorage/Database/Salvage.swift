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

/// What a scan of a partition has found that follows from its records.
struct Recount: Sendable {
  /// Leaves that have more or less than their records account for, and by what.
  var excess: [(place: LeafPlace, digest: Digest)] = []
  /// Of all versions whose bytes are to be dropped.
  var expiries: [ExpiryEntry] = []
}

/// Which table files must go so that one with a damaged block goes, and what they may hold.
struct DropPlan: Sendable {
  let family: Family
  let file: String
  /// Files of level 0, oldest first: only the oldest can go, and only when there is nothing below.
  let levelZero: [String]
  /// Files of the other levels that lie within these bounds go.
  let range: (first: [UInt8], last: [UInt8])?
  /// Keys of the family: nothing outside of them goes.
  let first: [UInt8]
  let last: [UInt8]

  /// Whether the files may hold something of a partition.
  func touches(_ partition: PartitionID, _ geometry: ShardGeometry) -> Bool {
    let index = UInt64(partition.index)
    switch family {
    case .data:
      let (from, to) = (token(first), token(last))
      let bits = UInt64(64 - geometry.partitionBits)
      let start = geometry.partitionBits == 0 ? 0 : index << bits
      let end = geometry.partitionBits == 0 ? UInt64.max : start | ((1 << bits) - 1)
      return end >= from && start <= to
    case .merkle: return index >= token(first) >> 48 && index <= token(last) >> 48
    // By time, and by target: anything.
    case .expiry: return true
    case .hints, .meta, .unused: return false
    }
  }

  /// The first eight bytes of a key, as far as it has them.
  private func token(_ key: [UInt8]) -> UInt64 {
    (0..<8).reduce(0) { $0 << 8 | ($1 < key.count ? UInt64(key[$1]) : 0) }
  }
}

extension RocksDBError {
  /// The table file that a corruption was found in, as `/000012.sst`: the text has `…/000012.sst offset 8192 size 4061`.
  var tableFile: String? { RocksDBError.tableFile(in: text) }

  /// The first name of a table file in a text.
  static func tableFile(in text: String) -> String? {
    let bytes = Array(text.utf8)
    let suffix = Array(".sst".utf8)
    guard bytes.count > suffix.count else { return nil }
    for end in 0...(bytes.count - suffix.count) where bytes[end...].starts(with: suffix) {
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

  /// Nil when the file is none of the family's any more.
  func plan(toDrop file: String, of family: Family = .data) -> DropPlan? {
    let tables = tables(of: family)
    guard let broken = tables.first(where: { $0.name == file }) else { return nil }
    if broken.level > 0 { return plan(family, broken, levelZero: [], below: [broken]) }
    // Names of one length ascend with age; of level 0 only the oldest file can go.
    let older = tables.filter { $0.level == 0 && ($0.name.count, $0.name) <= (file.count, file) }
      .sorted { ($0.name.count, $0.name) < ($1.name.count, $1.name) }
    return plan(family, broken, levelZero: older, below: tables.filter { $0.level > 0 })
  }

  private func plan(_ family: Family, _ broken: Table, levelZero: [Table], below: [Table]) -> DropPlan? {
    func earlier(_ a: [UInt8], _ b: [UInt8]) -> Bool { a.lexicographicallyPrecedes(b) }
    let all = levelZero + below
    guard let first = all.map(\.smallest).min(by: earlier), let last = all.map(\.largest).max(by: earlier) else {
      return nil
    }
    let belowFirst = below.map(\.smallest).min(by: earlier)
    let belowLast = below.map(\.largest).max(by: earlier)
    return DropPlan(
      family: family, file: broken.name, levelZero: levelZero.map(\.name),
      range: belowFirst.flatMap { first in belowLast.map { (first, $0) } }, first: first, last: last)
  }

  /// The number of files that are gone; zero when the one that had to go is still there: it may be in use.
  func drop(_ plan: DropPlan) -> Int {
    let before = tables(of: plan.family).count
    var error: UnsafeMutablePointer<CChar>?
    if let range = plan.range {
      range.first.withUnsafeBytes { first in
        range.last.withUnsafeBytes { last in
          rocksdb_delete_file_in_range_cf(
            handle, families[plan.family.rawValue], first.characters, first.count, last.characters, last.count, &error)
        }
      }
      _ = RocksDBError(taking: error)
    }
    for file in plan.levelZero { rocksdb_delete_file(handle, file) }
    let after = tables(of: plan.family)
    return after.contains { $0.name == plan.file } ? 0 : max(1, before - after.count)
  }

  // MARK: Leaves and the records that they are about, at one moment

  /// Reads a leaf's records and its digest at a snapshot: what one has more than the other was lost.
  func inspect(_ place: LeafPlace, _ geometry: ShardGeometry) -> Result<Inspection, RocksDBError> {
    var inspection = Inspection(place: place)
    let result = compare(place, toNext: false, geometry) { _, digest in
      inspection.excess = digest
    } onRecord: { key, record, bytes in
      if record == nil { inspection.damaged.append((key, [UInt8](bytes))) }
    }
    return result.map { .failure($0) } ?? .success(inspection)
  }

  /// The same for all leaves of a partition: those that differ; and what expires of its records.
  func recount(_ partition: PartitionID, _ geometry: ShardGeometry) -> Result<Recount, RocksDBError> {
    var recount = Recount()
    let first = LeafPlace(partition: partition, leaf: 0)
    let result = compare(first, toNext: true, geometry) { place, digest in
      if digest != .zero { recount.excess.append((place, digest)) }
    } onRecord: { key, record, _ in
      guard let record else { return }
      recount.expiries += RecordDelta.expiries(of: record).map { ExpiryEntry(at: $0, key: key) }
    }
    return result.map { .failure($0) } ?? .success(recount)
  }

  private func compare(
    _ first: LeafPlace, toNext isPartition: Bool, _ geometry: ShardGeometry,
    onExcess: (LeafPlace, Digest) -> Void, onRecord: (Key, Record?, UnsafeRawBufferPointer) -> Void
  ) -> RocksDBError? {
    if let error = flushLeaves() { return error }
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
        let record = try? EncodedRecord.decode(value)
        if let record { digests[place, default: .zero].combine(record.digest(of: key, seed: geometry.digestSeed)) }
        onRecord(key, record, value)
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
