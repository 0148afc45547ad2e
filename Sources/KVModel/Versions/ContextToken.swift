/// What a read hands out and a write brings back: the causal history that was read, bound to its cluster and key, and
/// sealed, so that a token which no node handed out is refused. Opaque to users.
///
/// | size | field |
/// |---|---|
/// | 1 | revision = 1 |
/// | 8 | cluster id |
/// | 8 | fingerprint of the key (XXH3-64 of its storage form, seeded with the cluster id) |
/// | 8 | highest stamp that the history covers |
/// | 2+20·n | version vector |
/// | 8 | seal: SipHash-2-4 of all before, keyed with the cluster's secret |
///
/// A made-up history would do more harm than a wrong value: it could cover versions that are yet to be written.
public struct ContextToken: Hashable, Sendable {
  public let cluster: ClusterID
  public let keyFingerprint: UInt64
  public let vector: VersionVector
  public let stamp: Stamp
  /// Checked by `isSealed(by:)`, where the secret is known.
  public let seal: UInt64

  public init(cluster: ClusterID, key: Key, vector: VersionVector, stamp: Stamp, secret: ClusterSecret) {
    self.cluster = cluster
    self.keyFingerprint = key.fingerprint(seed: cluster.value)
    self.vector = vector
    self.stamp = stamp
    let contents = ContextToken.contents(cluster, keyFingerprint, stamp, vector)
    seal = secret.seal(contents)
  }

  /// Bytes of the longest token.
  public static let bytesMax = 35 + Limits.contextEntriesMax * VersionVector.entryBytes

  private static let revision: UInt8 = 1

  /// Whether this token is about `key` of `cluster`.
  public func belongs(to key: Key, of cluster: ClusterID) -> Bool {
    self.cluster == cluster && keyFingerprint == key.fingerprint(seed: cluster.value)
  }

  /// Whether a node of the cluster with this secret handed the token out, and nobody changed it since.
  public func isSealed(by secret: ClusterSecret) -> Bool {
    seal == secret.seal(ContextToken.contents(cluster, keyFingerprint, stamp, vector))
  }

  public var bytes: [UInt8] {
    var bytes = ContextToken.contents(cluster, keyFingerprint, stamp, vector)
    bytes.append(integer: seal)
    return bytes
  }

  private static func contents(
    _ cluster: ClusterID, _ fingerprint: UInt64, _ stamp: Stamp, _ vector: VersionVector
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(35 + vector.entries.count * VersionVector.entryBytes)
    bytes.append(revision)
    bytes.append(integer: cluster.value)
    bytes.append(integer: fingerprint)
    bytes.append(integer: stamp.bits)
    vector.encode(into: &bytes)
    return bytes
  }

  /// Reads a token's fields. They are not believed before `isSealed`.
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
    let seal = try reader.u64()
    try reader.end()
    return ContextToken(cluster: cluster, keyFingerprint: fingerprint, vector: vector, stamp: stamp, seal: seal)
  }

  private init(
    cluster: ClusterID, keyFingerprint: UInt64, vector: VersionVector, stamp: Stamp, seal: UInt64
  ) {
    self.cluster = cluster
    self.keyFingerprint = keyFingerprint
    self.vector = vector
    self.stamp = stamp
    self.seal = seal
  }
}

/// What the nodes of a cluster share and clients do not know; made by `kvctl cluster init`. Seals context tokens.
public struct ClusterSecret: Hashable, Sendable {
  public let low: UInt64
  public let high: UInt64

  public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  /// Before a cluster is formed.
  public static let none = ClusterSecret(low: 0, high: 0)

  func seal(_ contents: [UInt8]) -> UInt64 { SipHash.hash(contents, low: low, high: high) }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: low)
    bytes.append(integer: high)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    low = try reader.u64()
    high = try reader.u64()
  }
}

extension ClusterSecret: CustomStringConvertible {
  /// Never the secret.
  public var description: String { "secret" }
}
