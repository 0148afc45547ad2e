import KVCore
import KVModel

/// A whole cluster, its network, disks, clocks and clients, in one thread and one seed.
///
/// ```
///   clients ──frames──► nodes: Control, Shards ──frames──► nodes
///      ▲                  │  ▲ timers                         one queue of events, one order,
///      └────answers───────┘  │ ▲ storage                      all randomness from the seed
///                         disks: sync, crash, fail
/// ```
///
/// Two phases, as in TigerBeetle's VOPR: first faults act while clients work, and nothing bad may happen; then the
/// faults end, a random core of the nodes is healed, and everything must work again and agree.
public final class Simulation {
  enum Event {
    case peerFrame(PeerFrame)
    case clientFrame(node: Int, incarnation: UInt32, client: Int, bytes: [UInt8])
    case answer(client: Int, bytes: [UInt8])
    /// The client's connection to a node broke, or could not be made.
    case reset(client: Int, request: UInt64, wasSent: Bool)
    case clientTurn(client: Int)
    case clientGivesUp(client: Int, request: UInt64)
    /// Its wait before another attempt is over.
    case clientRetries(client: Int, request: UInt64)
    case timer(node: Int, incarnation: UInt32, shard: Int, TimerID)
    case syncEnds(node: Int, incarnation: UInt32, shard: Int)
    case readsEnd(node: Int, incarnation: UInt32, shard: Int)
    case persisted(node: Int, incarnation: UInt32)
    case controlTimer(node: Int, incarnation: UInt32)
    case connect(Int, Int)
    case linkNotice(node: Int, incarnation: UInt32, LinkNotice)
    case detect(Int, Int, connection: UInt32)
    case start(node: Int)
    case fault(Int)
    case faultEnds(Int)
    /// A clogged direction lets go of what it held.
    case release(from: Int, to: Int)
  }

  /// A frame on its way between two nodes.
  struct PeerFrame {
    var from: Int
    var to: Int
    /// The process at the other end when the connection was made: no other one can get it.
    var incarnation: UInt32
    var connection: UInt32
    var shard: Int
    var bytes: [UInt8]
  }

  public let options: SimulationOptions
  public let faults: [Fault]

  // Time and chance.
  var queue = EventQueue<Event>()
  var time: UInt64 = 0
  var networkDraws: PRNG
  var diskDraws: PRNG
  var nodeDraws: PRNG
  var clientDraws: PRNG
  /// Of their own, so that gossip does not shift what else is drawn.
  var gossipDraws: PRNG

  // The world.
  var nodes: [SimulatedNode] = []
  var clients: [SimulatedClient] = []
  let layout: Layout
  /// The layout's preference lists, worked out once.
  let placed: ClusterView.LiveLayout
  var network: SimulatedNetwork
  var phase = Phase.faulty
  public internal(set) var history: History
  let keys: [Key]
  /// Where each key's copies are, by key: for clients that route.
  var ownersOfKeys: [[Int]] = []
  /// Contexts that answers brought, by key: the latest few, with the operation that got them.
  var contexts: [[HeldContext]]
  /// When what was put with a time to live last expires, by key, nanoseconds.
  var expiries: [UInt64?]

  /// What clients do when an attempt of a write fails while faults act; nil: what chance says. Set before the run.
  public var retryPlan: RetryPlan?

  // What is looked at.
  var checker = StateChecker()
  /// Operations whose receipts told that no version lay beside theirs.
  var toldAlone: Set<Int> = []
  public internal(set) var trace: Trace
  public internal(set) var violations: [Violation] = []
  public internal(set) var counts = SimulationCounts()
  /// Operations that were answered with what they asked for.
  var completed = 0
  /// When the last frame that was sent while faults acted arrives.
  var lastFaultyArrival: UInt64 = 0
  /// A process has ended while faults acted: it may have known of owners that missed a write, and not have noted them.
  var hasLostProcess = false
  /// A bit was flipped somewhere, or a node ran on an old image of its disks.
  var hasDamage = false

