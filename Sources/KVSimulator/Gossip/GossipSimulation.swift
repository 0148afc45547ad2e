import KVCore
import KVModel

/// The `Control`s of a cluster and nothing else, to measure failure detection over hours: how soon everybody knows of a
/// killed process, whether anybody living is taken for dead, and how many messages that takes.
///
/// Messages are lost and late at random. A killed process says nothing: no reset tells its peers, as when a machine
/// loses power, unless `resets` is set.
public final class GossipSimulation {
  public struct Options: Equatable, Sendable {
    public var nodes = 5
    public var seed: UInt64 = 1
    /// Simulated seconds.
    public var seconds: UInt64 = 3_600
    /// Of ten thousand messages.
    public var loss: UInt64 = 100
    /// Mean of a message's delay, nanoseconds.
    public var delay: UInt64 = 500_000
    /// Processes that are killed, one after the other; each is started again once everybody knew.
    public var kills = 0
    /// Peers of a killed process see its connections end.
    public var resets = false

    public init() {}
  }

  public struct Report: Equatable, Sendable {
    /// Living members that some node declared dead: how often, over all nodes.
    public var falseDeaths = 0
    /// Living members that some node began to suspect.
    public var falseSuspicions = 0
    /// From each kill until the last node knew, nanoseconds.
    public var detections: [UInt64] = []
    /// From each start until the last node knew.
    public var returns: [UInt64] = []
    public var messages: UInt64 = 0
    public var bytes: UInt64 = 0
    public var events: UInt64 = 0
    public var simulatedNanoseconds: UInt64 = 0
    /// Most messages that one node sent in one second.
    public var busiestSecond: UInt64 = 0
  }

  private enum Event {
    case message(ControlMessage, from: Int, to: Int)
    case timer(Int, start: UInt32)
    case kill
    case start(Int)
  }

  private struct Node {
    var control = Control()
    var state: NodeState
    var starts: UInt32 = 0
    var runs = false
    var sentThisSecond: UInt64 = 0
  }

  private let options: Options
  private let layout: Layout
  private let placed: ClusterView.LiveLayout
  private var random: PRNG
  private var queue = EventQueue<Event>()
  private var time: UInt64 = 0
  private var nodes: [Node] = []
  private var second: UInt64 = 0
  /// Who was killed, when, and who knows it already.
  private var victim: (node: Int, at: UInt64, knownBy: Set<Int>)?
  private var returning: (node: Int, at: UInt64, knownBy: Set<Int>)?
  public private(set) var report = Report()

  public init(_ options: Options) {
    self.options = options
    var random = PRNG(seed: options.seed)
    let members = (0..<options.nodes).map { Simulation.member($0, NodeID(random.next() | 1)) }
    let settings = ClusterSettings(name: "gossip", partitionBits: 8, virtualNodes: 16, leafBits: 0)
    layout = Layout(cluster: ClusterID(random.next() | 1), version: 1, settings: settings, members: members)
    placed = ClusterView.LiveLayout(layout)
    self.random = random
    nodes = layout.members.map { member in
      var state = NodeState(id: member.id, shards: 1)
      state.layouts = [layout]
      return Node(state: state)
    }
  }

  /// Runs for the seconds that were asked for, or until the last kill is known and undone.
  public func run() {
    for place in nodes.indices { start(place) }
    if options.kills > 0 { queue.push(.kill, at: 15_000_000_000) }
    let end = options.seconds * 1_000_000_000
    while let (at, event) = queue.pop(), at <= end, !isDone {
      time = at
      if at / 1_000_000_000 != second { endSecond() }
      report.events += 1
      handle(event)
    }
    report.simulatedNanoseconds = time
  }

  private var isDone: Bool { options.kills > 0 && report.returns.count == options.kills }

  private func endSecond() {
    second = time / 1_000_000_000
    for place in nodes.indices {
      report.busiestSecond = max(report.busiestSecond, nodes[place].sentThisSecond)
      nodes[place].sentThisSecond = 0
    }
  }

  private func handle(_ event: Event) {
    switch event {
    case .message(let message, let from, let to):
      if nodes[to].runs { step(to, .message(message, from: layout.members[from].id)) }
    case .timer(let node, let start): if nodes[node].runs, nodes[node].starts == start { step(node, .timer) }
    case .kill: kill()
    case .start(let node):
      returning = (node, time, [])
      start(node)
    }
  }

