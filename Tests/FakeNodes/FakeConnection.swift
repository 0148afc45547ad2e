internal import KVModel
internal import KVNet

/// One client's connection to a fake node; lives on the node's loop.
final class FakeConnection: ConnectionHandler, @unchecked Sendable {
  let node: FakeNode
  var transport: Connection?
  private var isGreeted = false

  init(_ node: FakeNode) { self.node = node }

  func onBytes(_ input: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    if case .says(let bytes) = node.with({ $0.manners }) {
      connection.write { $0 += bytes }
      return input.count
    }
    var offset = 0
    while input.count - offset >= FrameHeader.bytes {
      let rest = UnsafeRawBufferPointer(rebasing: input[offset...])
      guard let header = try? FrameHeader(rest, bodyBytesMax: Limits.requestBytesMax) else {
        connection.close()
        return input.count
      }
      let bytes = FrameHeader.bytes + header.bodyBytes
      guard rest.count >= bytes else {
        connection.neededBytes = bytes
        break
      }
      onFrame(header, UnsafeRawBufferPointer(rebasing: rest[FrameHeader.bytes..<bytes]))
      offset += bytes
    }
    return offset
  }

  func onClosed(_ connection: Connection, reason: CloseReason) { node.forget(self) }

  func send(
    _ type: FrameType, requestID: UInt64, layoutVersion: UInt32, _ body: (inout [UInt8]) -> Void
  ) {
    let header = FrameHeader(type: type, requestID: requestID, layoutVersion: layoutVersion)
    transport?.write { header.appendFrame(to: &$0, body: body) }
  }

  private func onFrame(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    if header.type == .ping { node.with { $0.pings += 1 } }
    if node.with({ $0.isDeaf }) { return }
    switch header.type {
    case .hello: onHello()
    case .cancel: node.with { $0.cancelled.append(header.requestID) }
    case .ping: send(.pong, requestID: header.requestID, layoutVersion: 0) { _ in }
    default:
      guard let request = try? ClientRequest(header.type, body) else {
        transport?.close()
        return
      }
      onRequest(header, request)
    }
  }

  private func onHello() {
    let (manners, description, ahead) = node.with { ($0.manners, $0.description, $0.clockAheadMs) }
    switch manners {
    case .greets:
      let now = Instant(nanoseconds: node.loop.now &+ ahead * 1_000_000)
      let welcome = Welcome(
        cluster: description.cluster, node: description.member.id, generation: description.generation, shards: 1,
        layoutVersion: description.layoutVersion,
        now: Now(instant: now, wall: WallTime(milliseconds: node.loop.wallMilliseconds)), agent: "fake")
      send(.welcome, requestID: 0, layoutVersion: description.layoutVersion) { welcome.encode(into: &$0) }
    case .refuses(let refusal):
      send(.refused, requestID: 0, layoutVersion: 0) { refusal.encode(into: &$0) }
      transport?.closeAfterFlush()
    case .mute, .says: break
    }
  }

  private func onRequest(_ header: FrameHeader, _ request: ClientRequest) {
    let (script, version, ahead) = node.with { state in
      state.requests.append((header, request))
      return (state.script, state.description.layoutVersion, state.wallAheadMs)
    }
    let reaction = script?(request, header) ?? .reply(node.answer(request, wall: node.loop.wallMilliseconds &+ ahead))
    switch reaction {
    case .reply(let response): reply(response, to: header, version)
    case .replyUnder(let response, let layoutVersion): reply(response, to: header, layoutVersion)
    case .silence: break
    case .bytes(let bytes): transport?.write { $0 += bytes }
    case .close: transport?.close()
    }
  }

  private func reply(_ response: ClientResponse, to header: FrameHeader, _ layoutVersion: UInt32) {
    send(response.frameType, requestID: header.requestID, layoutVersion: layoutVersion) { response.encode(into: &$0) }
  }
}