  // Kept between turns, so that they do not allocate.
  var effects: [Shard.Effect] = []
  var results: [StorageCompletion] = []
  var resultsNext: [StorageCompletion] = []

  enum Phase {
    case faulty
    case healing
    case checking
  }

  public init(_ options: SimulationOptions, trace: Trace = Trace()) {
    self.options = options
    self.trace = trace
    var prng = PRNG(seed: options.seed ^ 0x5157_4152_4d00_0001)
    networkDraws = prng.fork()
    diskDraws = prng.fork()
    nodeDraws = prng.fork()
    clientDraws = prng.fork()
    var faultDraws = prng.fork()
    let drawn = Fault.draw(for: options, &faultDraws)
    faults = options.keptFaults.map { kept in kept.filter { $0 < drawn.count }.map { drawn[$0] } } ?? drawn
    let settings = ClusterSettings(
      name: "simulated", replication: options.copies, readQuorum: options.readQuorum,
      writeQuorum: options.writeQuorum, partitionBits: options.partitionBits, virtualNodes: 16, leafBits: 4)
    var idDraws = prng.fork()
    gossipDraws = prng.fork()
    let ids = (0..<options.nodes).map { _ in NodeID(idDraws.next() | 1) }
    layout = Layout(
      cluster: ClusterID(idDraws.next() | 1), version: 1, settings: settings,
      members: ids.enumerated().map { Simulation.member($0, $1) })
    placed = ClusterView.LiveLayout(layout)
    network = SimulatedNetwork(nodes: options.nodes)
    history = History(copies: options.copies, readQuorum: options.readQuorum, writeQuorum: options.writeQuorum)
    keys = (0..<options.workload.keys).map { Simulation.key($0) }
    history.keys = (0..<options.workload.keys).map { "k\($0)" }
    contexts = Array(repeating: [], count: keys.count)
    expiries = Array(repeating: nil, count: keys.count)
    makeNodes(ids)
    makeClients()
  }

  static func member(_ index: Int, _ id: NodeID) -> Member {
    let port = UInt16(7_410 + 10 * (index + 1))
    return Member(
      id: id, name: "n\(index + 1)", clientAddress: Address(host: "10.0.0.1", port: port),
      peerAddress: Address(host: "10.0.0.1", port: port + 1), zone: "z", host: "n\(index + 1)")
  }

  private static func key(_ index: Int) -> Key {
    guard let key = try? Key(Array("k\(index)".utf8)) else { fatalError("k\(index) is a key") }
    return key
  }

  // MARK: Running

  /// Runs to the end, or to the first violation that the state shows.
  public func run() {
    form()
    for (index, fault) in faults.enumerated() { queue.push(.fault(index), at: fault.at) }
    for client in clients.indices { queue.push(.clientTurn(client: client), at: UInt64(client) * 10_000) }
    while phase == .faulty, violations.isEmpty {
      if completed >= options.workload.operations || time >= options.faultsUntil { break }
      guard stepEvent() else { break }
    }
    if violations.isEmpty { heal() }
    if violations.isEmpty { violations += checker.check(nodes) }
    counts.simulatedNanoseconds = time
    if violations.isEmpty { violations = HistoryChecker.check(history, bounds: bounds, limit: 4) }
  }

  /// What is known of the clocks: nothing when they step.
  private var bounds: HistoryChecker.Bounds {
    if !options.faults.isDisjoint(with: Fault.Kind.steppingClocks) { return .init() }
    // A drift of a hundred millionths makes a millisecond in ten seconds.
    return .init(clockErrorMs: options.clocks.offsetMs + counts.simulatedNanoseconds / 10_000_000_000 + 10)
  }

  /// Handles the next event; false when there is none.
  func stepEvent() -> Bool {
    guard let (at, event) = queue.pop() else { return false }
    time = at
    counts.events += 1
    handle(event)
    return true
  }