  // MARK: Life and death

  private func start(_ place: Int) {
    nodes[place].starts += 1
    nodes[place].runs = true
    nodes[place].state = nodes[place].state.started(nonce: random.next())
    nodes[place].control = Control()
    var recovery = ControlRecovery(
      state: nodes[place].state, member: layout.members[place], settings: layout.settings, syncs: true,
      release: "simulated")
    recovery.placed = [placed]
    recovery.seed = random.next()
    step(place, .recovered(recovery))
    for peer in nodes.indices where peer != place && nodes[peer].runs {
      step(peer, .linkChanged(layout.members[place].id, isUp: false))
      step(peer, .linkChanged(layout.members[place].id, isUp: true))
      step(place, .linkChanged(layout.members[peer].id, isUp: true))
    }
  }

  private func kill() {
    let place = random.index(nodes.count)
    nodes[place].runs = false
    victim = (place, time, [])
    guard options.resets else { return }
    for peer in nodes.indices where nodes[peer].runs {
      step(peer, .linkChanged(layout.members[place].id, isUp: false))
    }
  }

  private func onMember(_ node: NodeID, _ state: MemberEntry.State, at place: Int) {
    guard let subject = layout.index(of: node) else { return }
    switch state {
    case .alive:
      guard returning?.node == subject else { return }
      returning?.knownBy.insert(place)
      endReturn()
    case .suspect: if nodes[subject].runs { report.falseSuspicions += 1 }
    case .dead:
      if nodes[subject].runs { report.falseDeaths += 1 }
      guard victim?.node == subject else { return }
      victim?.knownBy.insert(place)
      endKill()
    }
  }

  private func endKill() {
    guard let killed = victim, killed.knownBy.count == nodes.count - 1 else { return }
    victim = nil
    report.detections.append(time - killed.at)
    queue.push(.start(killed.node), at: time + 5_000_000_000)
  }

  private func endReturn() {
    guard let started = returning, started.knownBy.count == nodes.count - 1 else { return }
    returning = nil
    report.returns.append(time - started.at)
    if report.detections.count < options.kills {
      queue.push(.kill, at: time + 5_000_000_000 + random.below(1_000_000_000))
    }
  }

  // MARK: Steps

  private func step(_ place: Int, _ input: Control.Input) {
    var effects: [Control.Effect] = []
    let now = Now(instant: Instant(nanoseconds: time + 1_000_000_000), wall: WallTime(milliseconds: 1))
    nodes[place].control.step(input, at: now, into: &effects)
    for effect in effects {
      switch effect {
      case .send(let message, to: let peer): send(message, from: place, to: peer)
      case .schedule(at: let at):
        guard at != .distantFuture else { continue }
        let due = max(at.nanoseconds - 1_000_000_000, time + 1)
        queue.push(.timer(place, start: nodes[place].starts), at: due)
      case .persist(let state):
        nodes[place].state = state
        step(place, .persisted)
      case .note(.member(let node, name: _, let state)): onMember(node, state, at: place)
      case .respond, .publish, .liveness, .visit, .note, .exit: break
      }
    }
  }

  /// Only gossip is measured: the words about starts are exchanged at once.
  private func send(_ message: ControlMessage, from place: Int, to peer: NodeID) {
    guard let target = layout.index(of: peer) else { return }
    guard case .gossip = message else {
      if nodes[target].runs { step(target, .message(message, from: layout.members[place].id)) }
      return
    }
    report.messages += 1
    nodes[place].sentThisSecond += 1
    if report.messages % 64 == 0 { weigh(message) }
    if random.chance(options.loss, of: 10_000) { return }
    let delay = Exponential.draw(mean: options.delay, &random) + 50_000
    queue.push(.message(message, from: place, to: target), at: time + delay)
  }

  /// One in 64 stands for all.
  private func weigh(_ message: ControlMessage) {
    var bytes: [UInt8] = []
    message.encode(into: &bytes)
    report.bytes += UInt64(bytes.count + FrameHeader.bytes) * 64
  }
}
