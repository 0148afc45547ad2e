import KVCore
import KVModel

/// A few shards, their stores and the messages between them, moved only by a scenario's commands. Every message
/// passes through encode and decode.
struct ScenarioCluster {
  struct Flight {
    var name: String
    var from: Int
    var to: Int
    var envelope: Shard.Envelope
    var message: PeerMessage
  }

  final class Node {
    var shard = Shard()
    var storage = MemoryStorage(
      geometry: ShardGeometry(cluster: ScenarioCluster.clusterID, partitionBits: 8, leafBits: 4))
    var epoch: UInt32 = 1
    var isRunning = true
    /// Stopped like by SIGSTOP: its links stay up, it hears and says nothing.
    var isPaused = false
    var holdsSyncs = false
    var wallOffsetMs: Int64 = 0
    var damaged: Set<Key> = []
    var timers: [(at: Instant, id: TimerID)] = []
  }

  static let clusterID = ClusterID(0xc1)
  static let wallMs: UInt64 = 1_700_000_000_000

  let layout: Layout
  let nodes: [Node]
  var links: Set<[Int]> = []
  var flights: [Flight] = []
  var instant = Instant(nanoseconds: 1_000_000_000)
  var lines: [String] = []
  private var flightCount = 0

  init(nodes count: Int, settings: ClusterSettings) {
    layout = Layout(
      cluster: Self.clusterID, version: 1, settings: settings, members: (1...count).map(Self.member))
    nodes = (1...count).map { _ in Node() }
    for a in 0..<count { for b in 0..<count where a != b { links.insert([a, b]) } }
    for index in 0..<count { start(index) }
    lines = []
  }

  private static func member(_ index: Int) -> Member {
    let port = UInt16(7410 + 10 * index)
    return Member(
      id: NodeID(UInt64(index)), name: "n\(index)", clientAddress: Address(host: "127.0.0.1", port: port),
      peerAddress: Address(host: "127.0.0.1", port: port + 1), zone: "z", host: "n\(index)")
  }

  // MARK: Life of a node

  mutating func start(_ index: Int) {
    let node = nodes[index]
    node.shard = Shard()
    node.isRunning = true
    node.timers = []
    let id = NodeID(UInt64(index + 1))
    var settings = ShardSettings()
    settings.exchangeInterval = .zero
    settings.keepsHints = false
    let recovery = ShardRecovery(
      identity: ShardIdentity(node: id, shard: 0, shards: 1), actor: Actor(node: id, epoch: node.epoch),
      lease: node.storage.recoveredLease, settings: settings, seed: 1)
    input(.recovered(recovery), at: index)
    input(.view(ClusterView(node: id, layouts: [ClusterView.LiveLayout(layout)])), at: index)
    for peer in nodes.indices where peer != index && nodes[peer].isRunning && links.contains([index, peer]) {
      setLink(index, peer, isUp: true)
    }
  }

  mutating func crash(_ index: Int) {
    let node = nodes[index]
    node.isRunning = false
    node.storage = node.storage.crash()
    node.epoch += 1
    flights.removeAll { $0.from == index || $0.to == index }
    for peer in nodes.indices where peer != index { setLink(index, peer, isUp: false) }
  }

  mutating func setLink(_ a: Int, _ b: Int, isUp: Bool) {
    if isUp {
      links.formUnion([[a, b], [b, a]])
    } else {
      flights.removeAll { ($0.from == a && $0.to == b) || ($0.from == b && $0.to == a) }
    }
    for (self_, peer) in [(a, b), (b, a)] where nodes[self_].isRunning {
      input(.linkChanged(NodeID(UInt64(peer + 1)), isUp: isUp && nodes[peer].isRunning), at: self_)
    }
  }

  // MARK: Time and inputs

  func now(_ index: Int) -> Now {
    let elapsed = Int64(instant.milliseconds) + nodes[index].wallOffsetMs
    return Now(instant: instant, wall: WallTime(milliseconds: UInt64(Int64(Self.wallMs) + elapsed)))
  }

  mutating func input(_ input: Shard.Input, at index: Int) {
    guard nodes[index].isRunning else { return }
    var effects: [Shard.Effect] = []
    nodes[index].shard.step(input, at: now(index), into: &effects)
    for effect in effects { carryOut(effect, at: index) }
  }

