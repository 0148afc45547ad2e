import KVCore
import KVModel
import KVNet

/// A client's connection: bytes into requests, responses into bytes. Confined to its host's loop.
///
/// A frame that does not hold together ends the connection, with a word why. A frame that does, but asks for something
/// malformed, is answered with a failure, and the connection goes on.
final class ClientConnection: ConnectionHandler {
  private enum Phase {
    case greeting
    case open
    case closing
  }

  /// Named in every `ClientRef`: loop in the upper 16 bits, count below.
  let id: UInt64
  private unowned let host: ShardHost
  /// Set by `attach`, before anything can arrive.
  private var connection: Connection?
  private var phase = Phase.greeting
  /// Bytes of each request under way, by request id.
  private var requests: [UInt64: Int] = [:]
  private var bytesInFlight = 0

  init(id: UInt64, host: ShardHost) {
    self.id = id
    self.host = host
  }

  func attach(_ connection: Connection) { self.connection = connection }

  var isGreeting: Bool { phase == .greeting }
  /// HELLO was done, whatever became of the connection since.
  private(set) var wasGreeted = false

  // MARK: Bytes in

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var offset = 0
    while phase != .closing {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      let bodyBytesMax = phase == .greeting ? KVModel.Limits.bodyBytesMaxBeforeHello : KVModel.Limits.requestBytesMax
      switch FrameScan.next(in: rest, bodyBytesMax: bodyBytesMax) {
      case .incomplete(let neededBytes):
        connection.neededBytes = neededBytes
        return offset
      case .malformed(let error):
        onMalformed(error, rest)
      case .frame(let header, let body, let frameBytes):
        offset += frameBytes
        onFrame(header, body)
      }
    }
    return bytes.count
  }

  private func onFrame(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    switch (phase, header.type) {
    case (.greeting, .hello): onHello(body)
    case (.greeting, _): refuse(Refusal(.notHello, "the first frame must be a HELLO"))
    case (.open, .cancel): host.step(.cancel(ClientRef(connection: id, request: header.requestID)))
    case (.open, .ping): send(.pong, requestID: header.requestID) { _ in }
    case (.open, .goAway): break
    case (.open, _): onRequest(header, body)
    case (.closing, _): break
    }
  }

  private func onHello(_ body: UnsafeRawBufferPointer) {
    let hello: Hello
    do { hello = try Hello(body) } catch {
      return refuse(Refusal(.notHello, "the HELLO is malformed: \(error)"))
    }
    guard hello.role == .client else {
      return refuse(Refusal(.notHello, "this is the port for clients; peers connect to the peer port"))
    }
    guard hello.speaksCurrentRevision else {
      return refuse(
        Refusal(
          .unknownRevision,
          "this node speaks revision \(FrameHeader.currentRevision), the client \(hello.lowestRevision) to "
            + "\(hello.highestRevision)"))
    }
    let cluster = host.shard.view.current?.layout.cluster ?? .none
    guard hello.cluster == .none || hello.cluster == cluster else {
      return refuse(
        Refusal(.otherCluster, "the client expects cluster \(hello.cluster); this node is of \(cluster)"))
    }
    phase = .open
    wasGreeted = true
    host.onGreeted(self)
    send(.welcome, requestID: 0) { [welcome = host.welcome] in welcome.encode(into: &$0) }
  }

  private func onRequest(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    let request: ClientRequest
    do { request = try ClientRequest(header.type, body) } catch {
      host.counters.malformedRequests += 1
      return respond(.failed(ClientConnection.failure(for: error, in: header.type)), to: header.requestID)
    }
    if requests[header.requestID] != nil {
      return refuse(Refusal(.malformedFrame, "request id \(header.requestID) is under way already"))
    }
    if let failure = admit(bytes: body.count) { return respond(.failed(failure), to: header.requestID) }
    requests[header.requestID] = body.count
    bytesInFlight += body.count
    host.bytesInFlight += body.count
    let client = ClientRef(connection: id, request: header.requestID)
    host.route(request, from: client, deadlineMs: header.deadlineMs)
  }

  /// The frame arrived as it was sent, but what it asks for is malformed.
  private static func failure(for error: DecodeError, in type: FrameType) -> Failure {
    switch error {
    case .invalidKey: Failure(.invalidKey, detail: "a key has 1 to \(KVModel.Limits.keyBytesMax) bytes")
    case .invalidContext: Failure(.invalidContext, detail: "the context is not one that a read handed out")
    case .truncated, .trailingBytes, .outOfBounds, .unknownRevision, .unknownTag, .checksumMismatch, .notCanonical,
      .badMagic, .notText:
      Failure(.invalidRequest, detail: "malformed \(type): \(error)")
    }
  }

  /// Why a request of so many bytes is too much now; nil when it is not.
  private func admit(bytes: Int) -> Failure? {
    let limits = host.configuration.limits
    let isOver =
      requests.count >= limits.requestsPerConnection || bytesInFlight + bytes > limits.bytesPerConnection
      || host.bytesInFlight + bytes > limits.bytesInFlight / host.configuration.shards
    guard isOver, !requests.isEmpty || host.bytesInFlight > 0 else { return nil }
    host.counters.overloads += 1
    return Failure(
      .overloaded, retryAfterMs: 10,
      detail: "\(requests.count) requests with \(bytesInFlight) bytes are under way on this connection")
  }

  // MARK: Responses out

  /// Answers a request, unless the connection is closing.
  func respond(_ response: ClientResponse, to requestID: UInt64) {
    release(requestID)
    if phase == .closing { return }
    send(response.frameType, requestID: requestID) { response.encode(into: &$0) }
    // A client that does not read is not read from: its requests wait in its own socket.
    if connection?.isAboveHighWater == true { connection?.pauseReading() }
  }

  private func release(_ requestID: UInt64) {
    guard let bytes = requests.removeValue(forKey: requestID) else { return }
    bytesInFlight -= bytes
    host.bytesInFlight -= bytes
  }

  /// The node is stopping: what is under way is finished, new requests go elsewhere.
  func goAway() {
    if phase == .open {
      send(.goAway, requestID: 0) { Refusal(.shuttingDown, "the node is stopping").encode(into: &$0) }
    }
  }

  private func send(_ type: FrameType, requestID: UInt64, body: (inout [UInt8]) -> Void) {
    let header = FrameHeader(type: type, requestID: requestID, layoutVersion: host.shard.view.layoutVersion)
    connection?.write { header.appendFrame(to: &$0, body: body) }
  }

  // MARK: Ends

  private func onMalformed(_ error: DecodeError, _ bytes: UnsafeRawBufferPointer) {
    if phase == .greeting, ClientConnection.looksLikeHTTP(bytes) { return refuseHTTP() }
    switch error {
    case .outOfBounds: refuse(Refusal(.frameTooLarge, "the frame is longer than is allowed here"))
    case .unknownRevision(let revision): refuse(Refusal(.unknownRevision, "revision \(revision) is not spoken here"))
    case .truncated, .trailingBytes, .unknownTag, .checksumMismatch, .notCanonical, .badMagic, .notText, .invalidKey,
      .invalidContext:
      refuse(Refusal(phase == .greeting ? .notHello : .malformedFrame, "malformed frame: \(error)"))
    }
  }

  func refuse(_ refusal: Refusal) {
    guard phase != .closing else { return }
    host.counters.onRefused(refusal.reason)
    send(.refused, requestID: 0) { refusal.encode(into: &$0) }
    close()
  }

  private static func looksLikeHTTP(_ bytes: UnsafeRawBufferPointer) -> Bool {
    ["GET ", "POST", "HEAD", "PUT ", "DELE", "OPTI"].contains { bytes.starts(with: $0.utf8) }
  }

  private func refuseHTTP() {
    host.counters.onRefused(.notHello)
    let body = "This port speaks RingKV's binary protocol. HTTP is on the admin port: /metrics, /healthz, /readyz.\n"
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\n"
    connection?.write { $0.append(contentsOf: Array("\(head)Connection: close\r\n\r\n\(body)".utf8)) }
    close()
  }

  private func close() {
    phase = .closing
    cancelAll()
    guard let connection else { return }
    connection.closeAfterFlush()
    host.onClosing(connection)
  }

  private func cancelAll() {
    for request in requests.keys.sorted() {
      release(request)
      host.step(.cancel(ClientRef(connection: id, request: request)))
    }
  }

  func onWritable(_ connection: Connection) { connection.resumeReading() }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    host.onClosed(self, connection)
    phase = .closing
    cancelAll()
  }
}
