import KVModel

/// What a client speaks that does not speak ours.
enum ForeignProtocol {
  static func looksLikeHTTP(_ bytes: UnsafeRawBufferPointer) -> Bool {
    ["GET ", "POST", "HEAD", "PUT ", "DELE", "OPTI"].contains { bytes.starts(with: $0.utf8) }
  }

  static let answerToHTTP: [UInt8] = {
    let body = "This port speaks RingKV's binary protocol. HTTP is on the admin port: /metrics, /healthz, /readyz.\n"
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\n"
    return Array("\(head)Connection: close\r\n\r\n\(body)".utf8)
  }()
}

extension Failure {
  /// The frame arrived as it was sent, but what it asks for is malformed.
  init(malformed error: DecodeError, in type: FrameType) {
    switch error {
    case .invalidKey: self.init(.invalidKey, detail: "a key has 1 to \(KVModel.Limits.keyBytesMax) bytes")
    case .invalidContext: self.init(.invalidContext, detail: "the context is not one that a read handed out")
    case .truncated, .trailingBytes, .outOfBounds, .unknownRevision, .unknownTag, .checksumMismatch, .notCanonical,
      .badMagic, .notText:
      self.init(.invalidRequest, detail: "malformed \(type): \(error)")
    }
  }
}
