/// Little-endian fields appended to an array: the one way in which this project writes bytes.
///
/// Encoders append straight to a connection's output buffer, so a frame is copied once on its way to the kernel.
extension [UInt8] {
  @inlinable
  public mutating func append<T: FixedWidthInteger & UnsignedInteger>(integer value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// Fields of a fixed size at once, since each append costs a check of the room: little-endian integers in a tuple
  /// without gaps.
  @inlinable
  mutating func append<Fields: BitwiseCopyable>(fields: Fields) {
    Swift.withUnsafeBytes(of: fields) { append(contentsOf: $0) }
  }

  @inlinable
  public mutating func append(bigEndian value: UInt64) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }

  @inlinable
  public mutating func append(bigEndian value: UInt16) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }

  @inlinable
  public mutating func append(bool value: Bool) { append(value ? 1 : 0) }

  /// Text behind a 16-bit length. What exceeds `max` bytes is left out, by whole characters of Unicode.
  public mutating func append(text: String, max: Int = Int(UInt16.max)) {
    var kept = text.utf8[...]
    if kept.count > max {
      kept = kept.prefix(max + 1)
      // The first byte left out must begin a scalar; bytes 10xxxxxx continue one.
      while let left = kept.popLast(), left & 0xc0 == 0x80 {}
    }
    append(integer: UInt16(kept.count))
    append(contentsOf: kept)
  }

  /// Bytes behind a 32-bit length.
  @inlinable
  public mutating func append(blob: [UInt8]) {
    append(integer: UInt32(blob.count))
    append(contentsOf: blob)
  }

  /// Overwrites a field that was left open: a length or a checksum that is known only at the end.
  @inlinable
  public mutating func patch<T: FixedWidthInteger & UnsignedInteger>(_ value: T, at offset: Int) {
    withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self) }
  }
}
