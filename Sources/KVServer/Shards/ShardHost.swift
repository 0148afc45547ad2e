import KVCore
import KVModel
import KVNet
import KVStorage
import Logging

/// The shell around one shard: its event loop, its storage, its connections and links. It turns bytes into inputs and
/// effects into bytes, and decides nothing. Everything here runs on the loop.
///
/// ```
///   socket ─► ClientConnection ─┐                    ┌─► ClientConnection.respond ─► socket
///   socket ─► PeerLink ─────────┼─► Shard.step ──────┼─► PeerLinks.send ──────────► socket
///   storage ─► collect ─────────┤                    ├─► storage.submit
///   timers ─────────────────────┘                    └─► loop.schedule
/// ```
final class ShardHost: @unchecked Sendable {
  let loop: EventLoop
  let index: Int
  let configuration: NodeConfiguration
  let identity: ShardIdentity
  let generation: Generation
  let logger: Logger
  unowned let node: NodeServer

  private(set) var shard = Shard()
  private var storage: (any ShardStorage)?
  var openStorage: (any ShardStorage)? { storage }
  private(set) lazy var links = PeerLinks(host: self)
  private(set) lazy var clients = ClientTable(host: self)
  private var closing: ClosingConnections
  private var visits: [(connection: Connection, until: Instant)] = []
  private var random: PRNG
  private var ticks: UInt64 = 0

  private var effects: [Shard.Effect] = []
  private var results: [StorageCompletion] = []
  private var isCarryingOut = false
  private var timers: TimerClient?

  var counters = HostCounters()
  private(set) var liveness = Liveness()

  init(index: Int, node: NodeServer, start: NodeStart, seed: UInt64) throws(SystemError) {
    self.index = index
    self.node = node
    configuration = start.configuration
    identity = ShardIdentity(node: start.state.id, shard: index, shards: start.state.shards)
    generation = start.state.generation
    logger = start.logger
    closing = ClosingConnections(connectionsMax: start.configuration.limits.closingConnections)
    random = PRNG(seed: seed)
    loop = try EventLoop(label: "ringkv.shard.\(index)")
  }

  // MARK: Start and stop

  /// First call on the loop.
  func start() {
    loop.addTurnObserver(self)
    timers = loop.makeTimerClient(self)
    scheduleTick()
  }

  /// The node belongs to a cluster: from now on this shard serves.
  func recover(_ recovery: ShardRecovery, _ storage: any ShardStorage) {
    self.storage = storage
    step(.recovered(recovery))
  }

  func adopt(_ view: ClusterView) {
    step(.view(view))
    links.adopt(liveness.located(view.peers))
  }

  func adopt(_ liveness: Liveness) {
    self.liveness = liveness
    step(.dead(liveness.dead))
    links.adopt(liveness.located(shard.view.peers))
  }

  /// No client gets anything new under way; what is under way goes on.
  func drain() { clients.drain() }

  /// Nothing is under way, and who missed an answered write is known and noted.
  var isIdle: Bool { shard.inFlight == 0 && shard.lagging == 0 }

  /// What is under way, for the log.
  var underWay: String {
    shard.inFlightByKind.filter { $0.count > 0 }.map { "\($0.kind)=\($0.count)" }.joined(separator: " ")
  }

  /// Last call on the loop: hangs up on everyone and lets the storage go.
  func shutDown() -> (any ShardStorage)? {
    links.closeAll()
    clients.refuseAll(Refusal(.shuttingDown, "the node is stopping"))
    defer { storage = nil }
    return storage
  }

  // MARK: Time

  var now: Now {
    Now(
      instant: Instant(nanoseconds: loop.now), wall: WallTime(milliseconds: loop.wallMilliseconds))
  }

  func nextRandom() -> UInt64 { random.next() }

  private static let tickToken = UInt64.max
  private static let tick = Span64.milliseconds(100)

  private func scheduleTick() {
    guard let timers else { return }
    loop.schedule(at: now.instant.advanced(by: ShardHost.tick).nanoseconds, ShardHost.tickToken, for: timers)
  }

