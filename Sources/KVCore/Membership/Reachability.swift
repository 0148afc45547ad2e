import KVModel

/// What a shard knows of its peers from its links and its own requests. It routes around a peer that is silent within
/// a second; it never decides who is dead or who owns what.
///
/// ```
///   link up, answers      link up, asked and silent          link down, or known to be dead
///        near ───────────────►  slow (500 ms) ───────────────► away
///          ◄──────────── any answer ──────────◄── link up ─────┘
/// ```
///
/// What gossip says counts until the peer itself answers: a node that is wrongly taken for dead is away for one ping.
public struct Reachability: Equatable, Sendable {
  public enum Standing: Equatable, Sendable {
    case near
    case slow
    case away
  }

  struct Peer: Equatable, Sendable {
    var node: NodeID
    var isLinked = false
    /// Gossip says so, and nothing that it answered since says otherwise.
    var isDead = false
    /// Gossip said so last.
    var wasSaidDead = false
    /// Questions without an answer.
    var outstanding = 0
    /// Since when something was asked and nothing was answered.
    var silentSince: Instant?
    var lastHeard = Instant(nanoseconds: 0)
    var lastAsked = Instant(nanoseconds: 0)

    var isReachable: Bool { isLinked && !isDead }
  }

  /// Asked for so long without an answer to anything, a peer is slow.
  public static let slowAfter = Span64.milliseconds(500)

  /// Invariant: ascending by node.
  private var peers: [Peer] = []

  public init() {}

  /// Forgets who is no peer any more, and knows new ones as away until their link is up.
  mutating func adopt(_ nodes: [NodeID]) {
    peers = nodes.sorted().map { node in place(of: node).map { peers[$0] } ?? Peer(node: node) }
    lookForAll()
  }

  /// Of a node that is no peer: away.
  public func standing(of node: NodeID, at now: Instant) -> Standing {
    guard let place = place(of: node), peers[place].isReachable else { return .away }
    guard let silentSince = peers[place].silentSince else { return .near }
    return now.since(silentSince) >= Reachability.slowAfter ? .slow : .near
  }

  /// Whether nobody is away.
  private(set) var areAllLinked = false

  private mutating func lookForAll() { areAllLinked = peers.allSatisfy(\.isReachable) }

  /// There is a link, and it is not known to be dead.
  func isLinked(_ node: NodeID) -> Bool { place(of: node).map { peers[$0].isReachable } ?? false }

  /// Questions to a node that it has not answered yet.
  func outstanding(_ node: NodeID) -> Int { place(of: node).map { peers[$0].outstanding } ?? 0 }

  mutating func onAsked(_ node: NodeID, at now: Instant) {
    guard let place = place(of: node) else { return }
    peers[place].outstanding += 1
    peers[place].lastAsked = now
    if peers[place].silentSince == nil { peers[place].silentSince = now }
  }

  /// Something arrived from a peer. An answer settles one question, and shows that the peer hears and answers. A
  /// question of its own shows only that it speaks: what is sent to it may be lost all the same (HAZARDS.md row 50).
  ///
  /// True when it was taken for dead until now.
  @discardableResult
  mutating func onHeard(_ node: NodeID, isAnswer: Bool, at now: Instant) -> Bool {
    guard let place = place(of: node) else { return false }
    peers[place].lastHeard = now
    guard isAnswer else { return false }
    peers[place].outstanding = max(0, peers[place].outstanding - 1)
    peers[place].silentSince = nil
    guard peers[place].isDead else { return false }
    peers[place].isDead = false
    lookForAll()
    return true
  }

  /// Who is dead, as gossip has it. Answers the linked peers for which that changes something.
  mutating func onDead(_ nodes: [NodeID]) -> (lost: [NodeID], found: [NodeID]) {
    var (lost, found): ([NodeID], [NodeID]) = ([], [])
    for place in peers.indices {
      let isDead = nodes.contains(peers[place].node)
      if peers[place].wasSaidDead == isDead { continue }
      peers[place].wasSaidDead = isDead
      if peers[place].isLinked, peers[place].isDead != isDead {
        if isDead { lost.append(peers[place].node) } else { found.append(peers[place].node) }
      }
      peers[place].isDead = isDead
    }
    lookForAll()
    return (lost, found)
  }

  mutating func onLink(_ node: NodeID, isUp: Bool, at now: Instant) {
    guard let place = place(of: node) else { return }
    // Who has just shaken hands lives, whatever was said.
    let isDead = peers[place].isDead && !isUp
    peers[place] = Peer(
      node: node, isLinked: isUp, isDead: isDead, wasSaidDead: peers[place].wasSaidDead, lastHeard: now)
    lookForAll()
  }

  /// Questions that nobody will answer any more must not weigh for ever.
  mutating func onTick() {
    for place in peers.indices { peers[place].outstanding -= (peers[place].outstanding + 3) / 4 }
  }

  /// Linked peers that said nothing, or answered nothing, for `span`: to be pinged, so that silence is noticed while
  /// nobody asks, and so is its end. Not more than `most` at a time, those first whom nobody asked for longest: what a node
  /// sends must not grow with the cluster, and gossip watches everybody.
  func quiet(for span: Span64, at now: Instant, most: Int = .max) -> [NodeID] {
    let quiet = peers.filter { peer in
      let isUnanswered = peer.silentSince.map { now.since($0) >= span } ?? false
      return peer.isLinked && (isUnanswered || now.since(peer.lastHeard) >= span)
    }
    if quiet.count <= most { return quiet.map(\.node) }
    return quiet.sorted { ($0.lastAsked, $0.node) < ($1.lastAsked, $1.node) }.prefix(most).map(\.node)
  }

  private func place(of node: NodeID) -> Int? { peers.firstIndex { $0.node == node } }
}
