internal import CoreMetrics
internal import KVModel
internal import KVNet
internal import Logging

/// How a link is made, greeted, given up, and made anew.
extension NodeLink {
  func connect() {
    guard case .closed = state else { return }
    connects += 1
    let attempt = connects
    state = .connecting(attempt: attempt, nil, helloAt: nil)
    engine.arm(
      .connect, self, attempt: attempt, at: engine.now.advanced(by: Span64(engine.configuration.connectTimeout)))
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
  func connectToNext(_ attempt: UInt32, lastReason: String) {
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

  func unreachable(_ reason: String) -> LinkFault {
    LinkFault(code: .unreachable, message: "cannot connect to \(address): \(reason)")
  }

  /// The time to connect is over.
  func onConnectDeadline(attempt: UInt32) {
    guard case .connecting(attempt, _, let helloAt) = state else { return }
    fail(unreachable(helloAt == nil ? "no answer within the connect timeout" : "it accepts but does not greet"))
  }

  func onWelcome(_ welcome: Welcome, _ connection: Connection, helloAt: Instant) {
    let now = engine.now
    let remote = Int64(bitPattern: welcome.clockMs &+ now.since(helloAt).milliseconds / 2)
    let greeting = Greeting(welcome: welcome, clockOffsetMs: remote &- Int64(bitPattern: now.milliseconds))
    state = .up(connection, greeting)
    engine.counters.connects += 1
    engine.metrics.connects.increment()
    breaker.onSuccess()
    engine.logger.debug("connected", metadata: ["node": "\(name)", "id": "\(welcome.node)"])
    engine.onLayoutVersion(welcome.layoutVersion, from: self)
    let attempts = waiting
    waiting = []
    for attempt in attempts where !attempt.call.isEnded { take(attempt) }
  }

  /// Gives up the connection; what was sent is lost, what waits goes elsewhere.
  func fail(_ fault: LinkFault) {
    let sent = engine.attempts.all.filter { $0.link === self }
    let unsent = waiting
    waiting = []
    let connection = connection
    if case .connecting = state {
      engine.counters.connectFailures += 1
    } else {
      engine.metrics.connectionsLost.increment()
    }
    state = .closed
    awaitedSince = nil
    connection?.close()
    engine.logger.debug("connection ended", metadata: ["node": "\(name)", "reason": "\(fault.message)"])
    comeBack()
    for attempt in sent { engine.onLost(attempt, fault) }
    for attempt in unsent { engine.onUnsent(attempt, fault) }
  }

  /// A node that is of use is connected again, after a wait with its jitter. Until then calls go elsewhere.
  private func comeBack() {
    let due = breaker.trip(at: engine.now, random: engine.random.next())
    engine.arm(.reconnect, self, at: due)
  }

  func onReconnect() {
    guard case .running = engine.phase, case .closed = state, breaker.admits(at: engine.now), isWanted else { return }
    connect()
  }

  /// A member of the layout, or an endpoint while there is none.
  private var isWanted: Bool {
    member != nil || (engine.routes == nil && engine.endpoints.contains { $0 === self })
  }

  /// Closes in good order.
  func close(_ fault: LinkFault) {
    if case .closed = state { return }
    fail(fault)
  }
}
