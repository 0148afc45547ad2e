internal import KVModel
internal import KVNet
internal import Logging

/// What a link does with the attempts that it is given.
extension NodeLink {
  /// Sends an attempt, or queues it until the link is up.
  func take(_ attempt: Attempt) {
    switch state {
    case .up(let connection, let greeting): send(attempt, connection, greeting)
    case .leaving:
      engine.onUnsent(attempt, LinkFault(code: .shuttingDown, message: "\(name) is leaving"))
    case .closed, .connecting:
      waiting.append(attempt)
      connect()
    }
  }

  private func send(_ attempt: Attempt, _ connection: Connection, _ greeting: Greeting) {
    let call = attempt.call
    if case .address = call.route {
    } else if !NodeLink.fits(greeting, engine.cluster) {
      return engine.onUnsent(attempt, unfitFault(greeting))
    }
    call.markRetry()
    attempt.id = engine.attempts.add(attempt)
    attempt.isSent = true
    attempt.sentAt = engine.now
    sentCount += 1
    let header = FrameHeader(
      type: call.request.frameType, requestID: attempt.id, deadlineMs: deadlineMs(of: call, greeting),
      layoutVersion: engine.layoutVersion, partition: engine.partition(of: call))
    connection.write { header.appendFrame(to: &$0) { call.request.encode(into: &$0) } }
    watch()
    engine.onSent(attempt)
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

  /// An attempt that was sent here is over. When it ended without its answer, the node is told that nobody waits.
  func onEnded(_ attempt: Attempt, answered: Bool) {
    sentCount -= 1
    if sentCount == 0 { awaitedSince = nil }
    guard let connection else { return }
    if !answered {
      let header = FrameHeader(type: .cancel, requestID: attempt.id, layoutVersion: engine.layoutVersion)
      connection.write { header.appendFrame(to: &$0) { _ in } }
    }
    closeIfLeft()
  }

  func closeIfLeft() {
    if case .leaving = state, sentCount == 0 { close(LinkFault(code: .shuttingDown, message: "\(name) left")) }
  }

  /// The layout names this node no more: what is open ends first.
  func leave() {
    member = nil
    switch state {
    case .closed: break
    case .connecting: close(LinkFault(code: .notMember, message: "\(name) left the cluster"))
    case .up(let connection, let greeting):
      state = .leaving(connection, greeting)
      closeIfLeft()
    case .leaving: break
    }
  }
}

/// Signs of life: see `Heartbeat`.
extension NodeLink {
  private func watch() {
    if awaitedSince == nil { awaitedSince = engine.now }
    guard !isHeartbeatArmed else { return }
    isHeartbeatArmed = true
    engine.arm(.heartbeat, self, at: engine.now.advanced(by: heartbeat.pingAfter))
  }

  func onHeartbeat() {
    isHeartbeatArmed = false
    guard let connection, greeting != nil else { return }
    let heardAt = Instant(nanoseconds: connection.lastReadAt)
    switch heartbeat.look(at: engine.now, heardAt: heardAt, awaitedSince: awaitedSince) {
    case .idle: break
    case .look(let next): lookAgain(at: next)
    case .ping(let next):
      engine.counters.pings += 1
      connection.write { FrameHeader(type: .ping, requestID: 0).appendFrame(to: &$0) { _ in } }
      lookAgain(at: next)
    case .lost:
      engine.counters.silentLinks += 1
      fail(LinkFault(code: .connectionLost, message: "\(name) showed no sign of life; the connection was given up"))
    }
  }

  private func lookAgain(at next: Instant) {
    isHeartbeatArmed = true
    engine.arm(.heartbeat, self, at: next)
  }
}
