import KVCore
import KVModel
import KVNet

/// A host's links: one to each peer, kept up. Confined to the host's loop.
///
/// Of two nodes the one with the lower id dials. The other one does so when it starts, since the lower one may be
/// waiting for its next attempt, and when nobody has dialled it for three seconds (the lower one's data directory may be
/// new). Whichever link was established last is the one in use. When both dial at the same moment, both links stay for
/// a while, so that nothing under way is lost; the one that the lower id dialled is written to, the other one ends.
///
/// A peer with more shards than this node has several links to one loop, told apart by the index in their HELLO.
final class PeerLinks {
  private struct Peer {
    var member: Member
    /// In use; for each index of a HELLO one, or two that crossed, the one to write to first.
    var links: [PeerLink] = []
    /// Being dialled.
    var dialling: PeerLink?
    var backoff = Backoff(baseMilliseconds: 100, maxMilliseconds: 2_000)
    /// When to dial next.
    var dialAt: Instant
  }

  private unowned let host: ShardHost
  /// What the links of this host hold together.
  let account = ByteAccount()
  /// Ascending by node id.
  private var peers: [Peer] = []
  /// Accepted, and their HELLO not checked yet; given up at the time beside them.
  private var greeting: [(link: PeerLink, until: Instant)] = []

  private static let patience = Span64.seconds(3)
  /// Peers ping each other four times a second when they have nothing to say. A link that was silent for so long is
  /// dead, even if something on the way still acknowledges its bytes.
  private static let silence = Span64.seconds(10)
  /// The last tick, so that a pause of this process is not taken for silence of the others.
  private var tickedAt = Instant(nanoseconds: 0)

  init(host: ShardHost) { self.host = host }

  // MARK: Members

  /// Keeps links to exactly these peers.
  func adopt(_ members: [Member]) {
    let isFirst = peers.isEmpty
    let gone = peers.filter { peer in !members.contains { $0.id == peer.member.id } }
    peers = members.sorted { $0.id < $1.id }.map { member in
      guard var peer = peers.first(where: { $0.member.id == member.id }) else {
        return Peer(member: member, dialAt: isFirst ? host.now.instant : firstDial(member))
      }
      // Where it is now is tried at once.
      if peer.member.peerAddress != member.peerAddress { peer.dialAt = host.now.instant }
      peer.member = member
      return peer
    }
    for peer in gone { hangUp(peer) }
    dialDue()
  }

  private func firstDial(_ member: Member) -> Instant {
    let now = host.now.instant
    return host.identity.node < member.id ? now : now.advanced(by: PeerLinks.patience)
  }

  // MARK: Dialling

  /// Dials whom it is time to dial. Called by the host's clockwork.
  func dialDue() {
    let now = host.now.instant
    for index in peers.indices
    where peers[index].links.isEmpty && peers[index].dialling == nil && peers[index].dialAt <= now {
      dial(index)
    }
  }

  private func dial(_ index: Int) {
    let member = peers[index].member
    let link = PeerLink(.dialler(member.id), host: host)
    peers[index].dialling = link
    peers[index].dialAt = host.now.instant.advanced(by: PeerLinks.patience)
    SocketAddress.resolve(host: member.peerAddress.host, port: member.peerAddress.port, on: host.loop) {
      [confined = LoopConfined((self, link))] result in
      confined.value.0.onResolved(result, confined.value.1)
    }
  }

  private func onResolved(_ result: Result<[SocketAddress], ResolveError>, _ link: PeerLink) {
    guard let index = place(dialling: link) else { return }
    guard case .success(let addresses) = result, let address = addresses.first else { return onDialFailed(index) }
    link.attach(
      Connection.connect(to: address, on: host.loop, options: host.peerOptions, account: account, handler: link))
  }

  private func onDialFailed(_ index: Int) {
    peers[index].dialling = nil
    let delay = peers[index].backoff.nextMilliseconds(random: host.nextRandom())
    peers[index].dialAt = host.now.instant.advanced(by: .milliseconds(delay))
  }

  /// A handshake that does not end is given up.
  func onTick() {
    let now = host.now.instant
    for index in peers.indices where peers[index].dialling != nil && peers[index].dialAt <= now {
      peers[index].dialling?.giveUp()
    }
    endCrossed(now)
    if now.since(tickedAt) < PeerLinks.patience { endSilent(now) }
    tickedAt = now
    for entry in greeting where entry.until <= now { entry.link.giveUp() }
    dialDue()
  }

