import KVCore
import KVModel
import KVNet

// What a host says to its peers, and whom it takes for one.
extension ShardHost {
  var cluster: ClusterID { shard.view.current?.layout.cluster ?? .none }

  var peerOptions: ConnectionOptions { node.peerOptions }

  /// A link that the listener accepted.
  @discardableResult
  func onAccepted(peer descriptor: Int32, _ address: SocketAddress, _ place: Admission.Place) -> PeerLink? {
    let link = PeerLink(.acceptor, place: place, host: self)
    guard
      let connection = try? Connection.adopt(
        descriptor, peer: address, on: loop, options: peerOptions, account: links.account, handler: link)
    else {
      link.onNeverOpened()
      return nil
    }
    link.attach(connection)
    counters.peersAccepted += 1
    links.onAccepted(link)
    return link
  }

  /// A link that another loop accepted, and whose HELLO says that it belongs here.
  func onMoved(peer descriptor: Int32, _ address: SocketAddress, _ place: Admission.Place, _ hello: Hello) {
    onAccepted(peer: descriptor, address, place)?.welcome(hello)
  }

  /// The loop that a link belongs to, by its HELLO; nil when it is this one.
  func home(of hello: Hello) -> ShardHost? {
    let home = Int(hello.shard) % identity.shards
    return home == index ? nil : node.hosts[home]
  }

  func onLinkChanged(_ peer: NodeID, isUp: Bool) {
    step(.linkChanged(peer, isUp: isUp))
    if index == 0 { node.control.onLinkChanged(peer, isUp: isUp) }
  }

  /// A word of `Control`'s. Any thread calls this.
  func send(_ message: ControlMessage, to peer: NodeID) {
    loop.execute { [self] in links.send(message, to: peer) }
  }

  func onLinkRefused(_ peer: NodeID, _ refusal: Refusal) { node.control.onLinkRefused(peer, refusal) }

  func hello(to peer: NodeID) -> Hello {
    Hello(
      role: .peer, cluster: cluster, node: identity.node, expected: peer, generation: generation,
      shard: UInt16(index), shards: UInt16(identity.shards), clockMs: now.instant.milliseconds, agent: Release.agent)
  }

  var welcome: Welcome {
    Welcome(
      cluster: cluster, node: identity.node, generation: generation, shards: UInt16(identity.shards),
      layoutVersion: shard.view.layoutVersion, now: now, agent: Release.agent)
  }

  /// Why a peer's HELLO is not accepted; nil when it is.
  func refusal(of hello: Hello) -> Refusal? {
    guard hello.role == .peer else { return Refusal(.notHello, "this is the port for peers") }
    guard hello.speaksCurrentRevision else {
      return Refusal(.unknownRevision, "revision \(FrameHeader.currentRevision) is spoken here")
    }
    if hello.expected != identity.node {
      if cluster == .none { node.control.onMistaken(for: hello.expected, of: hello.cluster) }
      return Refusal(
        .otherNode,
        "node \(hello.expected) is expected here, but this is \(identity.node): its data directory is another one")
    }
    guard cluster != .none else { return Refusal(.notMember, "node \(identity.node) belongs to no cluster yet") }
    guard hello.cluster == cluster else {
      return Refusal(.otherCluster, "this node belongs to cluster \(cluster), the caller to \(hello.cluster)")
    }
    guard hello.node != identity.node else {
      return Refusal(.duplicateNode, "another process runs with this node's id \(identity.node)")
    }
    guard shard.view.peers.contains(where: { $0.id == hello.node }) else {
      return Refusal(.notMember, "node \(hello.node) is no member of layout \(shard.view.layoutVersion)")
    }
    return nil
  }
}
