import KVCore
import KVModel
import KVNet
import KVStorage
import Logging

/// The shell around `Control`: its own loop, the node store, the listeners. It decides nothing.
final class ControlHost: @unchecked Sendable {
  let loop: EventLoop
  private unowned let node: NodeServer
  private let store: NodeStore
  let logger: Logger
  private let startedAt: UInt64

  private var control = Control()
  private var effects: [Control.Effect] = []
  private var isCarryingOut = false
  private var timers: TimerClient?
  private var listeners: [Listener] = []
  private var nextClientLoop = 0
  private var nextPeerLoop = 0
  private var onExit: (@Sendable () -> Void)?
  /// The last view that was published.
  private(set) var view: ClusterView?

  init(node: NodeServer, start: NodeStart) throws(SystemError) {
    self.node = node
    store = start.store
    logger = start.logger
    loop = try EventLoop(label: "ringkv.control")
    startedAt = loop.now
  }

  var now: Now {
    Now(instant: Instant(nanoseconds: loop.now), wall: WallTime(milliseconds: loop.wallMilliseconds))
  }

  // MARK: Start and stop

  /// First call on the loop.
  func start(_ recovery: ControlRecovery) {
    timers = loop.makeTimerClient(self)
    scheduleMeasurement()
    step(.recovered(recovery))
  }

  /// Accepts connections from now on.
  func listen(client: SocketAddress, peer: SocketAddress) throws(SystemError) {
    let clients = try Listener.bind(to: client, on: loop) { [unowned self] in onAccepted(client: $0, $1) }
    listeners.append(clients)
    listeners.append(try Listener.bind(to: peer, on: loop) { [unowned self] in onAccepted(peer: $0, $1) })
  }

  var boundPorts: [UInt16] { listeners.map(\.boundPort) }

  var listenerCounts: (refused: UInt64, suspensions: UInt64) {
    (listeners.reduce(0) { $0 + $1.refused }, listeners.reduce(0) { $0 + $1.suspensions })
  }

  private func onAccepted(client descriptor: Int32, _ address: SocketAddress) {
    nextClientLoop = (nextClientLoop + 1) % node.hosts.count
    let host = node.hosts[nextClientLoop]
    switch node.clientAdmission.admit(address) {
    case .admitted(let place): host.loop.execute { host.clients.onAccepted(descriptor, address, place) }
    case .refused(let refusal): host.loop.execute { TurnedAway.tell(refusal, descriptor, address, host) }
    }
  }

  private func onAccepted(peer descriptor: Int32, _ address: SocketAddress) {
    nextPeerLoop = (nextPeerLoop + 1) % node.hosts.count
    let host = node.hosts[nextPeerLoop]
    switch node.peerAdmission.admit(address) {
    case .admitted(let place): host.loop.execute { host.onAccepted(peer: descriptor, address, place) }
    case .refused(let refusal): host.loop.execute { TurnedAway.tell(refusal, descriptor, address, host) }
    }
  }

  func beginDrain() {
    for listener in listeners { listener.close() }
    step(.drain)
  }

  /// Everything has ended; `completion` runs when the clean stop is on disk.
  func finishDrain(_ completion: @escaping @Sendable () -> Void) {
    onExit = completion
    step(.drained)
  }

  // MARK: Steps

  func step(_ input: Control.Input) {
    control.step(input, at: now, into: &effects)
    if isCarryingOut { return }
    isCarryingOut = true
    defer { isCarryingOut = false }
    while !effects.isEmpty {
      let batch = effects
      effects.removeAll(keepingCapacity: true)
      for effect in batch { carryOut(effect) }
    }
  }

  private func carryOut(_ effect: Control.Effect) {
    switch effect {
    case .respond(let response, to: let client): respond(response, to: client)
    case .persist(let state): persist(state)
    case .send(let message, to: let peer): node.hosts[0].send(message, to: peer)
    case .schedule(at: let at):
      if let timers { loop.schedule(at: at.nanoseconds, ControlHost.wakeToken, for: timers) }
    case .publish(let view):
      self.view = view
      node.adopt(view)
    case .liveness(let liveness): for host in node.hosts { host.loop.execute { host.adopt(liveness) } }
    case .visit(let seed): visit(seed)
    case .note(let event): note(event)
    case .exit: onExit?()
    }
  }

  /// Over a connection of its own, on the first shard's loop.
  private func visit(_ seed: Address) {
    let host = node.hosts[0]
    host.loop.execute { [self] in
      SeedVisit.begin(at: seed, from: host) { [self] input in loop.execute { [self] in step(input) } }
    }
  }

  var gossip: (counters: GossipCounters, members: [MemberEntry], otherLayouts: Int) {
    (control.gossipCounters, control.members, control.membersWithOtherLayout)
  }

  private func respond(_ response: ClientResponse, to client: ClientRef) {
    let host = node.hosts[Int(client.connection >> 48)]
    host.loop.execute { host.respond(response, to: client) }
  }

  private func persist(_ state: NodeState) {
    do { try store.save(state) } catch { return node.halt("\(error)") }
    control.step(.persisted, at: now, into: &effects)
  }

  func shardDirectory(_ shard: Int) -> String { store.shardDirectory(shard) }

  // MARK: Inputs from other loops

  func onRequest(_ request: ClientRequest, from client: ClientRef) {
    loop.execute { [self] in step(.request(request, from: client)) }
  }

  func onLinkChanged(_ peer: NodeID, isUp: Bool) {
    loop.execute { [self] in step(.linkChanged(peer, isUp: isUp)) }
  }

  func onMessage(_ message: ControlMessage, from peer: NodeID) {
    loop.execute { [self] in step(.message(message, from: peer)) }
  }

  func onLinkRefused(_ peer: NodeID, _ refusal: Refusal) {
    loop.execute { [self] in step(.linkRefused(peer, refusal)) }
  }

  func onEpochUsedUp(_ epoch: UInt32) {
    loop.execute { [self] in step(.renewEpoch(after: epoch)) }
  }

  func onWentBack(saysPeer peer: NodeID) {
    loop.execute { [self] in step(.wentBack(saysPeer: peer)) }
  }

  func onMistaken(for peer: NodeID, of cluster: ClusterID) {
    loop.execute { [self] in step(.mistaken(for: peer, of: cluster)) }
  }

  // MARK: Measurements

  private static let measureToken: UInt64 = 0
  private static let wakeToken: UInt64 = 1

  private func scheduleMeasurement() {
    guard let timers else { return }
    loop.schedule(at: loop.now + 1_000_000_000, ControlHost.measureToken, for: timers)
  }

  private func measure() {
    var measurements = NodeDescription.Measurements()
    measurements.uptimeMs = (loop.now - startedAt) / 1_000_000
    if let usage = try? store.usage() {
      measurements.diskTotalBytes = usage.totalBytes
      measurements.diskUsedBytes = usage.usedBytes
    }
    node.measure(measurements) { [self] measurements, slow in
      loop.execute { [self] in step(.measured(measurements, slow: slow)) }
    }
  }
}

extension ControlHost: TimerHandler {
  func onTimer(_ token: UInt64) {
    guard token == ControlHost.measureToken else { return step(.timer) }
    measure()
    scheduleMeasurement()
  }
}
