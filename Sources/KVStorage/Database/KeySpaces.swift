import KVCore
import KVModel

/// The column families of a shard's database.
enum Family: Int, CaseIterable {
  /// RocksDB insists on it; empty.
  case unused
  /// Storage key of a record (token first, so ring order) → its stored form.
  case data
  /// Who may have missed what: hints of keys, and marks of leaves → nothing.
  case hints
  /// When a version expires, and whose → nothing.
  case expiry
  /// Place of a Merkle leaf → its digest.
  case merkle
  /// What the shard knows of itself.
  case meta

  var name: String {
    switch self {
    case .unused: "default"
    case .data: "data"
    case .hints: "hints"
    case .expiry: "expiry"
    case .merkle: "merkle"
    case .meta: "meta"
    }
  }
}

// merkle
//
// | key: size | field |
// |---|---|
// | 2 | partition, big-endian |
// | 4 | leaf, big-endian |
//
// | value: size | field |
// |---|---|
// | 16 | digest: low, high, little-endian |
enum MerkleSpace {
  /// Calls `body` with the key of a place; on the stack, because every write makes one.
  static func withKey<R>(_ place: LeafPlace, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let packed = (UInt64(place.partition.index) << 48 | UInt64(place.leaf) << 16).bigEndian
    return withUnsafeBytes(of: packed) { body(UnsafeRawBufferPointer(rebasing: $0[..<6])) }
  }

  static func withValue<R>(_ digest: Digest, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    withUnsafeBytes(of: (digest.low.littleEndian, digest.high.littleEndian), body)
  }

  static func decode(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) throws(DecodeError) -> (
    LeafPlace, Digest
  ) {
    var reader = ByteReader(key)
    let partition = PartitionID(try reader.u16().byteSwapped)
    let leaf = try reader.u32().byteSwapped
    try reader.end()
    var valueReader = ByteReader(value)
    let digest = try Digest(from: &valueReader)
    try valueReader.end()
    return (LeafPlace(partition: partition, leaf: leaf), digest)
  }
}

// expiry
//
// | key: size | field |
// |---|---|
// | 8 | milliseconds since 1970, big-endian |
// | … | storage key of the record |
enum ExpirySpace {
  static func encode(_ at: WallTime, _ key: Key, into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(bigEndian: at.milliseconds)
    bytes.append(contentsOf: key.bytes)
  }

  static func decode(_ key: UnsafeRawBufferPointer) throws(DecodeError) -> StorageSnapshot.Expiry {
    var reader = ByteReader(key)
    let at = WallTime(milliseconds: try reader.u64().byteSwapped)
    return StorageSnapshot.Expiry(at: at, key: try reader.bytes(reader.remaining))
  }
}

// hints
//
// | key: size | field |
// |---|---|
// | 1 | 'h' a key, 'm' a leaf that is dirty |
// | 8 | the node that may have missed something, big-endian |
// | … | storage key of the record; or partition 2, leaf 4, big-endian |
enum HintSpace {
  static let keyTag = UInt8(ascii: "h")
  static let markTag = UInt8(ascii: "m")

  static func encode(_ target: NodeID, _ key: Key, into bytes: inout [UInt8]) {
    begin(keyTag, target, &bytes)
    bytes.append(contentsOf: key.bytes)
  }

  static func encode(_ target: NodeID, _ place: LeafPlace, into bytes: inout [UInt8]) {
    begin(markTag, target, &bytes)
    MerkleSpace.withKey(place) { bytes.append(contentsOf: $0) }
  }

  /// The first hint of a key from a token on.
  static func start(_ target: NodeID, _ token: Token) -> [UInt8] {
    var bytes: [UInt8] = []
    begin(keyTag, target, &bytes)
    bytes.append(bigEndian: token.position)
    return bytes
  }

  private static func begin(_ tag: UInt8, _ target: NodeID, _ bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(tag)
    bytes.append(bigEndian: target.value)
  }

  enum Entry: Equatable {
    case key(NodeID, Key)
    case mark(NodeID, LeafPlace)
  }

  static func decode(_ key: UnsafeRawBufferPointer) throws(DecodeError) -> Entry {
    var reader = ByteReader(key)
    let tag = try reader.u8()
    let target = NodeID(try reader.u64().byteSwapped)
    switch tag {
    case keyTag: return .key(target, try Key(storageBytes: try reader.view(reader.remaining)))
    case markTag:
      let place = LeafPlace(partition: PartitionID(try reader.u16().byteSwapped), leaf: try reader.u32().byteSwapped)
      try reader.end()
      return .mark(target, place)
    default: throw .unknownTag(tag)
    }
  }
}