  private func onTick() {
    links.onTick()
    closing.closeOverdue(at: now.instant)
    for visit in visits where visit.until <= now.instant { visit.connection.close() }
    clients.onTick(at: now.instant)
    watchStorage()
    scheduleTick()
  }

  /// A flush or compaction that failed shows only when it is asked for.
  private func watchStorage() {
    ticks &+= 1
    guard ticks % 10 == 0, let rocks = storage as? RocksDBStorage else { return }
    if ticks % ShardHost.ticksAMeasurement == 10 { rocks.measureShares() }
    guard let fault = rocks.backgroundFault() else { return }
    node.halt("storage failed: \(fault.path): \(fault.detail)")
  }

  /// How the data lie on the ring is estimated once a minute: it changes slowly, and costs some milliseconds.
  private static let ticksAMeasurement: UInt64 = 600

  // MARK: Steps

  func step(_ input: Shard.Input) {
    shard.step(input, at: now, into: &effects)
    carryOut()
  }

  /// Carries effects out in their order, and what the storage answers at once, until nothing is left.
  private func carryOut() {
    if isCarryingOut { return }
    isCarryingOut = true
    defer { isCarryingOut = false }
    repeat {
      var next = 0
      while next < effects.count {
        carryOut(effects[next])
        next += 1
      }
      effects.removeAll(keepingCapacity: true)
      stepResults()
    } while !effects.isEmpty
  }

  private func stepResults() {
    var next = 0
    while next < results.count {
      let completion = results[next]
      next += 1
      shard.step(.stored(completion.result, for: completion.id), at: now, into: &effects)
    }
    results.removeAll(keepingCapacity: true)
  }

  private func carryOut(_ effect: Shard.Effect) {
    switch effect {
    case .respond(let response, to: let client): respond(response, to: client)
    case .send(let message, to: let peer, let envelope): links.send(message, to: peer, envelope)
    case .store(let operation, let id): storage?.submit(operation, id: id, results: &results)
    case .schedule(let timer, at: let at):
      if let timers { loop.schedule(at: at.nanoseconds, timer.raw, for: timers) }
    case .note(let event): note(event)
    case .renewEpoch(after: let epoch): node.control.onEpochUsedUp(epoch)
    case .wentBack(saysPeer: let peer): node.control.onWentBack(saysPeer: peer)
    case .halt(let reason): node.halt(reason)
    }
  }

  private func note(_ event: Shard.Event) {
    switch event {
    case .damagedRecord(let partition):
      logger.error(
        "a stored record is damaged, or the disk does not give it back",
        metadata: ["partition": "\(partition)", "shard": "\(index)"])
    case .quarantined(let records):
      logger.error(
        "damaged records were put aside; they are rebuilt from the other owners",
        metadata: ["records": "\(records)", "shard": "\(index)"])
    case .rebuildBegins(let partitions, let keys):
      logger.warning(
        "this copy may lack something; it is pulled from the other owners, and takes writes meanwhile",
        metadata: ["partitions": "\(partitions)", "keys": "\(keys)", "shard": "\(index)"])
    case .rebuilt(let records, let bytes, let span):
      logger.notice(
        "the copy is whole again",
        metadata: [
          "records": "\(records)", "bytes": "\(bytes)", "seconds": "\(span.milliseconds / 1_000)",
          "shard": "\(index)",
        ])
    case .lossAccepted(let partition, let parts):
      logger.warning(
        "a loss was accepted: what the owners have left is answered for again; acknowledged writes may be missing",
        metadata: ["partition": "\(partition)", "parts": "\(parts)", "shard": "\(index)"])
    case .malformedRecord(let peer):
      logger.error("a peer sent a record that cannot be decoded", metadata: ["peer": "\(peer)"])
    case .clockSkew(let peer, let aheadMs):
      logger.warning(
        "a peer's clock is ahead; its writes are refused here; check its time synchronisation",
        metadata: ["peer": "\(peer)", "ahead_ms": "\(aheadMs)"])
    }
  }

  /// A link is given up because nothing came over it.
  func note(silentLinkOf peer: Member) {
    logger.warning("nothing came over a link for ten seconds; it is made anew", metadata: ["peer": "\(peer.name)"])
  }

