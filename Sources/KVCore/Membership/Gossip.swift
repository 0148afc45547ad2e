import KVModel

/// Who of the members lives: SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard's refinements (2017).
///
/// ```
///   every period:  A ── ping ──► B          no ack in time:  A ── ask ──► C, D, E ── ping ──► B
///                  A ◄── ack ─── B                           A ◄── ack or nack ─────┘
///
///   alive ──nobody reached it──► suspect ──not refuted in time──► dead
///     ▲                             │                               │
///     └──── the node itself, with a higher incarnation ─────────────┘
/// ```
///
/// News travels on these messages, so each member sends and gets the same number of messages a second however many
/// members there are. Now and then two exchange their whole tables. Nothing is concluded here about who owns what.
///
/// A node that reaches fewer than half of those it asks suspects, but declares nobody dead: the fault may be its own.
struct Gossip: Sendable {
  struct Probe: Equatable, Sendable {
    var node: NodeID
    var number: UInt32
    /// Asked to ping it too; empty while it was asked directly only.
    var helpers: [NodeID] = []
    var nacks = 0
    /// When others are to be asked; nil once they were.
    var askAt: Instant?
  }

  /// A ping for somebody else.
  struct Relay: Equatable, Sendable {
    var asker: NodeID
    var askerProbe: UInt32
    var target: NodeID
    var number: UInt32
    var due: Instant
  }

  /// A change of what is known of a member.
  enum Change: Equatable, Sendable {
    case state(NodeID, MemberEntry.State)
    case moved(NodeID)
    /// Whether it has another layout than this node.
    case layout(NodeID, differs: Bool)
  }

  static let period = Span64.milliseconds(200)
  /// A ping that is not answered by then goes through others.
  static let patience = Span64.milliseconds(80)
  static let helpersMax = 3
  static let relaysMax = 64
  /// Whole tables are exchanged about so often.
  static let exchangePeriod = Span64.seconds(10)
  /// Nobody is accused so soon after the start: links are only coming up.
  static let grace = Span64.seconds(3)

  var table = MemberTable()
  var me = NodeID(0)
  var cluster = ClusterID.none
  var layoutVersion: UInt32 = 0
  var layoutDigest: UInt64 = 0
  /// Whether there is a link; ascending by node, as the table.
  var linked: [Bool] = []
  var hasOtherLayout: [Bool] = []
  var random = PRNG(seed: 0)
  var counters = GossipCounters()
  /// What was found out in this step.
  var changes: [Change] = []

  var round = ProbeRound()
  var probe: Probe?
  var relays: [Relay] = []
  /// Ascending by node.
  var suspicions: [Suspicion] = []
  var rumours = RumourQueue()
  var health = LocalHealth()
  var memory = ProbeMemory()
  var lastNumber: UInt32 = 0
  var accusesFrom = Instant(nanoseconds: 0)
  var nextRound = Instant.distantFuture
  var nextExchange = Instant.distantFuture
  /// The wake-up that was asked for and has not come.
  private var wakeAt = Instant.distantFuture

  var isActive: Bool { nextRound != .distantFuture }

  // MARK: Start

  /// The members, by a layout that is in force. The first time everything begins.
  mutating func adopt(_ layout: Layout, as own: MemberEntry, _ now: Instant, _ effects: inout [Control.Effect]) {
    let before = zip(table.entries, linked).filter(\.1).map(\.0.node)
    me = own.node
    cluster = layout.cluster
    layoutVersion = layout.version
    layoutDigest = layout.digest
    table.adopt(layout.members)
    linked = table.entries.map { before.contains($0.node) }
    hasOtherLayout = table.entries.map { _ in false }
    suspicions.removeAll { table.place(of: $0.node) == nil }
    round.adopt(table.entries.map(\.node).filter { $0 != me })
    if !isActive, table.place(of: me) != nil { begin(as: own, now) }
    wake(&effects)
  }

  private mutating func begin(as own: MemberEntry, _ now: Instant) {
    lastNumber = UInt32(truncatingIfNeeded: random.next())
    accusesFrom = now.advanced(by: Gossip.grace)
    nextRound = now.advanced(by: Span64(nanoseconds: random.below(Gossip.period.nanoseconds)))
    nextExchange = now.advanced(by: Span64(nanoseconds: random.below(Gossip.exchangePeriod.nanoseconds)))
    table.merge(own)
    rumours.add(Rumour(own))
  }