  private func place(dialling link: PeerLink) -> Int? { peers.firstIndex { $0.dialling === link } }

  // MARK: Links that come and go

  func onAccepted(_ link: PeerLink) {
    greeting.append((link, host.now.instant.advanced(by: PeerLinks.patience)))
  }

  /// The link went to another loop.
  func onMoved(_ link: PeerLink) { greeting.removeAll { $0.link === link } }

  func onEstablished(_ link: PeerLink, _ node: NodeID) {
    greeting.removeAll { $0.link === link }
    guard let index = peers.firstIndex(where: { $0.member.id == node }) else { return link.close() }
    peers[index].backoff.reset()
    if peers[index].dialling === link { peers[index].dialling = nil }
    for old in peers[index].links where old.index == link.index && !hasCrossed(old, link) { old.close() }
    let isMineToDial = host.identity.node < node
    peers[index].links.insert(link, at: link.isDialled == isMineToDial ? 0 : peers[index].links.count)
    if peers[index].links.count == 1 { host.onLinkChanged(node, isUp: true) }
  }

  /// Whether both sides dialled at the same time.
  private func hasCrossed(_ old: PeerLink, _ new: PeerLink) -> Bool {
    host.now.instant.since(old.establishedAt) < PeerLinks.patience && old.isDialled != new.isDialled
  }

  /// Of two links that crossed, the one that is not written to ends when nothing can be under way on it any more.
  private func endCrossed(_ now: Instant) {
    for peer in peers where peer.links.count > 1 {
      for (place, link) in peer.links.enumerated()
      where peer.links[..<place].contains(where: { $0.index == link.index })
        && now.since(link.establishedAt) >= PeerLinks.patience
      { link.close() }
    }
  }

  private func endSilent(_ now: Instant) {
    for peer in peers {
      for link in peer.links where now.since(link.lastHeard) >= PeerLinks.silence {
        host.note(silentLinkOf: peer.member)
        link.giveUp()
      }
    }
  }

  func onRefused(_ link: PeerLink, _ refusal: Refusal) {
    guard let index = place(dialling: link) else { return }
    host.onLinkRefused(peers[index].member.id, refusal)
  }

  /// A link ends: nothing is sent on it any more, nothing that comes on it is heard.
  func onEnding(_ link: PeerLink) {
    greeting.removeAll { $0.link === link }
    if let index = place(dialling: link) { return onDialFailed(index) }
    guard let index = peers.firstIndex(where: { $0.links.contains { $0 === link } }) else { return }
    peers[index].links.removeAll { $0 === link }
    guard peers[index].links.isEmpty else { return }
    peers[index].dialAt = firstDial(peers[index].member)
    host.onLinkChanged(peers[index].member.id, isUp: false)
  }

  /// The start of a process that has the id `node`, is linked and answers, and is not the one of `generation`.
  func rival(of node: NodeID, _ generation: Generation) -> Generation? {
    let now = host.now.instant
    return peers.first { $0.member.id == node }?.links.first { link in
      link.generation.map { $0.nonce != generation.nonce } ?? false
        && now.since(link.lastHeard) < PeerLinks.patience
    }?.generation
  }

  /// Links that are up.
  var count: Int { peers.reduce(0) { $0 + $1.links.count } }

  // MARK: Messages

  func send(_ message: PeerMessage, to node: NodeID, _ envelope: Shard.Envelope) {
    guard let peer = peers.first(where: { $0.member.id == node }) else { return }
    // An answer goes to the loop that asked, when there is a link to it.
    let index = message.isAnswer ? OperationID(raw: envelope.operation).shard : host.index
    (peer.links.first { $0.index == UInt16(index) } ?? peer.links.first)?.send(message, envelope)
  }

  /// From `Control` to `Control`.
  func send(_ message: ControlMessage, to node: NodeID) {
    peers.first { $0.member.id == node }?.links.first?.send(message)
  }

  private func hangUp(_ peer: Peer) {
    for link in peer.links { link.close() }
    peer.dialling?.close()
  }

  /// The last call: nobody is dialled any more.
  func closeAll() {
    let all = peers
    peers = []
    for peer in all { hangUp(peer) }
    for entry in greeting { entry.link.close() }
  }
}

/// Carries a value that only its loop touches through a closure that another thread hands to that loop.
struct LoopConfined<Value>: @unchecked Sendable {
  let value: Value

  init(_ value: Value) { self.value = value }
}
