/// Why bytes from outside were not believed. The caller rejects the frame, the record or the token, and counts it.
public enum DecodeError: Error, Equatable, Sendable {
  /// The input ends before the field does.
  case truncated
  /// Bytes follow the last field.
  case trailingBytes
  /// A length, count or number lies outside its bounds.
  case outOfBounds
  /// The revision is not one that this release reads.
  case unknownRevision(UInt8)
  /// The tag of an enumeration, a frame type or a flag that nobody defined.
  case unknownTag(UInt8)
  /// The checksum does not agree with the bytes.
  case checksumMismatch
  /// Equal states have equal bytes; these bytes are not the canonical ones.
  case notCanonical
  /// Not our protocol at all.
  case badMagic
  /// Text that is not UTF-8.
  case notText
  /// The frame holds together, but its key has no bytes or too many.
  case invalidKey
  /// The frame holds together, but its context token does not.
  case invalidContext
}
