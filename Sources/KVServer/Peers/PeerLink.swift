import KVCore
import KVModel
import KVNet

/// One connection to a peer, dialled or accepted: handshake, then messages both ways. Confined to its host's loop.
final class PeerLink: ConnectionHandler, @unchecked Sendable {
  enum Side: Equatable {
    /// This node dialled the peer.
    case dialler(NodeID)
    case acceptor
  }

  private enum Phase {
    case connecting
    case greeting
    case up
    /// A node without a cluster asks which one this is; it hears that and no more.
    case visited
    case closing
  }

  let side: Side
  private unowned let host: ShardHost
  private(set) var connection: Connection?
  private var phase: Phase
  /// Among the connections of the peer port; nil for a link that this node dials.
  private var place: Admission.Place?
  /// Known once the handshake is done.
  private(set) var peer: NodeID?
  private var peerClock = PeerClock()
  /// What the peer reads, by its handshake.
  private var features: WireFeatures = []
  /// The dialler's loop, by its HELLO.
  private(set) var index: UInt16 = 0
  /// Of the process at the other end.
  private(set) var generation: Generation?
  private(set) var establishedAt = Instant(nanoseconds: 0)

  /// A link that this node dials, or that somebody dialled to it; `attach` follows.
  init(_ side: Side, place: Admission.Place? = nil, host: ShardHost) {
    self.side = side
    self.place = place
    self.host = host
    phase = side == .acceptor ? .greeting : .connecting
  }

  func attach(_ connection: Connection) { self.connection = connection }

  /// In place of `attach`, when the descriptor could not be adopted.
  func onNeverOpened() { place?.free() }

  /// By this node, not by the peer.
  var isDialled: Bool { side != .acceptor }

  /// When bytes last came.
  var lastHeard: Instant { Instant(nanoseconds: connection?.lastReadAt ?? .max) }

  // MARK: Handshake

  func onConnected(_ connection: Connection) {
    guard case .dialler(let expected) = side, phase == .connecting else { return }
    phase = .greeting
    let hello = host.hello(to: expected)
    index = hello.shard
    send(FrameHeader(type: .hello, requestID: 0)) { hello.encode(into: &$0) }
  }

  private func onHello(_ body: UnsafeRawBufferPointer) {
    let hello: Hello
    do { hello = try Hello(body) } catch { return refuse(Refusal(.notHello, "the HELLO is malformed: \(error)")) }
    if let refusal = host.refusal(of: hello) { return refuse(refusal) }
    if let home = host.home(of: hello) { return move(to: home, hello) }
    receive(hello)
  }

  /// A HELLO that was checked, on the loop that it is for.
  func receive(_ hello: Hello) {
    if let refusal = host.rivalry(of: hello) { return refuse(refusal) }
    welcome(hello)
  }

  /// The link belongs to another loop. The dialler says nothing before WELCOME, so nothing is lost on the way.
  private func move(to home: ShardHost, _ hello: Hello) {
    phase = .closing
    host.loop.execute { [self] in
      guard let connection, let place, let descriptor = connection.detach() else { return }
      let address = connection.peerAddress
      // The place goes with the descriptor.
      self.place = nil
      host.links.onMoved(self)
      home.loop.execute { home.onMoved(peer: descriptor, address, place, hello) }
    }
  }

  private func welcome(_ hello: Hello) {
    index = hello.shard
    features = hello.features
    peerClock.observe(hello.clockMs, at: host.now.instant.milliseconds)
    let welcome = host.welcome
    send(FrameHeader(type: .welcome, requestID: 0)) { welcome.encode(into: &$0) }
    if hello.isVisit {
      phase = .visited
    } else {
      generation = hello.generation
      establish(hello.node)
    }
  }

  private func onWelcome(_ body: UnsafeRawBufferPointer) {
    guard case .dialler(let expected) = side else { return close() }
    let welcome: Welcome
    do { welcome = try Welcome(body) } catch { return close() }
    guard welcome.cluster == host.cluster, welcome.node == expected else {
      host.links.onRefused(self, Refusal(.otherNode, "node \(welcome.node) of cluster \(welcome.cluster) answered"))
      return close()
    }
    features = welcome.features
    peerClock.observe(welcome.clockMs, at: host.now.instant.milliseconds)
    generation = welcome.generation
    establish(expected)
  }

  private func establish(_ node: NodeID) {
    peer = node
    phase = .up
    place?.onGreeted()
    establishedAt = host.now.instant
    host.links.onEstablished(self, node)
  }

