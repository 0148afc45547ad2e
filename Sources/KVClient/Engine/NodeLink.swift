internal import KVModel
internal import KVNet
internal import Logging

/// The one connection to a node: connected on demand, greeted, multiplexed.
///
/// ```
/// closed ──connect──► connecting ──WELCOME──► up ──GOAWAY──► leaving
///    ▲                     │                   │                │
///    └─── refused, late ───┴──── lost ─────────┴── lost, empty ─┘
/// ```
final class NodeLink {
  /// What a WELCOME told.
  struct Greeting {
    var welcome: Welcome
    /// The node's monotonic milliseconds less ours.
    var clockOffsetMs: Int64
  }

  enum State {
    /// `failedAt`: the last attempt to connect, if it failed.
    case closed(failedAt: Instant?)
    /// The address is looked up, the connection is made, the greeting is out. `attempt` tells a late timer from ours.
    case connecting(attempt: UInt32, Connection?, helloAt: Instant?)
    case up(Connection, Greeting)
    /// The node takes nothing new; what is open ends first.
    case leaving(Connection, Greeting)
  }

  let address: Address
  /// Its place among the engine's links.
  let number: UInt32
  unowned let engine: ClientEngine
  /// The member that the layout expects here.
  var member: Member?
  private(set) var state = State.closed(failedAt: nil)
  private var waiting: [Call] = []
  /// Addresses of the host that the current attempt has still to try.
  private var untried: [SocketAddress] = []
  /// Calls that were sent and have not ended.
  private var sentCalls = 0
  private var attempts: UInt32 = 0

  /// The longest body of a reply: a record with all of its siblings.
  static let replyBytesMax = Limits.recordBytesMax + (64 << 10)

  init(_ address: Address, _ engine: ClientEngine, number: UInt32) {
    self.address = address
    self.number = number
    self.engine = engine
  }

  /// For people.
  var name: String { member?.name ?? address.description }

  /// The node at the other end.
  var node: NodeID? { greeting?.welcome.node }

  var greeting: Greeting? {
    switch state {
    case .up(_, let greeting), .leaving(_, let greeting): greeting
    case .closed, .connecting: nil
    }
  }

  private var connection: Connection? {
    switch state {
    case .closed: nil
    case .connecting(_, let connection, _): connection
    case .up(let connection, _), .leaving(let connection, _): connection
    }
  }

  /// Whether a call of `cluster` can be sent right now; `.none` is any cluster.
  func isUp(for cluster: ClusterID) -> Bool {
    if case .up(_, let greeting) = state { NodeLink.fits(greeting, cluster) } else { false }
  }

  /// Whether it is known that calls of `cluster` have no place here.
  func isUnfit(for cluster: ClusterID) -> Bool {
    switch state {
    case .closed, .connecting: false
    case .up(_, let greeting): !NodeLink.fits(greeting, cluster)
    case .leaving: true
    }
  }

  private static func fits(_ greeting: Greeting, _ cluster: ClusterID) -> Bool {
    greeting.welcome.cluster != .none && (cluster == .none || greeting.welcome.cluster == cluster)
  }

  func hasFailed(lately now: Instant) -> Bool {
    if case .closed(let failedAt?) = state { now.since(failedAt) < ClientEngine.coolDown } else { false }
  }
}

// MARK: Calls

extension NodeLink {
  /// Sends a call, or queues it until the link is up.
  func take(_ call: Call) {
    switch state {
    case .up(let connection, let greeting): send(call, connection, greeting)
    case .leaving:
      engine.onUnsent(call, at: self, LinkFault(code: .shuttingDown, message: "the node is leaving"))
    case .closed, .connecting:
      call.state = .waiting(self)
      waiting.append(call)
      connect()
    }
  }

  private func send(_ call: Call, _ connection: Connection, _ greeting: Greeting) {
    if case .address = call.route {
    } else if !NodeLink.fits(greeting, engine.cluster) {
      return engine.onUnsent(call, at: self, unfitFault(greeting))
    }
    sentCalls += 1
    call.state = .sent(self)
    let header = FrameHeader(
      type: call.request.frameType, requestID: call.id, deadlineMs: deadlineMs(of: call, greeting),
      layoutVersion: engine.layoutVersion, partition: engine.partition(of: call))
    connection.write { header.appendFrame(to: &$0) { call.request.encode(into: &$0) } }
  }

  /// The call's deadline on the node's clock, a little early: the node's verdict, which says more than that it is
  /// missing, still has to come back.
  private func deadlineMs(of call: Call, _ greeting: Greeting) -> UInt64 {
    let left = call.deadline.since(engine.now).milliseconds
    let early = call.deadline.milliseconds - min(left / 10, 50)
    return UInt64(bitPattern: Int64(bitPattern: early) &+ greeting.clockOffsetMs)
  }