  /// This node goes on as another start than before.
  mutating func renew(as own: MemberEntry) {
    guard isActive else { return }
    table.merge(own)
    rumours.add(Rumour(own))
  }

  /// This node's own entry.
  var own: MemberEntry {
    guard let entry = table[me] else { fatalError("gossip without an entry of node \(me)") }
    return entry
  }

  // MARK: Links

  mutating func onLink(_ node: NodeID, isUp: Bool) {
    guard isActive, let place = table.place(of: node), linked[place] != isUp else { return }
    linked[place] = isUp
    // Either way something happened to it.
    round.hasten(node)
  }

  func isLinked(_ node: NodeID) -> Bool { table.place(of: node).map { linked[$0] } ?? false }

  // MARK: Time

  mutating func onTimer(_ now: Instant, _ effects: inout [Control.Effect]) {
    guard isActive else { return }
    let late = now.since(earliest)
    if wakeAt <= now { wakeAt = .distantFuture }
    if late > Gossip.period { onLate(by: late, now) }
    if let askAt = probe?.askAt, askAt <= now { askOthers(&effects) }
    endRelays(now, &effects)
    if nextRound <= now { startRound(now, &effects) }
    decideSuspicions(now)
    if nextExchange <= now { exchange(now, &effects) }
    wake(&effects)
  }

  /// This process was stopped, or starved: what others said meanwhile may still be waiting to be read.
  private mutating func onLate(by span: Span64, _ now: Instant) {
    counters.late += 1
    health.onBadSign()
    probe = nil
    relays.removeAll()
    for place in suspicions.indices { suspicions[place].postpone(by: span) }
    nextRound = now.advanced(by: Gossip.period)
  }

  private var earliest: Instant {
    var first = min(nextRound, nextExchange)
    if let askAt = probe?.askAt { first = min(first, askAt) }
    for relay in relays { first = min(first, relay.due) }
    for suspicion in suspicions { first = min(first, suspicion.due) }
    return first
  }

  /// Asks for a wake-up, unless one comes early enough.
  mutating func wake(_ effects: inout [Control.Effect]) {
    guard isActive else { return }
    let first = earliest
    guard first < wakeAt else { return }
    wakeAt = first
    effects.append(.schedule(at: first))
  }

  // MARK: Sending

  /// What goes with the next message to a node. If more is known of it than that it lives, it hears that first, so that
  /// it can refute it.
  mutating func news(for node: NodeID) -> [Rumour] {
    var first: Rumour?
    if let known = table[node], known.state != .alive {
      first = Rumour(known, accuser: suspicion(of: node)?.accusers.first ?? NodeID(0))
    }
    return rumours.take(first: first, members: table.count)
  }

  mutating func send(
    _ content: GossipMessage.Content, probe: UInt32, to node: NodeID, _ effects: inout [Control.Effect]
  ) {
    counters.sent += 1
    let message = GossipMessage(
      cluster: cluster, layoutVersion: layoutVersion, layoutDigest: layoutDigest, probe: probe, sender: own,
      content: content)
    effects.append(.send(.gossip(message), to: node))
  }

  mutating func number() -> UInt32 {
    lastNumber &+= 1
    return lastNumber
  }

  func suspicion(of node: NodeID) -> Suspicion? { suspicions.first { $0.node == node } }
}

/// What gossip did and what it refused.
public struct GossipCounters: Equatable, Sendable {
  public var sent: UInt64 = 0
  public var received: UInt64 = 0
  /// Probes that nobody answered.
  public var failedProbes: UInt64 = 0
  /// Members that this node found suspect, and that it knew to be dead first or by others.
  public var suspected: UInt64 = 0
  public var died: UInt64 = 0
  /// Of what was said of this node itself.
  public var refuted: UInt64 = 0
  /// Its clockwork came later than a period.
  public var late: UInt64 = 0
  /// Refused, by why.
  public var refused: [Refused: UInt64] = [:]

  public enum Refused: String, CaseIterable, Sendable {
    case otherCluster = "other_cluster"
    /// It does not speak as the node that the link belongs to.
    case forgedSender = "forged_sender"
    case unknownMember = "unknown_member"
    /// A number too far ahead of what is known.
    case absurd
    /// More entries than there are members.
    case giantTable = "giant_table"
  }

  public init() {}

  mutating func refuse(_ reason: Refused) { refused[reason, default: 0] += 1 }
}
