/// A record in its stored form. Equal states have equal bytes, so replicas that agree are recognised by comparing
/// bytes, and a replica answers a read without decoding what it stores.
///
/// Revision 1, integers little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1 | revision = 1 |
/// | 1 | 1 | zero |
/// | 2 | 2 | C: entries of the context |
/// | 4 | 2 | V: versions |
/// | 6 | 2 | zero |
/// | 8 | 8 | XXH3-64 of the header section (16 … 16+20C+56V) and of bytes 0…7 as its seed |
/// | 16 | 20·C | context: node id 8, epoch 4, counter 8; strictly ascending |
/// | … | 56·V | versions, strictly ascending by dot (below) |
/// | … | … | values, in the order of the versions |
///
/// A version: place of its actor in the context 2, kind 1 (0 value, 1 tombstone, 2 swept), zero 1, value length 4,
/// counter 8, stamp 8, expiry in ms 8 (0 = never), request id 16, checksum of the value 8.
public struct EncodedRecord: Hashable, Sendable {
  public let bytes: [UInt8]

  public static func == (a: EncodedRecord, b: EncodedRecord) -> Bool { a.bytes.equals(b.bytes) }

  /// Bytes that claim to be a record. They are believed only by `decoded()`.
  public init(unverified bytes: [UInt8]) { self.bytes = bytes }

  /// The stored form of nothing: a key that was never written.
  public static let empty = EncodedRecord(unverified: [])

  public var isEmpty: Bool { bytes.isEmpty }

  static let revision: UInt8 = 1
  static let fixedBytes = 16
  static let versionBytes = 56

  public init(_ record: Record) {
    guard !record.isEmpty else {
      self = .empty
      return
    }
    var bytes: [UInt8] = []
    let headerBytes =
      EncodedRecord.fixedBytes + record.context.entries.count * VersionVector.entryBytes
      + record.versions.count * EncodedRecord.versionBytes
    bytes.reserveCapacity(headerBytes + record.valueBytes)
    let counts = UInt64(record.context.entries.count) << 16 | UInt64(record.versions.count) << 32
    bytes.append(fields: ((UInt64(EncodedRecord.revision) | counts).littleEndian, UInt64(0)))
    record.context.encodeEntries(into: &bytes)
    for version in record.versions { EncodedRecord.encode(version, of: record.context, into: &bytes) }
    bytes.patch(bytes.withUnsafeBytes { EncodedRecord.checksum(of: $0, headerBytes: headerBytes) }, at: 8)
    for version in record.versions { if case .value(let value) = version.content { bytes.append(contentsOf: value) } }
    self.bytes = bytes
  }

  private static func encode(_ version: Version, of context: VersionVector, into bytes: inout [UInt8]) {
    let kind: UInt64 =
      switch version.content {
      case .value: 0
      case .tombstone: 1
      case .swept: 2
      }
    let place = UInt64(context.place(of: version.dot.actor))
    bytes.append(
      fields: (
        (place | kind << 16 | UInt64(version.valueBytes) << 32).littleEndian, version.dot.counter.littleEndian,
        version.stamp.bits.littleEndian, (version.expiry?.milliseconds ?? 0).littleEndian,
        version.requestID.client.littleEndian, version.requestID.sequence.littleEndian, version.checksum.littleEndian
      ))
  }