  private func unfitFault(_ greeting: Greeting) -> LinkFault {
    greeting.welcome.cluster == .none
      ? LinkFault(
        code: .notMember,
        message: "the node at \(address) belongs to no cluster; form one with 'kvctl cluster init', or restore its data"
      )
      : LinkFault(
        code: .otherCluster, message: "the node at \(address) is of another cluster than the first one reached")
  }

  /// A call that was sent here has ended. When it ended without its answer, the node is told that nobody waits.
  func onEnded(_ call: Call, answered: Bool) {
    sentCalls -= 1
    guard let connection else { return }
    if !answered {
      let header = FrameHeader(type: .cancel, requestID: call.id, layoutVersion: engine.layoutVersion)
      connection.write { header.appendFrame(to: &$0) { _ in } }
    }
    closeIfLeft()
  }
}

// MARK: Connecting

extension NodeLink {
  func connect() {
    guard case .closed = state else { return }
    attempts += 1
    let attempt = attempts
    state = .connecting(attempt: attempt, nil, helloAt: nil)
    engine.armConnect(self, attempt: attempt)
    // The answer comes on the loop, which the engine's state is confined to.
    nonisolated(unsafe) let link = self
    SocketAddress.resolve(host: address.host, port: address.port, on: engine.loop) { [engine] result in
      _ = engine
      link.onResolved(result, attempt: attempt)
    }
  }

  private func onResolved(_ result: Result<[SocketAddress], ResolveError>, attempt: UInt32) {
    guard case .connecting(attempt, nil, _) = state else { return }
    switch result {
    case .success(let addresses):
      untried = addresses
      connectToNext(attempt, lastReason: "no address")
    case .failure(let error): fail(unreachable(error.reason))
    }
  }

  /// A name may have several addresses; they are tried in order.
  private func connectToNext(_ attempt: UInt32, lastReason: String) {
    guard !untried.isEmpty else { return fail(unreachable(lastReason)) }
    let connection = Connection.connect(
      to: untried.removeFirst(), on: engine.loop, options: NodeLink.options, handler: self)
    state = .connecting(attempt: attempt, connection, helloAt: nil)
  }

  private static var options: ConnectionOptions {
    var options = ConnectionOptions()
    options.keepAlive = true
    // The engine bounds what is in flight; a node that stops reading is met by deadlines.
    options.outputBytesMax = .max
    return options
  }

  private func unreachable(_ reason: String) -> LinkFault {
    LinkFault(code: .unreachable, message: "cannot connect to \(address): \(reason)")
  }

  /// The time to connect is over.
  func onConnectDeadline(attempt: UInt32) {
    guard case .connecting(attempt, _, let helloAt) = state else { return }
    fail(unreachable(helloAt == nil ? "no answer within the connect timeout" : "it accepts but does not greet"))
  }

  private func onWelcome(_ welcome: Welcome, _ connection: Connection, helloAt: Instant) {
    let now = engine.now
    let remote = Int64(bitPattern: welcome.clockMs &+ now.since(helloAt).milliseconds / 2)
    let greeting = Greeting(welcome: welcome, clockOffsetMs: remote &- Int64(bitPattern: now.milliseconds))
    state = .up(connection, greeting)
    engine.counters.connects += 1
    engine.logger.debug("connected", metadata: ["node": "\(name)", "id": "\(welcome.node)"])
    engine.onLayoutVersion(welcome.layoutVersion, from: self)
    let calls = waiting
    waiting = []
    for call in calls where call.isWaiting(at: self) { take(call) }
  }

  /// Gives up the connection; what was sent is lost, what waits goes elsewhere.
  private func fail(_ fault: LinkFault) {
    let sent = engine.calls(sentBy: self)
    let unsent = waiting
    waiting = []
    let connection = connection
    let wasConnecting = if case .connecting = state { true } else { false }
    if wasConnecting { engine.counters.connectFailures += 1 }
    state = .closed(failedAt: wasConnecting ? engine.now : nil)
    connection?.close()
    engine.logger.debug("connection ended", metadata: ["node": "\(name)", "reason": "\(fault.message)"])
    for call in sent { engine.onLost(call, at: self, fault) }
    for call in unsent where call.isWaiting(at: self) { engine.onUnsent(call, at: self, fault) }
  }

  /// Closes in good order.
  func close(_ fault: LinkFault) {
    if case .closed = state { return }
    fail(fault)
  }

  private func closeIfLeft() {
    if case .leaving = state, sentCalls == 0 { close(LinkFault(code: .shuttingDown, message: "\(name) left")) }
  }
}

// MARK: Bytes

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
    guard let call = engine.calls[header.requestID], call.isSent(by: self) else {
      engine.counters.lateReplies += 1
      return
    }
    engine.onReply(call, at: self, response)
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
    self.init(code: code, message: "\(name) refused the connection: \(refusal.detail)")
  }
}
