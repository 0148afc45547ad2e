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
  /// What it reads, by its HELLO.
  private var features: WireFeatures = []
  /// Among the connections of this port.
  private var place: Admission.Place
  /// Bytes of each request under way, by request id.
  private var requests: [UInt64: Int] = [:]
  private var bytesInFlight = 0
  /// When the frame at the head of the input began to be waited for; nil when there is none.
  private var unfinishedSince: Instant?
  /// Since when its replies are more than it reads; nil when they are not.
  private var unreadSince: Instant?
  /// When `FairShare` last counted it.
  private var lastWindow: UInt32 = 0
  private var backlog = Backlog()
  /// Frames that it may have when the input that was held goes on; 0 while nothing is held.
  private var granted = 0
  private var grantedTurn = HostCounters.FloodTurn.shared

  init(id: UInt64, place: Admission.Place, host: ShardHost) {
    self.id = id
    self.place = place
    self.host = host
  }

  func attach(_ connection: Connection) { self.connection = connection }

  /// In place of `attach`, when the descriptor could not be adopted.
  func onNeverOpened() { place.free() }

  var isGreeting: Bool { phase == .greeting }

  // MARK: Bytes in

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var offset = 0
    backlog.onFrames(at: host.now.instant)
    let frames = host.clients.framesThisTurn(&lastWindow, isFlood: backlog.isFlood, granted: granted)
    var share = frames
    granted = 0
    defer { onFramesHandled(frames - share) }
    while phase != .closing {
      // Its replies are not read, or it has had its share of this turn: the rest comes again.
      if connection.isReadingPaused { return offset }
      if share == 0, offset < bytes.count {
        leaveRest(connection)
        return offset
      }
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      let bodyBytesMax = phase == .greeting ? KVModel.Limits.bodyBytesMaxBeforeHello : KVModel.Limits.requestBytesMax
      switch FrameScan.next(in: rest, bodyBytesMax: bodyBytesMax) {
      case .incomplete(let neededBytes):
        connection.neededBytes = neededBytes
        backlog.onCaughtUp(at: host.now.instant)
        if rest.isEmpty { unfinishedSince = nil } else if unfinishedSince == nil { unfinishedSince = host.now.instant }
        return offset
      case .malformed(let error):
        onMalformed(error, rest)
      case .frame(let header, let body, let frameBytes):
        offset += frameBytes
        share -= 1
        unfinishedSince = nil
        onFrame(header, body)
      }
    }
    return bytes.count
  }

  private func onFramesHandled(_ frames: Int) {
    if !backlog.isFlood { return host.clients.onOthersFrames(frames) }
    host.counters.onFloodFrames(frames, in: grantedTurn)
    grantedTurn = .shared
  }

  private func leaveRest(_ connection: Connection) {
    backlog.onLeft(at: host.now.instant)
    guard backlog.isFlood, host.clients.hold(self) else { return connection.yieldInput() }
    connection.holdInput()
  }

  /// What was held may go on with so many frames.
  func goOn(frames: Int, in turn: HostCounters.FloodTurn) {
    granted = frames
    grantedTurn = turn
    connection?.continueInput()
  }

  private func onFrame(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    switch (phase, header.type) {
    case (.greeting, .hello): onHello(body)
    case (.greeting, _): refuse(Refusal(.notHello, "the first frame must be a HELLO"))
    case (.open, .cancel): host.cancel(ClientRef(connection: id, request: header.requestID))
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
    features = hello.features
    place.onGreeted()
    send(.welcome, requestID: 0) { [welcome = host.welcome] in welcome.encode(into: &$0) }
  }

  private func onRequest(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    let request: ClientRequest
    do { request = try ClientRequest(header.type, body) } catch {
      host.counters.malformedRequests += 1
      return respond(.failed(Failure(malformed: error, in: header.type)), to: header.requestID)
    }
    if requests[header.requestID] != nil {
      return refuse(Refusal(.malformedFrame, "request id \(header.requestID) is under way already"))
    }
    if var failure = admit(bytes: body.count) {
      if request.isRetry { failure.outcome = .unknown }
      return respond(.failed(failure), to: header.requestID)
    }
    requests[header.requestID] = body.count
    bytesInFlight += body.count
    host.clients.requestBytes += body.count
    let client = ClientRef(connection: id, request: header.requestID)
    host.route(request, from: client, deadlineMs: header.deadlineMs)
  }

  /// Why a request of so many bytes is too much now; nil when it is not.
  private func admit(bytes: Int) -> Failure? {
    guard let limit = exceededLimit(bytes: bytes) else { return nil }
    // A lone request always gets in, however small the limits are.
    if requests.isEmpty, host.clients.requestBytes == 0, outputBytes == 0 { return nil }
    return overload(limit)
  }

  private func exceededLimit(bytes: Int) -> HostCounters.Limit? {
    let limits = host.configuration.limits
    if requests.count >= limits.requestsPerConnection { return .connectionRequests }
    if bytesInFlight + outputBytes + bytes > limits.bytesPerConnection { return .connectionBytes }
    if !host.clients.hasRoom(for: bytes) || isSlowInACrowd { return .nodeBytes }
    return nil
  }

  /// It does not read what it asked for, while such clients hold half of what all may. Who reads is served.
  private var isSlowInACrowd: Bool { connection?.isStalled == true && host.clients.isCrowded }

  private func overload(_ limit: HostCounters.Limit) -> Failure {
    host.counters.onOverload(limit)
    let detail =
      switch limit {
      case .connectionRequests, .connectionBytes:
        "\(requests.count) requests with \(bytesInFlight) bytes are under way on this connection, and \(outputBytes) "
          + "bytes of replies are not read"
      case .nodeBytes:
        "\(host.clients.requestBytes) bytes of requests and \(host.clients.account.outputBytes) of unread replies are "
          + "under way on this shard"
      }
    return Failure(.overloaded, retryAfterMs: 10, detail: detail)
  }

  private var outputBytes: Int { connection?.outputBytes ?? 0 }

  // MARK: Responses out

  /// Answers a request, unless the connection is closing.
  func respond(_ response: ClientResponse, to requestID: UInt64) {
    release(requestID)
    if phase == .closing { return }
    let response = affordable(response).told(to: features)
    if case .failed(let failure) = response { host.counters.onFailure(failure.code) }
    send(response.frameType, requestID: requestID) { response.encode(into: &$0) }
    guard let connection, connection.isAboveHighWater, !connection.isReadingPaused else { return }
    // A client that does not read is not read from: its requests wait in its own socket.
    connection.pauseReading()
    unreadSince = host.now.instant
  }

  /// The reply, or `overloaded` in place of a value for which there is no room. Reads only: they have changed nothing.
  private func affordable(_ response: ClientResponse) -> ClientResponse {
    switch response {
    case .value, .explained:
      if outputBytes > host.configuration.limits.bytesPerConnection { return .failed(overload(.connectionBytes)) }
      if isSlowInACrowd { return .failed(overload(.nodeBytes)) }
      return response
    case .written, .described, .layout, .done, .reserved, .repaired, .failed: return response
    }
  }

  private func release(_ requestID: UInt64) {
    guard let bytes = requests.removeValue(forKey: requestID) else { return }
    bytesInFlight -= bytes
    host.clients.requestBytes -= bytes
  }

  /// The node is stopping: what is under way is finished, new requests go elsewhere.
  func goAway() {
    if phase == .open {
      send(.goAway, requestID: 0) { Refusal(.shuttingDown, "the node is stopping").encode(into: &$0) }
    }
  }

  private func send(_ type: FrameType, requestID: UInt64, body: (inout [UInt8]) -> Void) {
    let header = FrameHeader(type: type, requestID: requestID, layoutVersion: host.shard.view.layoutVersion)
    if let connection { header.write(to: connection, body: body) }
  }

  /// Since when it has been slow in this way; nil when it is not.
  func slowSince(_ slowness: HostCounters.Slowness) -> Instant? {
    switch slowness {
    case .slowReader: unreadSince
    case .slowWriter: connection?.isReadingPaused == true ? nil : unfinishedSince ?? backlog.since
    case .frameTimeout: connection?.isReadingPaused == true ? nil : unfinishedSince
    }
  }

  // MARK: Ends

  private func onMalformed(_ error: DecodeError, _ bytes: UnsafeRawBufferPointer) {
    if phase == .greeting, ForeignProtocol.looksLikeHTTP(bytes) { return refuseHTTP() }
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

  private func refuseHTTP() {
    host.counters.onRefused(.notHello)
    connection?.write { $0 += ForeignProtocol.answerToHTTP }
    close()
  }

  private func close() {
    end()
    guard let connection else { return }
    connection.closeAfterFlush()
    host.onClosing(connection)
  }

  /// At once, without a word: it would not be read.
  func cutOff() {
    end()
    connection?.close()
  }

  private func end() {
    phase = .closing
    (unfinishedSince, unreadSince) = (nil, nil)
    backlog.end()
    place.free()
    cancelAll()
  }

  private func cancelAll() {
    for request in requests.keys.sorted() {
      release(request)
      host.cancel(ClientRef(connection: id, request: request))
    }
  }

  func onWritable(_ connection: Connection) {
    unreadSince = nil
    // While nothing was read from it, it could not finish a frame.
    if unfinishedSince != nil { unfinishedSince = host.now.instant }
    connection.resumeReading()
  }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    host.onClosed(self, connection)
    end()
  }
}
