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
    onAccepted(peer: descriptor, address, place)?.receive(hello)
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
    if hello.isVisit { return refusal(ofVisit: hello) }
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

  /// A node without a cluster is told of this one; one that has another is told so, and so is this node's double.
  private func refusal(ofVisit hello: Hello) -> Refusal? {
    if hello.cluster != .none, cluster != .none, hello.cluster != cluster {
      return Refusal(.otherCluster, "this node belongs to cluster \(cluster), the caller to \(hello.cluster)")
    }
    if hello.node == identity.node, hello.generation != generation {
      return Refusal(.duplicateNode, "this process runs with the same node id \(identity.node)")
    }
    return nil
  }

  /// While a process with the caller's id is linked and answers, the caller is a copy of it, or it was started before
  /// that one had ended. A copied data directory looks like a restart in everything else (HAZARDS.md row 34).
  func rivalry(of hello: Hello) -> Refusal? {
    guard let rival = links.rival(of: hello.node, hello.generation) else { return nil }
    return Refusal(
      .duplicateNode,
      "another process with node id \(hello.node) is connected to node \(identity.node) and answers: start "
        + "\(rival.number) of it, the caller is start \(hello.generation.number)")
  }

  /// What visitors are told.
  var visit: Visit? { shard.view.current.map { Visit(layout: $0.layout, members: liveness.members) } }
}

extension Hello {
  /// From a node that knows nobody yet.
  var isVisit: Bool { role == .peer && expected == NodeID(0) }
}
