/// Reads little-endian fields from bytes that nobody vouches for.
///
/// Every read is checked against what is left, so a length from the wire is compared with the bytes that are there
/// before it is believed or allocated. The memory must outlive the reader; a reader is a local of one decode call.
public struct ByteReader {
  @usableFromInline let base: UnsafeRawBufferPointer
  @usableFromInline var offset = 0

  @inlinable
  public init(_ bytes: UnsafeRawBufferPointer) { base = bytes }

  /// Reads on from an offset, which must not lie behind the end.
  init(_ bytes: UnsafeRawBufferPointer, from offset: Int) {
    base = bytes
    self.offset = offset
  }

  /// Bytes not yet read.
  @inlinable
  public var remaining: Int { base.count &- offset }

  /// The next `count` bytes, not copied.
  @inlinable
  public mutating func view(_ count: Int) throws(DecodeError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else { throw .truncated }
    defer { offset &+= count }
    return UnsafeRawBufferPointer(rebasing: base[offset..<(offset &+ count)])
  }

  /// The next `count` bytes, copied.
  @inlinable
  public mutating func bytes(_ count: Int) throws(DecodeError) -> [UInt8] {
    [UInt8](try view(count))
  }

  /// The next bytes as an integer, least significant first.
  @inlinable
  public mutating func integer<T: FixedWidthInteger & UnsignedInteger>(
    _ type: T.Type = T.self
  ) throws(DecodeError) -> T {
    let size = MemoryLayout<T>.size
    guard remaining >= size else { throw .truncated }
    defer { offset &+= size }
    return T(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  @inlinable public mutating func u8() throws(DecodeError) -> UInt8 { try integer() }
  @inlinable public mutating func u16() throws(DecodeError) -> UInt16 { try integer() }
  @inlinable public mutating func u32() throws(DecodeError) -> UInt32 { try integer() }
  @inlinable public mutating func u64() throws(DecodeError) -> UInt64 { try integer() }

  /// A flag byte: 0 or 1 and nothing else, so that equal states have equal bytes.
  @inlinable
  public mutating func bool() throws(DecodeError) -> Bool {
    switch try u8() {
    case 0: false
    case 1: true
    case let other: throw .unknownTag(other)
    }
  }

  /// UTF-8 text behind a 16-bit length of at most `max`.
  public mutating func text(max: Int) throws(DecodeError) -> String {
    let count = Int(try u16())
    guard count <= max else { throw .outOfBounds }
    guard let text = String(validating: try view(count), as: UTF8.self) else { throw .notText }
    return text
  }

  /// Bytes behind a 32-bit length of at most `max`.
  @inlinable
  public mutating func blob(max: Int) throws(DecodeError) -> [UInt8] {
    let count = Int(try u32())
    guard count <= max else { throw .outOfBounds }
    return try bytes(count)
  }

  /// Call last: a decoder that leaves bytes behind did not understand its input.
  @inlinable
  public func end() throws(DecodeError) {
    guard remaining == 0 else { throw .trailingBytes }
  }
}

extension [UInt8] {
  /// Runs a decoder over these bytes.
  @inlinable
  public func decode<Result>(
    _ body: (UnsafeRawBufferPointer) throws(DecodeError) -> Result
  ) throws(DecodeError) -> Result {
    try span.withUnsafeBytes { (bytes) throws(DecodeError) in try body(bytes) }
  }
}
