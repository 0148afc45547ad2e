internal import KVModel

/// What stands at the head of bytes from the network.
enum IncomingFrame {
  case whole(FrameHeader, body: UnsafeRawBufferPointer, bytes: Int)
  /// Call again when so many bytes are there.
  case incomplete(neededBytes: Int)

  /// Memory that a header's claim alone may take; beyond it, as much as has come already.
  private static let trustedBytes = 1 << 20

  /// Throws when the bytes are no frame, or damaged, or its body is longer than `bodyBytesMax`: the connection cannot be
  /// read any further.
  init(_ input: UnsafeRawBufferPointer, bodyBytesMax: Int) throws(DecodeError) {
    guard input.count >= FrameHeader.bytes else {
      // A server of another kind may say less than a header's worth and then wait; its first letters tell.
      if input.count > 5, input[5] != FrameHeader.currentRevision { throw .unknownRevision(input[5]) }
      self = .incomplete(neededBytes: 0)
      return
    }
    let headerBytes = UnsafeRawBufferPointer(rebasing: input[..<FrameHeader.bytes])
    let header = try FrameHeader(headerBytes, bodyBytesMax: bodyBytesMax)
    let bytes = FrameHeader.bytes + header.bodyBytes
    guard input.count >= bytes else {
      self = .incomplete(neededBytes: min(bytes, max(IncomingFrame.trustedBytes, 2 * input.count)))
      return
    }
    let body = UnsafeRawBufferPointer(rebasing: input[FrameHeader.bytes..<bytes])
    guard header.vouches(for: body, header: headerBytes) else { throw .checksumMismatch }
    self = .whole(header, body: body, bytes: bytes)
  }
}
