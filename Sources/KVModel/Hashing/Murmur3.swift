/// MurmurHash3 x64 128 by Austin Appleby (public domain), as SMHasher defines it.
public enum Murmur3 {
  /// The two 64-bit halves, in the order in which SMHasher prints them.
  public struct Digest: Hashable, Sendable {
    public let first: UInt64
    public let second: UInt64

    @inlinable
    public init(first: UInt64, second: UInt64) {
      self.first = first
      self.second = second
    }
  }

  @usableFromInline static let c1: UInt64 = 0x87c3_7b91_1142_53d5
  @usableFromInline static let c2: UInt64 = 0x4cf5_ad43_2745_937f

  /// The digest of `bytes`; the token of a key uses seed 0.
  @inlinable
  public static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> Digest {
    var h1 = UInt64(seed)
    var h2 = UInt64(seed)
    let blocks = bytes.count / 16
    for block in 0..<blocks {
      h1 = mixBlock(h1, with: spread1(load(bytes, block &* 16)), other: h2, rotate: 27, add: 0x52dc_e729)
      h2 = mixBlock(h2, with: spread2(load(bytes, block &* 16 &+ 8)), other: h1, rotate: 31, add: 0x3849_5ab5)
    }
    let tail = blocks &* 16
    if bytes.count &- tail > 8 { h2 ^= spread2(loadPartial(bytes, from: tail &+ 8, to: bytes.count)) }
    if bytes.count > tail { h1 ^= spread1(loadPartial(bytes, from: tail, to: min(tail &+ 8, bytes.count))) }
    return finish(h1, h2, count: UInt64(bytes.count))
  }

  @inlinable
  static func load(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  @inlinable
  static func loadPartial(_ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int) -> UInt64 {
    var word: UInt64 = 0
    for index in stride(from: end &- 1, through: start, by: -1) { word = word &<< 8 | UInt64(bytes[index]) }
    return word
  }

  @inlinable
  static func rotate(_ x: UInt64, _ by: UInt64) -> UInt64 { x &<< by | x &>> (64 &- by) }

  @inlinable
  static func spread1(_ k: UInt64) -> UInt64 { rotate(k &* c1, 31) &* c2 }

  @inlinable
  static func spread2(_ k: UInt64) -> UInt64 { rotate(k &* c2, 33) &* c1 }

  @inlinable
  static func mixBlock(_ h: UInt64, with k: UInt64, other: UInt64, rotate by: UInt64, add: UInt64) -> UInt64 {
    (rotate(h ^ k, by) &+ other) &* 5 &+ add
  }

  @inlinable
  static func avalanche(_ x: UInt64) -> UInt64 {
    var k = x
    k = (k ^ k &>> 33) &* 0xff51_afd7_ed55_8ccd
    k = (k ^ k &>> 33) &* 0xc4ce_b9fe_1a85_ec53
    return k ^ k &>> 33
  }

  @inlinable
  static func finish(_ h1: UInt64, _ h2: UInt64, count: UInt64) -> Digest {
    var a = h1 ^ count
    var b = h2 ^ count
    a = a &+ b
    b = b &+ a
    a = avalanche(a)
    b = avalanche(b)
    a = a &+ b
    return Digest(first: a, second: b &+ a)
  }
}
