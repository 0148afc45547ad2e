private import CXXHash

/// XXH3, for integrity and for comparing states. It is no defence against an adversary.
public enum Checksum {
  /// 64 bits over `bytes`.
  public static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
    xxh3_64(bytes.baseAddress, bytes.count, seed)
  }

  /// 64 bits over `bytes`.
  public static func of(_ bytes: Bytes) -> UInt64 {
    bytes.withUnsafeBytes { of($0) }
  }

  /// 64 bits over `bytes`.
  public static func of(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
    bytes.withUnsafeBytes { of($0, seed: seed) }
  }
}

/// 128 bits that stand for a state: equal digests are taken to mean equal states. XOR combines digests of many keys.
public struct Digest: Hashable, Sendable {
  public var low: UInt64
  public var high: UInt64

  public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  /// The digest of nothing, and the neutral element of `combine`.
  public static let zero = Digest(low: 0, high: 0)

  /// XXH3-128 over `bytes`, keyed by `seed`.
  public static func of(_ bytes: [UInt8], seed: UInt64) -> Digest {
    let hash = bytes.withUnsafeBytes { xxh3_128($0.baseAddress, $0.count, seed) }
    return Digest(low: hash.low64, high: hash.high64)
  }

  /// XOR: adds a member to a set of digests, and takes it out again.
  public mutating func combine(_ other: Digest) {
    low ^= other.low
    high ^= other.high
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: low)
    bytes.append(integer: high)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    low = try reader.u64()
    high = try reader.u64()
  }
}
