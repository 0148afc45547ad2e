/// What a read hands out and a write brings back: the causal history that was read, bound to its cluster and key.
/// Opaque to users.
///
/// | size | field |
/// |---|---|
/// | 1 | revision = 1 |
/// | 8 | cluster id |
/// | 8 | fingerprint of the key (XXH3-64 of its storage form, seeded with the cluster id) |
/// | 8 | highest stamp that the history covers |
/// | 2+20·n | version vector |
/// | 8 | XXH3-64 of all before, seeded with the cluster id |
public struct ContextToken: Hashable, Sendable {
  public var cluster: ClusterID
  public var keyFingerprint: UInt64
  public var vector: VersionVector
  public var stamp: Stamp

  public init(cluster: ClusterID, key: Key, vector: VersionVector, stamp: Stamp) {
    self.cluster = cluster
    self.keyFingerprint = key.fingerprint(seed: cluster.value)
    self.vector = vector
    self.stamp = stamp
  }

  /// Bytes of the longest token.
  public static let bytesMax = 35 + Limits.contextEntriesMax * VersionVector.entryBytes

  private static let revision: UInt8 = 1

  /// Whether this token was handed out by `cluster` for `key`.
  public func belongs(to key: Key, of cluster: ClusterID) -> Bool {
    self.cluster == cluster && keyFingerprint == key.fingerprint(seed: cluster.value)
  }

  public var bytes: [UInt8] {
    var bytes: [UInt8] = [ContextToken.revision]
    bytes.append(integer: cluster.value)
    bytes.append(integer: keyFingerprint)
    bytes.append(integer: stamp.bits)
    vector.encode(into: &bytes)
    bytes.append(integer: Checksum.of(bytes, seed: cluster.value))
    return bytes
  }

  public init(bytes: [UInt8]) throws(DecodeError) {
    guard bytes.count <= ContextToken.bytesMax else { throw .outOfBounds }
    self = try bytes.decode(ContextToken.decode)
  }

  private static func decode(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) -> ContextToken {
    var reader = ByteReader(bytes)
    let revision = try reader.u8()
    guard revision == ContextToken.revision else { throw .unknownRevision(revision) }
    let cluster = ClusterID(try reader.u64())
    let fingerprint = try reader.u64()
    let stamp = Stamp(bits: try reader.u64())
    let vector = try VersionVector(from: &reader)
    let covered = bytes.count - reader.remaining
    let checksum = try reader.u64()
    try reader.end()
    guard checksum == Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[..<covered]), seed: cluster.value) else {
      throw .checksumMismatch
    }
    return ContextToken(cluster: cluster, keyFingerprint: fingerprint, vector: vector, stamp: stamp)
  }

  private init(cluster: ClusterID, keyFingerprint: UInt64, vector: VersionVector, stamp: Stamp) {
    self.cluster = cluster
    self.keyFingerprint = keyFingerprint
    self.vector = vector
    self.stamp = stamp
  }
}
