/// A key in its one representation, which is also its key in storage, so that storage order is ring order:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | token of the partition key, big-endian |
/// | 8 | 2 | namespace, big-endian (0 = default) |
/// | 10 | 2 | length of the partition key, big-endian |
/// | 12 | … | partition key, then sort key |
public struct Key: Hashable, Sendable {
  /// Why a key was refused.
  public enum Fault: Error, Equatable, Sendable {
    /// A partition key has at least one byte.
    case empty
    /// Partition key and sort key together exceed `Limits.keyBytesMax`.
    case tooLong(bytes: Int)
  }

  /// The bytes of the table above.
  public let bytes: [UInt8]

  @usableFromInline static let prefixBytes = 12

  /// A key from its parts. The partition key has at least 1 byte, both parts together at most 256.
  ///
  /// Inlined, since through the protocol of another module each byte is a call.
  @inlinable
  public init(namespace: UInt16 = 0, partitionKey: some Collection<UInt8>, sortKey: some Collection<UInt8>)
    throws(Fault)
  {
    guard !partitionKey.isEmpty else { throw .empty }
    let count = partitionKey.count + sortKey.count
    guard count <= Limits.keyBytesMax else { throw .tooLong(bytes: count) }
    var bytes = [UInt8]()
    bytes.reserveCapacity(Key.prefixBytes + count)
    bytes.append(bigEndian: UInt64(0))
    bytes.append(bigEndian: namespace)
    bytes.append(bigEndian: UInt16(partitionKey.count))
    bytes.append(contentsOf: partitionKey)
    let token = bytes.withUnsafeBytes { Token(partitionKey: UnsafeRawBufferPointer(rebasing: $0[Key.prefixBytes...])) }
    bytes.append(contentsOf: sortKey)
    bytes.patch(token.position.byteSwapped, at: 0)
    self.bytes = bytes
  }

  /// A key without a sort key.
  @inlinable
  public init(namespace: UInt16 = 0, _ partitionKey: some Collection<UInt8>) throws(Fault) {
    try self.init(namespace: namespace, partitionKey: partitionKey, sortKey: EmptyCollection())
  }

  /// A key from `bytes`; nil when they are none.
  public init?(stored bytes: UnsafeRawBufferPointer) {
    guard bytes.count > Key.prefixBytes else { return nil }
    let partitionKeyCount = Int(bytes[10]) << 8 | Int(bytes[11])
    let user = bytes[Key.prefixBytes...]
    guard partitionKeyCount <= user.count else { return nil }
    try? self.init(
      namespace: UInt16(bytes[8]) << 8 | UInt16(bytes[9]), partitionKey: user.prefix(partitionKeyCount),
      sortKey: user.dropFirst(partitionKeyCount))
    guard self.bytes.prefix(8).elementsEqual(bytes.prefix(8)) else { return nil }
  }

  public var token: Token { Token(bytes.withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) }) }

  public var namespace: UInt16 { UInt16(bytes[8]) << 8 | UInt16(bytes[9]) }

  public var partitionKey: ArraySlice<UInt8> { bytes[Key.prefixBytes..<(Key.prefixBytes + partitionKeyCount)] }

  public var sortKey: ArraySlice<UInt8> { bytes[(Key.prefixBytes + partitionKeyCount)...] }

  /// Partition key and sort key, as the user wrote them.
  public var userBytes: ArraySlice<UInt8> { bytes[Key.prefixBytes...] }

  private var partitionKeyCount: Int { Int(bytes[10]) << 8 | Int(bytes[11]) }

  public static func == (a: Key, b: Key) -> Bool { a.bytes.equals(b.bytes) }

  /// All bytes at once; the array's own way goes byte by byte.
  public func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }

  /// 64 bits over the whole key, seeded: what binds a context to its key.
  public func fingerprint(seed: UInt64) -> UInt64 { Checksum.of(bytes, seed: seed) }
}

/// By storage key, so by token first: ring order.
extension Key: Comparable {
  public static func < (a: Key, b: Key) -> Bool {
    a.bytes.withUnsafeBytes { a in
      b.bytes.withUnsafeBytes { b in
        let shared = min(a.count, b.count)
        for place in 0..<shared where a[place] != b[place] { return a[place] < b[place] }
        return a.count < b.count
      }
    }
  }
}

// On the wire the token is left out, since it follows from the rest:
//
// | offset | size | field |
// |---|---|---|
// | 0 | 2 | namespace |
// | 2 | 2 | length of the partition key (1…256) |
// | 4 | 2 | length of the sort key (0…255) |
// | 6 | … | partition key, then sort key |
extension Key {
  public func encode(into bytes: inout [UInt8]) {
    let user = userBytes
    bytes.append(integer: namespace)
    bytes.append(integer: UInt16(partitionKeyCount))
    bytes.append(integer: UInt16(user.count - partitionKeyCount))
    bytes.append(contentsOf: user)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    let namespace = try reader.u16()
    let partitionKeyCount = Int(try reader.u16())
    let sortKeyCount = Int(try reader.u16())
    let partitionKey = try reader.view(partitionKeyCount)
    let sortKey = try reader.view(sortKeyCount)
    do { try self.init(namespace: namespace, partitionKey: partitionKey, sortKey: sortKey) } catch {
      throw .invalidKey
    }
  }

  /// Reads a key back from storage; refuses bytes that no key has.
  public init(storageBytes: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(storageBytes)
    let token = try reader.u64().byteSwapped
    let namespace = try reader.u16().byteSwapped
    let partitionKey = try reader.view(Int(try reader.u16().byteSwapped))
    let sortKey = try reader.view(reader.remaining)
    do { try self.init(namespace: namespace, partitionKey: partitionKey, sortKey: sortKey) } catch {
      throw .outOfBounds
    }
    guard self.token.position == token else { throw .notCanonical }
  }
}