  private mutating func carryOut(_ effect: Shard.Effect, at index: Int) {
    switch effect {
    case .respond(let response, to: let client):
      lines.append("n\(index + 1) answers c\(client.request): \(Describe.response(response))")
      answered[client.request] = response
    case .send(let message, to: let node, let envelope): send(message, envelope, from: index, to: node)
    case .store(let operation, let id): store(operation, id, at: index)
    case .schedule(let timer, at: let at): nodes[index].timers.append((at, timer))
    case .wentBack(saysPeer: let peer): lines.append("n\(index + 1) has gone back in time, says \(peer)")
    case .renewEpoch(after: let epoch): lines.append("n\(index + 1) wants another epoch than \(epoch)")
    case .note(let event): lines.append("n\(index + 1) notes \(event)")
    case .halt(let reason):
      lines.append("n\(index + 1) halts: \(reason)")
      nodes[index].isRunning = false
    }
  }

  var answered: [UInt64: ClientResponse] = [:]

  private mutating func send(_ message: PeerMessage, _ envelope: Shard.Envelope, from: Int, to node: NodeID) {
    if message.frameType == .ping || message.frameType == .pong {
      let peer = Int(node.value) - 1
      if links.contains([from, peer]), nodes[peer].isRunning, !nodes[peer].isPaused {
        input(.message(message, from: NodeID(UInt64(from + 1)), envelope), at: peer)
      }
      return
    }
    var body: [UInt8] = []
    message.encode(into: &body)
    guard let decoded = try? body.decode({ (b) throws(DecodeError) in try PeerMessage(message.frameType, b) }),
      decoded == message
    else { fatalError("\(message) does not survive its codec") }
    flightCount += 1
    let flight = Flight(
      name: "m\(flightCount)", from: from, to: Int(node.value) - 1, envelope: envelope, message: decoded)
    flights.append(flight)
    lines.append("\(flight.name) n\(from + 1)→n\(node.value) \(Describe.message(message))")
  }

  private mutating func store(_ operation: StorageOperation, _ id: StorageID, at index: Int) {
    let node = nodes[index]
    switch operation {
    case .read(let key) where node.damaged.contains(key), .merge(let key, _, _) where node.damaged.contains(key):
      input(.stored(.unreadable, for: id), at: index)
      return
    case .extendLease, .read, .merge, .findRequest, .digests, .roots, .listLeaf, .hint, .listHints, .forgetHints,
      .forgetMarks, .countHints, .keyDigests, .listExpired, .rescan, .listGaps, .changeGaps, .scrub:
      break
    }
    // Leases are synced at once, so that a scenario can hold back the syncs of writes alone.
    let isLease = if case .extendLease = operation { true } else { false }
    node.storage.holdsSyncs = node.holdsSyncs && !isLease
    var results: [StorageCompletion] = []
    node.storage.submit(operation, id: id, results: &results)
    node.storage.endTurn(results: &results)
    node.storage.collect(results: &results)
    for result in results { input(.stored(result.result, for: result.id), at: index) }
  }

  mutating func sync(_ index: Int) {
    nodes[index].storage.holdsSyncs = false
    nodes[index].storage.sync()
    var results: [StorageCompletion] = []
    nodes[index].storage.collect(results: &results)
    for result in results { input(.stored(result.result, for: result.id), at: index) }
  }

  // MARK: Delivery

  mutating func deliver(_ name: String, keeps: Bool = false) -> Bool {
    guard let place = flights.firstIndex(where: { $0.name == name }) else { return false }
    let flight = keeps ? flights[place] : flights.remove(at: place)
    input(.message(flight.message, from: NodeID(UInt64(flight.from + 1)), flight.envelope), at: flight.to)
    return true
  }

  /// Delivers what is in flight, oldest first, until nothing is.
  mutating func run() {
    while let first = flights.first(where: { !nodes[$0.to].isPaused }) { _ = deliver(first.name) }
  }

  mutating func advance(by span: Span64) {
    let end = instant.advanced(by: span)
    while let next = nextTimer(), next.at <= end {
      instant = max(instant, next.at)
      let timer = nodes[next.node].timers.remove(at: next.place)
      input(.timer(timer.id), at: next.node)
    }
    instant = end
  }

  private func nextTimer() -> (at: Instant, node: Int, place: Int)? {
    var best: (at: Instant, node: Int, place: Int)?
    for (index, node) in nodes.enumerated() where node.isRunning && !node.isPaused {
      for (place, timer) in node.timers.enumerated() where best.map({ timer.at < $0.at }) ?? true {
        best = (timer.at, index, place)
      }
    }
    return best
  }
}
