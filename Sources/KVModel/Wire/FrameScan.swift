/// The next frame of a stream, parsed in place.
public enum FrameScan {
  /// A whole frame. `body` points into the scanned bytes and lives as long as they do.
  case frame(FrameHeader, body: UnsafeRawBufferPointer, frameBytes: Int)
  /// More bytes are needed: so many in all, once the header is known to be acceptable.
  case incomplete(neededBytes: Int)
  /// Not a frame; nothing that follows on this connection can be believed.
  case malformed(DecodeError)

  /// Looks at the start of `bytes`. The length that a header claims is checked against `bodyBytesMax` before anyone
  /// waits for it or makes room for it.
  public static func next(in bytes: UnsafeRawBufferPointer, bodyBytesMax: Int) -> FrameScan {
    guard bytes.count >= FrameHeader.bytes else { return .incomplete(neededBytes: FrameHeader.bytes) }
    let headerBytes = UnsafeRawBufferPointer(rebasing: bytes[..<FrameHeader.bytes])
    let header: FrameHeader
    do { header = try FrameHeader(headerBytes, bodyBytesMax: bodyBytesMax) } catch { return .malformed(error) }
    let frameBytes = FrameHeader.bytes + header.bodyBytes
    guard bytes.count >= frameBytes else { return .incomplete(neededBytes: frameBytes) }
    let body = UnsafeRawBufferPointer(rebasing: bytes[FrameHeader.bytes..<frameBytes])
    guard header.vouches(for: body, header: headerBytes) else { return .malformed(.checksumMismatch) }
    return .frame(header, body: body, frameBytes: frameBytes)
  }
}