// meta: the remembered request ids, by the minute in which they may be forgotten, so that forgetting is one range
//
// | key: size | field |
// |---|---|
// | 1 | 'r' |
// | 8 | minute of `until`, big-endian |
// | 16 | request id: client, sequence, big-endian |
//
// | value: size | field |
// |---|---|
// | 8 | until, ms, little-endian |
enum RequestSpace {
  static let tag = UInt8(ascii: "r")
  static let keyBytes = 25

  static func encode(_ id: RequestID, minute: UInt64, into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(tag)
    bytes.append(bigEndian: minute)
    bytes.append(bigEndian: id.client)
    bytes.append(bigEndian: id.sequence)
  }

  /// The first key of a minute.
  static func start(of minute: UInt64) -> [UInt8] {
    var bytes = [tag]
    bytes.append(bigEndian: minute)
    return bytes
  }

  /// Nil for a key of another kind.
  static func decode(_ key: UnsafeRawBufferPointer) -> (id: RequestID, minute: UInt64)? {
    guard key.count == keyBytes, key[0] == tag else { return nil }
    func field(_ offset: Int) -> UInt64 {
      UInt64(bigEndian: key.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    return (RequestID(client: field(9), sequence: field(17)), field(1))
  }
}

// meta: "lease"
//
// | size | field |
// |---|---|
// | 1 | revision = 1 |
// | 12 | actor: node id 8, epoch 4 |
// | 8 | sequence |
// | 8 | stamp |
// | 8 | XXH3-64 of all before |
enum LeaseSpace {
  static let key = Array("lease".utf8)

  static func encode(_ lease: Lease) -> [UInt8] {
    var bytes: [UInt8] = [1]
    bytes.append(integer: lease.actor.node.value)
    bytes.append(integer: lease.actor.epoch)
    bytes.append(integer: lease.sequence)
    bytes.append(integer: lease.stamp.bits)
    bytes.append(integer: Checksum.of(bytes))
    return bytes
  }

  static func decode(_ bytes: [UInt8]) throws(DecodeError) -> Lease {
    try sealed(bytes) { (reader) throws(DecodeError) in
      let actor = Actor(node: NodeID(try reader.u64()), epoch: try reader.u32())
      return Lease(actor: actor, sequence: try reader.u64(), stamp: Stamp(bits: try reader.u64()))
    }
  }
}

/// What a database was made for, as it says itself.
struct StoredIdentity: Equatable {
  var identity: ShardIdentity
  var geometry: ShardGeometry
  /// The start that last opened it.
  var generation: UInt64
}

// meta: "identity"
//
// | size | field |
// |---|---|
// | 1 | revision = 1: of everything in this database but the records, which carry their own |
// | 8 | node id |
// | 2, 2 | shard, S |
// | 8 | cluster id |
// | 1, 1 | partition bits, leaf bits |
// | 8 | generation |
// | 8 | XXH3-64 of all before |
extension StoredIdentity {
  static let key = Array("identity".utf8)

  var encoded: [UInt8] {
    var bytes: [UInt8] = [1]
    bytes.append(integer: identity.node.value)
    bytes.append(integer: UInt16(identity.shard))
    bytes.append(integer: UInt16(identity.shards))
    bytes.append(integer: geometry.cluster.value)
    bytes.append(UInt8(geometry.partitionBits))
    bytes.append(UInt8(geometry.leafBits))
    bytes.append(integer: generation)
    bytes.append(integer: Checksum.of(bytes))
    return bytes
  }

  init(_ bytes: [UInt8]) throws(DecodeError) {
    self = try sealed(bytes) { (reader) throws(DecodeError) in
      let identity = ShardIdentity(
        node: NodeID(try reader.u64()), shard: Int(try reader.u16()), shards: Int(try reader.u16()))
      let geometry = ShardGeometry(
        cluster: ClusterID(try reader.u64()), partitionBits: Int(try reader.u8()), leafBits: Int(try reader.u8()))
      return StoredIdentity(identity: identity, geometry: geometry, generation: try reader.u64())
    }
  }
}

/// Reads what stands between a revision byte 1 and a checksum.
func sealed<R>(
  _ bytes: [UInt8], _ body: (inout ByteReader) throws(DecodeError) -> R
) throws(DecodeError) -> R {
  try bytes.decode { (bytes) throws(DecodeError) in
    var reader = ByteReader(bytes)
    let revision = try reader.u8()
    guard revision == 1 else { throw .unknownRevision(revision) }
    guard bytes.count > 9 else { throw .truncated }
    let covered = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 8)])
    let result = try body(&reader)
    let checksum = try reader.u64()
    try reader.end()
    guard checksum == Checksum.of(covered) else { throw .checksumMismatch }
    return result
  }
}