  private static func checksum(of bytes: UnsafeRawBufferPointer, headerBytes: Int) -> UInt64 {
    let seed = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    return Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[fixedBytes..<headerBytes]), seed: seed)
  }

  /// The record in these bytes; throws when they are damaged, not canonical, or of a revision unknown here.
  ///
  /// Values are checked against their checksums, so damage is found before it is served or spread; `isKnownIntact`
  /// spares that where it was done since the bytes came into memory. They are not copied: the record keeps these bytes.
  public func decoded(isKnownIntact: Bool = false) throws(DecodeError) -> Record {
    if bytes.isEmpty { return Record() }
    return try bytes.decode { (raw) throws(DecodeError) in
      try EncodedRecord.decode(raw, in: bytes, checksValues: !isKnownIntact)
    }
  }

  /// The record in bytes that belong to somebody else, which are copied once; as `decoded()`.
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> Record {
    try EncodedRecord(unverified: [UInt8](bytes)).decoded()
  }

  private static func decode(
    _ bytes: UnsafeRawBufferPointer, in array: [UInt8], checksValues: Bool
  ) throws(DecodeError) -> Record {
    var reader = ByteReader(bytes)
    let revision = try reader.u8()
    guard revision == EncodedRecord.revision else { throw .unknownRevision(revision) }
    guard try reader.u8() == 0 else { throw .notCanonical }
    let entries = Int(try reader.u16())
    let count = Int(try reader.u16())
    guard try reader.u16() == 0 else { throw .notCanonical }
    let claimed = try reader.u64()
    guard entries >= 1, entries <= Limits.contextEntriesMax, count <= Limits.versionsMax else { throw .outOfBounds }
    let headerBytes = fixedBytes + entries * VersionVector.entryBytes + count * versionBytes
    guard bytes.count >= headerBytes else { throw .truncated }
    guard claimed == checksum(of: bytes, headerBytes: headerBytes) else { throw .checksumMismatch }
    let context = try VersionVector(from: &reader, count: entries)
    var values = Values(array: array, checksThem: checksValues, reader: ByteReader(bytes, from: headerBytes))
    var versions: [Version] = []
    versions.reserveCapacity(count)
    for _ in 0..<count {
      let version = try decodeVersion(from: &reader, values: &values, context: context)
      guard versions.last.map({ $0.dot < version.dot }) ?? true else { throw .notCanonical }
      versions.append(version)
    }
    try values.reader.end()
    return Record(canonicalContext: context, versions: versions)
  }

  private static func decodeVersion(
    from reader: inout ByteReader, values: inout Values, context: VersionVector
  ) throws(DecodeError) -> Version {
    let place = Int(try reader.u16())
    let kind = try reader.u8()
    guard try reader.u8() == 0 else { throw .notCanonical }
    let valueBytes = Int(try reader.u32())
    let counter = try reader.u64()
    let stamp = Stamp(bits: try reader.u64())
    let expiry = try reader.u64()
    let requestID = try RequestID(from: &reader)
    let checksum = try reader.u64()
    guard place < context.entries.count, counter >= 1, counter <= context.entries[place].counter else {
      throw .notCanonical
    }
    let content = try decodeContent(kind: kind, bytes: valueBytes, checksum: checksum, from: &values)
    // Only what expires is swept; otherwise a forged copy would erase a value in every join.
    guard content != .swept || expiry != 0 else { throw .notCanonical }
    return Version(
      dot: Dot(actor: context.entries[place].actor, counter: counter), stamp: stamp,
      expiry: expiry == 0 ? nil : WallTime(milliseconds: expiry), requestID: requestID, checksum: checksum,
      content: content)
  }

  private static func decodeContent(
    kind: UInt8, bytes: Int, checksum: UInt64, from values: inout Values
  ) throws(DecodeError) -> Version.Content {
    switch kind {
    case 0:
      guard bytes <= Limits.valueBytesMax else { throw .outOfBounds }
      return .value(try values.next(bytes, checksum))
    case 1:
      guard bytes == 0, checksum == 0 else { throw .notCanonical }
      return .tombstone
    case 2:
      guard bytes == 0 else { throw .notCanonical }
      return .swept
    default: throw .unknownTag(kind)
    }
  }
}

/// The values behind the header, which are not copied.
private struct Values {
  let array: [UInt8]
  let checksThem: Bool
  var reader: ByteReader

  mutating func next(_ count: Int, _ checksum: UInt64) throws(DecodeError) -> Bytes {
    let start = reader.offset
    let value = try reader.view(count)
    guard !checksThem || Checksum.of(value) == checksum else { throw .checksumMismatch }
    return Bytes(array, start: start, count: count)
  }
}

extension EncodedRecord {
  /// Whether stored bytes are a whole record: lengths and checksums hold, those of the values included.
  ///
  /// It allocates and copies nothing, so that every read can afford it. What it accepts may still not be canonical:
  /// whoever joins calls `decoded()`.
  public static func isIntact(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if bytes.isEmpty { return true }
    guard bytes.count >= fixedBytes, bytes[0] == revision else { return false }
    let entries = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
    let count = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self)))
    let versionsStart = fixedBytes + entries * VersionVector.entryBytes
    let headerBytes = versionsStart + count * versionBytes
    guard bytes.count >= headerBytes else { return false }
    let claimed = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    guard claimed == checksum(of: bytes, headerBytes: headerBytes) else { return false }
    var values = UnsafeRawBufferPointer(rebasing: bytes[headerBytes...])
    for version in 0..<count {
      let offset = versionsStart + version * versionBytes
      let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)))
      guard length <= values.count else { return false }
      if bytes[offset + 2] == 0 {
        let checksum = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 48, as: UInt64.self))
        guard Checksum.of(UnsafeRawBufferPointer(rebasing: values[..<length])) == checksum else { return false }
      }
      values = UnsafeRawBufferPointer(rebasing: values[length...])
    }
    return values.isEmpty
  }
}

/// A record with its stored form, where both are at hand.
public struct StoredRecord: Hashable, Sendable {
  public let record: Record
  public let encoded: EncodedRecord

  public init(_ record: Record) {
    self.record = record
    encoded = EncodedRecord(record)
  }

  /// Throws as `EncodedRecord.decoded` does.
  public init(_ encoded: EncodedRecord) throws(DecodeError) {
    record = try encoded.decoded()
    self.encoded = encoded
  }

  /// Of a key of which nothing is stored.
  public static let empty = StoredRecord(record: Record(), encoded: .empty)

  private init(record: Record, encoded: EncodedRecord) {
    self.record = record
    self.encoded = encoded
  }

  public static func == (a: StoredRecord, b: StoredRecord) -> Bool { a.encoded == b.encoded }
}