  func handle(_ event: Event) {
    switch event {
    case .peerFrame(let frame): onPeerFrame(frame)
    case .clientFrame(let node, let incarnation, let client, let bytes):
      onClientFrame(nodes[node], incarnation, client, bytes)
    case .answer(let client, let bytes): onAnswer(client, bytes)
    case .reset(let client, let request, let wasSent): onReset(client, request, wasSent)
    case .clientTurn(let client): onClientTurn(client)
    case .clientGivesUp(let client, let request): onClientGivesUp(client, request)
    case .clientRetries(let client, let request): onClientRetries(client, request)
    case .timer(let node, let incarnation, let shard, let timer):
      if let node = running(node, incarnation, event) { turn(node, shard, .timer(timer)) }
    case .syncEnds(let node, let incarnation, let shard):
      if let node = running(node, incarnation, event) { onSyncEnds(node, shard) }
    case .readsEnd(let node, let incarnation, let shard):
      if let node = running(node, incarnation, event) { onReadsEnd(node, shard) }
    case .persisted(let node, let incarnation):
      if let node = running(node, incarnation, event) { stepControl(node, .persisted) }
    case .controlTimer(let node, let incarnation):
      if let node = running(node, incarnation, event) { stepControl(node, .timer) }
    case .connect(let a, let b): onConnect(a, b)
    case .linkNotice(let node, let incarnation, let notice):
      if let node = running(node, incarnation, event) { onLinkNotice(node, notice) }
    case .detect(let a, let b, let connection): onDetect(a, b, connection: connection)
    case .start(let node): start(nodes[node])
    case .fault(let index): begin(faults[index], index)
    case .faultEnds(let index): end(faults[index], index)
    case .release(let from, let to): release(from: from, to: to)
    }
  }

  /// The node, when that process of it still runs. When it is paused, the event waits.
  func running(_ index: Int, _ incarnation: UInt32, _ event: Event) -> SimulatedNode? {
    let node = nodes[index]
    guard node.incarnation == incarnation else { return nil }
    switch node.condition {
    case .running: return node
    case .paused:
      node.waiting.append(event)
      return nil
    case .stopped: return nil
    }
  }

  func fail(_ violation: Violation) {
    trace.line(time) { "VIOLATION \(violation)" }
    for node in nodes { trace.line(time) { describe(node) } }
    violations.append(violation)
  }

  /// For people who look into a failure.
  private func describe(_ node: SimulatedNode) -> String {
    var text = "\(node.name) \(node.condition)\(node.takesNoPart ? ", no part" : ""), links"
    for (peer, link) in node.links.enumerated() where link.isUp { text += " \(nodes[peer].name)" }
    for (index, shard) in node.shards.enumerated() {
      let disk = node.disks[index]
      let state = disk.isSyncing ? "syncing" : disk.wantsSync ? "wants a sync" : "idle"
      let kinds = shard.inFlightByKind.filter { $0.count > 0 }.map { "\($0.count) \($0.kind)" }
      for peer in nodes where peer.index != node.index {
        let standing = shard.reachability.standing(of: peer.id, at: now(node).instant)
        if standing != .near { text += "; shard \(index) takes \(peer.name) for \(standing)" }
      }
      text += "; shard \(index): disk \(state), under way: \(kinds.joined(separator: " "))"
    }
    return text
  }
}

/// What happened in a run, in numbers.
public struct SimulationCounts: Equatable, Sendable {
  public var events: UInt64 = 0
  public var simulatedNanoseconds: UInt64 = 0
  /// Operations that were answered with what they asked for.
  public var completed: UInt64 = 0
  /// By outcome.
  public var rejected: UInt64 = 0
  public var unknown: UInt64 = 0
  public var messages: UInt64 = 0
  public var syncs: UInt64 = 0
  /// Messages by which hints are handed over.
  public var handoffs: UInt64 = 0
  public var starts: UInt64 = 0
  /// Faults that happened.
  public var faults: UInt64 = 0

  public init() {}
}
