internal import KVModel
internal import KVNet

/// Bytes in, frames and replies out.
extension NodeLink: ConnectionHandler {
  /// The greeting goes out.
  func onConnected(_ connection: Connection) {
    guard case .connecting(let attempt, let current, _) = state, current === connection else {
      return connection.close()
    }
    state = .connecting(attempt: attempt, connection, helloAt: engine.now)
    let hello = Hello(client: engine.configuration.agent)
    connection.write { FrameHeader(type: .hello, requestID: 0).appendFrame(to: &$0) { hello.encode(into: &$0) } }
  }

  /// Takes every whole frame; returns how many bytes it took.
  func onBytes(_ input: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var offset = 0
    while self.connection === connection, offset < input.count {
      do throws(DecodeError) {
        let rest = UnsafeRawBufferPointer(rebasing: input[offset...])
        switch try IncomingFrame(rest, bodyBytesMax: bodyBytesMax) {
        case .incomplete(let neededBytes):
          connection.neededBytes = neededBytes
          return offset
        case .whole(let header, let body, let bytes):
          offset += bytes
          try onFrame(header, body, connection)
        }
      } catch {
        onMalformed(error)
      }
    }
    return input.count
  }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    guard self.connection === connection else { return }
    switch (state, reason) {
    case (.connecting(let attempt, _, nil), .connectFailed(let errno)):
      connectToNext(attempt, lastReason: SystemError.text(of: errno))
    case (.connecting(_, _, nil), _): fail(unreachable(reason.words))
    case (.connecting, _):
      fail(unreachable("\(reason.words) before it greeted; is this the port for clients?"))
    case (.up, _), (.leaving, _):
      fail(LinkFault(code: .connectionLost, message: "the connection to \(name) broke: \(reason.words)"))
    case (.closed, _): break
    }
  }

  private var bodyBytesMax: Int { greeting == nil ? Limits.bodyBytesMaxBeforeHello : NodeLink.replyBytesMax }

  private func onMalformed(_ error: DecodeError) {
    engine.counters.malformedReplies += 1
    let message =
      greeting == nil
      ? "what answers at \(address) does not speak RingKV's protocol (\(error)); give the port for clients"
      : "\(name) sent what cannot be read (\(error)); the connection was closed"
    fail(LinkFault(code: .protocolMismatch, message: message))
  }

  private func onFrame(
    _ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ connection: Connection
  ) throws(DecodeError) {
    switch (header.type, state) {
    case (.welcome, .connecting(_, _, let helloAt?)):
      onWelcome(try Welcome(body), connection, helloAt: helloAt)
    case (.refused, _): fail(LinkFault(try Refusal(body), by: name))
    case (.goAway, .up(let connection, let greeting)):
      state = .leaving(connection, greeting)
      closeIfLeft()
    case (.goAway, .leaving), (.pong, .up), (.pong, .leaving): break
    case (.ping, .up), (.ping, .leaving):
      let pong = FrameHeader(type: .pong, requestID: header.requestID)
      connection.write { pong.appendFrame(to: &$0) { _ in } }
    case (_, .up), (_, .leaving): try onReply(header, body)
    case (let type, .connecting), (let type, .closed): throw .unknownTag(type.rawValue)
    }
  }

  private func onReply(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) throws(DecodeError) {
    // Decoded before its call is looked for: bytes that nobody can read end the connection, whoever they were for.
    let response = try ClientResponse(header.type, body)
    engine.onLayoutVersion(header.layoutVersion, from: self)
    guard let attempt = engine.attempts[header.requestID], attempt.link === self else {
      engine.counters.lateReplies += 1
      return
    }
    engine.onReply(attempt, response)
  }
}

extension CloseReason {
  /// For people.
  fileprivate var words: String {
    switch self {
    case .local: "closed here"
    case .peerClosed: "closed by the other side"
    case .failed(let errno), .connectFailed(let errno): SystemError.text(of: errno)
    case .inputOverflow, .outputOverflow: "too many bytes"
    case .loopStopped: "the client was stopped"
    }
  }
}

extension LinkFault {
  static let stopped = LinkFault(code: .notRunning, message: "the client was stopped")

  init(_ refusal: Refusal, by name: String) {
    let code: KVError.Code =
      switch refusal.reason {
      case .notHello, .unknownRevision, .malformedFrame, .frameTooLarge: .protocolMismatch
      case .otherCluster, .otherNode: .otherCluster
      case .notMember: .notMember
      case .shuttingDown: .shuttingDown
      case .tooManyConnections: .overloaded
      case .duplicateNode, .helloTimeout: .refused
      }
    self.init(
      code: code, message: "\(name) refused the connection: \(refusal.detail)",
      retryAfter: refusal.retryAfterMs == 0 ? nil : .milliseconds(Int64(refusal.retryAfterMs)))
  }
}
