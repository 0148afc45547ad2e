import KVModel
import KVNet

/// The client connections of one host, and what they may hold together. Confined to the host's loop.
///
/// Of the host's part of `limits.bytes_in_flight_total` one half is for requests under way: over it they are refused. The
/// other half is for what slow clients hold, unread replies and unfinished frames: over it they are refused, and who has
/// been slow for longest is cut off. So slow clients cannot use up what the others need.
final class ClientTable {
  private unowned let host: ShardHost
  /// Unfinished frames and unread replies.
  let account = ByteAccount()
  /// Requests under way.
  var requestBytes = 0
  private(set) var share: FairShare
  private var floods = FloodQueue()
  private var timers: TimerClient?
  private var isAwaitingFreeLoop = false
  private var connections: [UInt64: ClientConnection] = [:]
  private var nextID: UInt64
  private var helloDeadlines: [(client: UInt64, at: Instant)] = []
  private var ticks: UInt64 = 0

  init(host: ShardHost) {
    self.host = host
    nextID = UInt64(host.index) << 48
    share = FairShare(framesATurn: host.configuration.limits.framesPerTurn)
  }

  subscript(id: UInt64) -> ClientConnection? { connections[id] }

  /// Of this host: shards divide what the node may hold.
  private var halfBytes: Int { host.configuration.limits.bytesInFlight / host.configuration.shards / 2 }

  func hasRoom(for bytes: Int) -> Bool { requestBytes + bytes <= halfBytes }

  /// Unread replies, or unfinished frames, hold their half.
  var isCrowded: Bool { max(account.outputBytes, account.inputBytes) > halfBytes }

  // MARK: Come and go

  /// A connection that the listener accepted.
  func onAccepted(_ descriptor: Int32, _ address: SocketAddress, _ place: Admission.Place) {
    nextID += 1
    let client = ClientConnection(id: nextID, place: place, host: host)
    guard
      let connection = try? Connection.adopt(
        descriptor, peer: address, on: host.loop, options: host.node.clientOptions, account: account, handler: client)
    else { return client.onNeverOpened() }
    client.attach(connection)
    connections[client.id] = client
    let patience = Span64.milliseconds(host.configuration.limits.helloTimeoutMs)
    helloDeadlines.append((client.id, host.now.instant.advanced(by: patience)))
    host.counters.clientsAccepted += 1
  }

  func onClosed(_ client: ClientConnection) {
    connections[client.id] = nil
    floods.remove(client.id)
  }

  func drain() { for client in connections.values { client.goAway() } }

  func refuseAll(_ refusal: Refusal) { for client in connections.values { client.refuse(refusal) } }

  // MARK: Shares

  func framesThisTurn(_ lastWindow: inout UInt32, isFlood: Bool, granted: Int) -> Int {
    let frames = share.frames(&lastWindow, isFlood: isFlood)
    return granted > 0 ? granted : frames
  }

  /// A client that floods waits until the others, if there are any, leave it something. False: it need not.
  func hold(_ client: ClientConnection) -> Bool {
    guard share.others > 0 else { return false }
    floods.add(client.id)
    if !isAwaitingFreeLoop { awaitFreeLoop() }
    return true
  }

  /// Clients that do not flood had so many frames handled.
  func onOthersFrames(_ frames: Int) {
    if let next = floods.onOthers(frames: frames, of: share.others, at: host.now.instant) {
      connections[next]?.goOn(frames: 1, in: .shared)
    }
  }

  private func awaitFreeLoop() {
    isAwaitingFreeLoop = true
    let timers = timers ?? host.loop.makeTimerClient(self)
    self.timers = timers
    let soonest = host.now.instant.advanced(by: FloodQueue.patience)
    host.loop.schedule(at: max(floods.due, soonest).nanoseconds, 0, for: timers)
  }

  // MARK: Time

  /// Ten times a second.
  func onTick(at now: Instant) {
    ticks &+= 1
    share.onTick()
    endGreetings(at: now)
    if account.outputBytes > halfBytes { dropSlow(.slowReader, until: { self.account.outputBytes }) }
    if account.inputBytes > halfBytes { dropSlow(.slowWriter, until: { self.account.inputBytes }) }
    if ticks % 10 == 0 { endFrames(at: now) }
  }

  private func endGreetings(at now: Instant) {
    guard let first = helloDeadlines.first, first.at <= now else { return }
    let patienceMs = host.configuration.limits.helloTimeoutMs
    for entry in helloDeadlines where entry.at <= now {
      if let client = connections[entry.client], client.isGreeting {
        client.refuse(Refusal(.helloTimeout, "no HELLO within \(patienceMs) ms"))
      }
    }
    helloDeadlines.removeAll { $0.at <= now }
  }

  /// A frame that drips in holds a connection and memory for as long as it likes, unless there is an end to it.
  private func endFrames(at now: Instant) {
    let patience = Span64.milliseconds(host.configuration.limits.frameTimeoutMs)
    for client in connections.values {
      guard let since = client.slowSince(.frameTimeout), now.since(since) >= patience else { continue }
      host.counters.onDropped(.frameTimeout)
      client.refuse(
        Refusal(.malformedFrame, "a frame was not complete within \(host.configuration.limits.frameTimeoutMs) ms"))
    }
  }

  /// Cuts off who has been slow for longest, until the rest hold no more than their half.
  private func dropSlow(_ reason: HostCounters.Slowness, until held: () -> Int) {
    let slow = connections.values.compactMap { client in client.slowSince(reason).map { (client, $0) } }
    for (client, _) in slow.sorted(by: { ($0.1, $0.0.id) < ($1.1, $1.0.id) }) {
      guard held() > halfBytes else { return }
      host.counters.onDropped(reason)
      client.cutOff()
    }
  }
}

extension ClientTable: TimerHandler {
  /// Somebody is held: has the loop nothing else to do?
  func onTimer(_ token: UInt64) {
    isAwaitingFreeLoop = false
    if floods.isEmpty { return }
    if host.now.instant < floods.due { return awaitFreeLoop() }
    let (clients, frames) = floods.onFree(framesATurn: share.framesATurn)
    for client in clients { connections[client]?.goOn(frames: frames, in: .free) }
  }
}