  // MARK: Bytes in

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var offset = 0
    while phase != .closing {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      let bodyBytesMax =
        phase == .up ? KVModel.Limits.recordBytesMax + (64 << 10) : KVModel.Limits.bodyBytesMaxBeforeHello
      switch FrameScan.next(in: rest, bodyBytesMax: bodyBytesMax) {
      case .incomplete(let neededBytes):
        connection.neededBytes = neededBytes
        return offset
      case .malformed(let error):
        host.counters.malformedFrames += 1
        refuse(Refusal(phase == .greeting ? .notHello : .malformedFrame, "malformed frame: \(error)"))
      case .frame(let header, let body, let frameBytes):
        offset += frameBytes
        onFrame(header, body)
      }
    }
    return bytes.count
  }

  private func onFrame(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    switch (phase, side, header.type) {
    case (.greeting, .acceptor, .hello): onHello(body)
    case (.greeting, .dialler, .welcome): onWelcome(body)
    case (.greeting, .dialler, .refused): onRefused(body)
    case (.visited, _, .visit) where body.isEmpty: answerVisit()
    case (.visited, _, _): refuse(Refusal(.malformedFrame, "a visitor asks nothing else"))
    case (.up, _, .refused), (.up, _, .goAway): close()
    case (.up, _, _): onMessage(header, body)
    case (.greeting, _, _): refuse(Refusal(.notHello, "the handshake is not done"))
    case (.connecting, _, _), (.closing, _, _): break
    }
  }

  private func answerVisit() {
    let answer = ControlMessage.visited(host.visit)
    send(FrameHeader(type: answer.frameType, requestID: 0)) { answer.encode(into: &$0) }
    close()
  }

  private func onRefused(_ body: UnsafeRawBufferPointer) {
    if let refusal = try? Refusal(body) { host.links.onRefused(self, refusal) }
    close()
  }

  private func onMessage(_ header: FrameHeader, _ body: UnsafeRawBufferPointer) {
    guard let peer else { return }
    let message: PeerMessage
    do {
      if header.type.isAboutNodes {
        return host.node.control.onMessage(try ControlMessage(header.type, body), from: peer)
      }
      message = try PeerMessage(header.type, body)
    } catch {
      host.counters.malformedFrames += 1
      return refuse(Refusal(.malformedFrame, "malformed \(header.type): \(error)"))
    }
    switch message {
    case .ping(let clockMs), .pong(let clockMs): peerClock.observe(clockMs, at: host.now.instant.milliseconds)
    case .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply, .handoff, .forwarded, .forwardedReply,
      .requestCheck, .requestCheckReply, .tree:
      break
    }
    let deadline =
      header.deadlineMs == 0 ? Instant.distantFuture : Instant(nanoseconds: header.deadlineMs &* 1_000_000)
    host.route(message, from: peer, Shard.Envelope(operation: header.requestID, deadline: deadline))
  }

  // MARK: Bytes out

  func send(_ message: PeerMessage, _ envelope: Shard.Envelope) {
    guard phase == .up else { return }
    if let peer, let answer = message.answer(inPlaceOf: features) {
      return host.loop.execute { [host] in host.route(answer, from: peer, envelope) }
    }
    var header = FrameHeader(
      type: message.frameType, requestID: envelope.operation, layoutVersion: host.shard.view.layoutVersion)
    if envelope.deadline != .distantFuture {
      header.deadlineMs = peerClock.reading(of: envelope.deadline.milliseconds)
    }
    if let key = message.key, let partition = host.shard.view.partition(of: key) { header.partition = partition }
    send(header) { message.told(to: features).encode(into: &$0) }
  }

  func send(_ message: ControlMessage) {
    guard phase == .up else { return }
    let header = FrameHeader(type: message.frameType, requestID: 0, layoutVersion: host.shard.view.layoutVersion)
    send(header) { message.encode(into: &$0) }
  }

  private func send(_ header: FrameHeader, body: (inout [UInt8]) -> Void) {
    if let connection { header.write(to: connection, body: body) }
  }

  // MARK: Ends

  private func refuse(_ refusal: Refusal) {
    guard phase != .closing else { return }
    host.counters.onRefused(refusal.reason)
    send(FrameHeader(type: .refused, requestID: 0)) { refusal.encode(into: &$0) }
    close()
  }

  /// The handshake took too long.
  func giveUp() {
    end()
    connection?.close()
  }

  func close() {
    guard phase != .closing else { return }
    end()
    guard let connection else { return }
    connection.closeAfterFlush()
    host.onClosing(connection)
  }

  private func end() {
    guard phase != .closing else { return }
    phase = .closing
    place?.free()
    host.links.onEnding(self)
  }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    host.onClosed(self, connection)
    end()
    place?.free()
  }
}