  /// Storage results that became known on another thread. Any thread calls this.
  func onStorageResults() {
    loop.execute { [self] in
      storage?.collect(results: &results)
      stepResults()
      carryOut()
    }
  }

  // MARK: Routing

  /// A client's request: to this shard, to another one, or to Control.
  func route(_ request: ClientRequest, from client: ClientRef, deadlineMs: UInt64) {
    let instant = now.instant
    let wanted =
      deadlineMs == 0
      ? instant.advanced(by: .milliseconds(configuration.limits.defaultDeadlineMs))
      : Instant(nanoseconds: deadlineMs &* 1_000_000)
    if case .repair(let repair) = request { return route(repair, from: client, deadline: wanted) }
    guard let key = request.key else { return node.control.onRequest(request, from: client) }
    guard let partition = shard.view.partition(of: key) else {
      return respond(.failed(.notInCluster(for: request)), to: client)
    }
    let owner = node.hosts[partition.shard(of: identity.shards)]
    if owner === self { return step(.request(request, from: client, deadline: wanted)) }
    owner.loop.execute { owner.step(.request(request, from: client, deadline: wanted)) }
  }

  private func route(_ request: RepairRequest, from client: ClientRef, deadline: Instant) {
    let shard = request.shard(of: identity.shards)
    guard shard < node.hosts.count else {
      let failure = Failure(.invalidRequest, detail: "this node has \(identity.shards) shards, numbered from 0")
      return respond(.failed(failure), to: client)
    }
    let host = node.hosts[shard]
    if host === self { return step(.request(.repair(request), from: client, deadline: deadline)) }
    host.loop.execute { host.step(.request(.repair(request), from: client, deadline: deadline)) }
  }

  /// A client no longer waits. Its request may run on any shard.
  func cancel(_ client: ClientRef) {
    step(.cancel(client))
    for other in node.hosts where other !== self { other.loop.execute { other.step(.cancel(client)) } }
  }

  /// A peer's message goes to the shard that it is for; a ping stays here.
  func route(_ message: PeerMessage, from peer: NodeID, _ envelope: Shard.Envelope) {
    let target = message.shard(of: identity.shards, operation: envelope.operation, in: shard.view) ?? index
    guard target < node.hosts.count else { return }
    let owner = node.hosts[target]
    if owner === self { return step(.message(message, from: peer, envelope)) }
    owner.loop.execute { owner.step(.message(message, from: peer, envelope)) }
  }

  /// Answers a client, on whatever loop its connection lives.
  func respond(_ response: ClientResponse, to client: ClientRef) {
    let home = Int(client.connection >> 48)
    if home == index {
      clients[client.connection]?.respond(response, to: client.request)
    } else {
      let host = node.hosts[home]
      host.loop.execute { host.respond(response, to: client) }
    }
  }

  // MARK: Connections that end

  func onClosed(_ client: ClientConnection, _ connection: Connection) {
    closing.remove(connection)
    clients.onClosed(client)
  }

  func onClosed(_ link: PeerLink, _ connection: Connection) { closing.remove(connection) }

  /// A question to a seed that is not answered is given up.
  func onVisiting(_ connection: Connection) {
    visits.append((connection, now.instant.advanced(by: SeedVisit.patience)))
  }

  func onVisited(_ connection: Connection) { visits.removeAll { $0.connection === connection } }
  func onClosed(_ connection: Connection) { closing.remove(connection) }

  /// A connection that closes after its last word gets a while to be read.
  func onClosing(_ connection: Connection) { closing.add(connection, at: now.instant) }
}

extension ShardHost: TurnObserver {
  /// The peers' frames are out; now the log gets what was gathered.
  func onTurnEnd() {
    guard let storage else { return }
    repeat {
      storage.endTurn(results: &results)
      if results.isEmpty { return }
      stepResults()
      carryOut()
    } while true
  }
}

extension ShardHost: TimerHandler {
  func onTimer(_ token: UInt64) {
    if token == ShardHost.tickToken { onTick() } else { step(.timer(TimerID(raw: token))) }
  }
}
