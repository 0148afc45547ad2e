import KVCore
import KVModel

// Links between nodes, and frames on them. Every message passes through encode and decode.
extension Simulation {
  // MARK: Connections

  /// One attempt at a time for each pair.
  func planConnect(_ a: Int, _ b: Int, soon: Bool = false) {
    guard !network[pair: a, b].isConnecting else { return }
    network[pair: a, b].isConnecting = true
    let mean: UInt64 = soon ? 2_000_000 : 200_000_000
    queue.push(.connect(min(a, b), max(a, b)), at: time + Exponential.draw(mean: mean, &networkDraws) + 100_000)
  }

  func onConnect(_ a: Int, _ b: Int) {
    network[pair: a, b].isConnecting = false
    let (one, other) = (nodes[a], nodes[b])
    if one.condition == .stopped || other.condition == .stopped { return }
    let stands = network[pair: a, b].connection != 0
    if stands, network[pair: a, b].incarnations == (one.incarnation, other.incarnation) { return }
    // Nobody answers a stopped process, and nobody lets a stranger in.
    guard one.condition == .running, other.condition == .running, network.isOpen(a, b), knows(one, other) else {
      return planConnect(a, b)
    }
    // A process that has started again replaces the connection that the one before it left behind.
    if stands { disconnect(a, b) }
    network[pair: a, b].last += 1
    network[pair: a, b].incarnations = (one.incarnation, other.incarnation)
    let connection = network[pair: a, b].last
    network[pair: a, b].connection = connection
    tell(one, of: other, connection, isUp: true)
    tell(other, of: one, connection, isUp: true)
  }

  /// Both are members of the other's layout.
  private func knows(_ one: SimulatedNode, _ other: SimulatedNode) -> Bool {
    func lists(_ node: SimulatedNode, _ peer: SimulatedNode) -> Bool {
      node.shards[0].view.peers.contains { $0.id == peer.id }
    }
    return lists(one, other) && lists(other, one)
  }

  private func tell(_ node: SimulatedNode, of peer: SimulatedNode, _ connection: UInt32, isUp: Bool) {
    guard node.isUp else { return }
    let notice = LinkNotice(
      peer: peer.index, connection: connection, isUp: isUp, peerIncarnation: peer.incarnation,
      clockMs: now(peer).instant.milliseconds)
    let delay = Exponential.draw(mean: options.network.delay, &networkDraws) + 10_000
    queue.push(.linkNotice(node: node.index, incarnation: node.incarnation, notice), at: time + delay)
  }

  func onLinkNotice(_ node: SimulatedNode, _ notice: LinkNotice) {
    trace.mix(time, UInt64(node.index) << 40 | UInt64(notice.peer) << 32 | UInt64(notice.connection))
    let link = node.links[notice.peer]
    if notice.isUp {
      if notice.connection <= link.endedConnection || link.isUp && notice.connection <= link.connection { return }
      // As in a real node, a new connection ends the one before it.
      if link.isUp { change(node, linkTo: notice.peer, isUp: false) }
      node.links[notice.peer].connection = notice.connection
      node.links[notice.peer].peerIncarnation = notice.peerIncarnation
      node.links[notice.peer].peerClock = PeerClock()
      node.links[notice.peer].peerClock.observe(notice.clockMs, at: now(node).instant.milliseconds)
    } else {
      node.links[notice.peer].endedConnection = max(link.endedConnection, notice.connection)
      if link.connection != notice.connection { return }
    }
    change(node, linkTo: notice.peer, isUp: notice.isUp)
  }

  private func change(_ node: SimulatedNode, linkTo peer: Int, isUp: Bool) {
    if node.links[peer].isUp == isUp { return }
    node.links[peer].isUp = isUp
    trace.line(time) { "\(node.name) link to \(nodes[peer].name) \(isUp ? "up" : "down")" }
    stepControl(node, .linkChanged(nodes[peer].id, isUp: isUp))
    for shard in node.shards.indices where node.isUp { turn(node, shard, .linkChanged(nodes[peer].id, isUp: isUp)) }
  }

  /// The connection ends: each end is told, if it still lives, and they try again.
  private func disconnect(_ a: Int, _ b: Int) {
    let connection = network[pair: a, b].connection
    if connection == 0 { return }
    network[pair: a, b].connection = 0
    tell(nodes[a], of: nodes[b], connection, isUp: false)
    tell(nodes[b], of: nodes[a], connection, isUp: false)
    planConnect(a, b)
  }

  /// A process is gone. Its peer hears of it at once when the way is open, and by its silence otherwise.
  func onProcessGone(_ node: Int, _ peer: Int) {
    if network[node, peer].cuts == 0 { return disconnect(node, peer) }
    planDetection(node, peer)
  }

  func cut(_ from: Int, _ to: Int) {
    network[from, to].cuts += 1
    planDetection(from, to)
  }

  /// Both ends will notice by the silence, unless it ends before.
  private func planDetection(_ a: Int, _ b: Int) {
    let connection = network[pair: a, b].connection
    if connection != 0 { queue.push(.detect(a, b, connection: connection), at: time + options.network.detection) }
  }

  func mend(_ from: Int, _ to: Int) { network[from, to].cuts = max(0, network[from, to].cuts - 1) }

  /// Nothing went through for so long: both ends give the connection up, unless the way has opened again.
  func onDetect(_ a: Int, _ b: Int, connection: UInt32) {
    guard network[pair: a, b].connection == connection else { return }
    let isGone = network[pair: a, b].incarnations != (nodes[min(a, b)].incarnation, nodes[max(a, b)].incarnation)
    if isGone || nodes[a].condition == .stopped || nodes[b].condition == .stopped || !network.isOpen(a, b) {
      disconnect(a, b)
    }
  }

  // MARK: Sending

  func send(
    _ message: PeerMessage, _ envelope: Shard.Envelope, from node: SimulatedNode, _ shard: Int, to peer: NodeID
  ) {
    guard let target = linked(node, peer) else { return }
    let view = node.shards[shard].view
    var header = FrameHeader(
      type: message.frameType, requestID: envelope.operation, layoutVersion: view.layoutVersion)
    if envelope.deadline != .distantFuture {
      header.deadlineMs = node.links[target].peerClock.reading(of: envelope.deadline.milliseconds)
    }
    if let key = message.key, let partition = view.partition(of: key) { header.partition = partition }
    var bytes: [UInt8] = []
    header.appendFrame(to: &bytes) { message.encode(into: &$0) }
    trace.line(time) { "\(node.name) → \(nodes[target].name) \(message.brief)\(of(envelope.operation))" }
    if case .handoff = message { counts.handoffs += 1 }
    switch message {
    case .tree(.compare), .tree(.roots): node.chatter.comparisons += 1
    default: break
    }
    if case .replicaWriteReply(.stored) = message { noteStored(node, target, envelope.operation) }
    transmit(bytes, from: node, shard, to: target)
  }

  /// The operation that a message belongs to, so that question and reply find each other in the trace.
  private func of(_ operation: UInt64) -> String { " [\(String(operation & 0xffff_ffff, radix: 36))]" }

  /// A word of `Control`'s.
  func send(_ message: ControlMessage, from node: SimulatedNode, to peer: NodeID) {
    guard let target = linked(node, peer) else { return }
    var bytes: [UInt8] = []
    FrameHeader(type: message.frameType, requestID: 0).appendFrame(to: &bytes) { message.encode(into: &$0) }
    trace.line(time) { "\(node.name) → \(nodes[target].name) \(message.brief)" }
    var isGossip = false
    if case .gossip = message {
      isGossip = true
      node.chatter.gossip += 1
    }
    transmit(bytes, from: node, 0, to: target, isGossip: isGossip)
  }

  private func linked(_ node: SimulatedNode, _ peer: NodeID) -> Int? {
    nodes.firstIndex { $0.id == peer }.flatMap { node.links[$0].isUp ? $0 : nil }
  }

  private func transmit(
    _ bytes: [UInt8], from node: SimulatedNode, _ shard: Int, to target: Int, isGossip: Bool = false
  ) {
    // Draws of its own, so that gossip does not shift what befalls the others.
    if isGossip { swap(&networkDraws, &gossipDraws) }
    defer { if isGossip { swap(&networkDraws, &gossipDraws) } }
    let frame = PeerFrame(
      from: node.index, to: target, incarnation: node.links[target].peerIncarnation,
      connection: node.links[target].connection, shard: shard, bytes: bytes)
    dispatch(frame)
    if options.network.duplication > 0, phase == .faulty,
      networkDraws.chance(options.network.duplication, of: 10_000)
    {
      dispatch(frame)
    }
  }

  private func dispatch(_ frame: PeerFrame) {
    counts.messages += 1
    let settings = options.network
    if network[frame.from, frame.to].cuts > 0 { return }
    if network[frame.from, frame.to].clogs > 0 { return network[frame.from, frame.to].held.append(frame) }
    var delay = Exponential.draw(mean: phase == .faulty ? settings.delay : 100_000, &networkDraws) + 10_000
    if phase == .faulty {
      if settings.loss > 0, networkDraws.chance(settings.loss, of: 10_000) { return }
      if settings.clogged > 0, networkDraws.chance(settings.clogged, of: 10_000) {
        delay += Exponential.draw(mean: settings.clogDelay, &networkDraws)
      }
    }
    if phase == .faulty { lastFaultyArrival = max(lastFaultyArrival, time + delay) }
    queue.push(.peerFrame(frame), at: time + delay)
  }

  /// What a clogged way held goes on, in random order.
  func release(from: Int, to: Int) {
    network[from, to].clogs = max(0, network[from, to].clogs - 1)
    guard network[from, to].clogs == 0 else { return }
    let held = network[from, to].held
    network[from, to].held = []
    for frame in held {
      queue.push(.peerFrame(frame), at: time + Exponential.draw(mean: 5_000_000, &networkDraws) + 10_000)
    }
  }

  // MARK: Receiving

  func onPeerFrame(_ frame: PeerFrame) {
    guard let node = running(frame.to, frame.incarnation, .peerFrame(frame)) else {
      trace.line(time) { "a frame from \(nodes[frame.from].name) does not reach \(nodes[frame.to].name)" }
      return
    }
    if network[frame.from, frame.to].cuts > 0 { return }
    greet(node, before: frame)
    frame.bytes.withUnsafeBytes { bytes in
      guard case .frame(let header, let body, _) = FrameScan.next(in: bytes, bodyBytesMax: Limits.recordBytesMax) else {
        return fail(Violation(.bounded, "what \(nodes[frame.from].name) sent is no frame"))
      }
      if let word = try? ControlMessage(header.type, body) {
        trace.mix(time, header.checksum)
        return stepControl(node, .message(word, from: nodes[frame.from].id))
      }
      guard let message = try? PeerMessage(header.type, body) else {
        return fail(Violation(.bounded, "a frame that \(nodes[frame.from].name) sent cannot be decoded"))
      }
      trace.mix(time, header.checksum)
      receive(message, header, from: frame, at: node)
    }
  }

  /// The handshake is the first thing that comes over a connection: no frame is heard before it.
  private func greet(_ node: SimulatedNode, before frame: PeerFrame) {
    let sender = nodes[frame.from]
    guard node.links[frame.from].connection < frame.connection,
      network[pair: frame.from, frame.to].connection == frame.connection
    else { return }
    let notice = LinkNotice(
      peer: frame.from, connection: frame.connection, isUp: true, peerIncarnation: sender.incarnation,
      clockMs: now(sender).instant.milliseconds)
    onLinkNotice(node, notice)
  }

  private func receive(_ message: PeerMessage, _ header: FrameHeader, from frame: PeerFrame, at node: SimulatedNode) {
    let sender = nodes[frame.from]
    switch message {
    case .ping(let clockMs), .pong(let clockMs):
      node.links[frame.from].peerClock.observe(clockMs, at: now(node).instant.milliseconds)
    case .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply, .forwarded, .forwardedReply,
      .requestCheck, .requestCheckReply, .tree, .handoff:
      break
    }
    let deadline =
      header.deadlineMs == 0 ? Instant.distantFuture : Instant(nanoseconds: header.deadlineMs &* 1_000_000)
    let count = node.shards.count
    let target = message.shard(of: count, operation: header.requestID, in: node.shards[0].view)
    let shard = target ?? frame.shard % count
    guard shard < node.shards.count else { return }
    noteOffered(message, header.requestID, from: frame.from, node, shard)
    turn(
      node, shard,
      .message(message, from: sender.id, Shard.Envelope(operation: header.requestID, deadline: deadline)))
  }

  /// Remembers the stamp of a peer's fresh version until it is known whether it was let in.
  private func noteOffered(
    _ message: PeerMessage, _ operation: UInt64, from peer: Int, _ node: SimulatedNode, _ shard: Int
  ) {
    guard case .replicaWrite(let write) = message, case .write(let minted) = write.purpose,
      let record = try? write.record.decoded(),
      let version = record.versions.first(where: { $0.dot == minted })
    else { return }
    // What lies further ahead than a node may lead, its clock forgets when it mints.
    let kept = min(version.stamp, HybridClock.ceiling(at: now(node).wall))
    node.offered[SimulatedNode.Offer(peer: peer, operation: operation)] = (kept, shard)
  }

  /// The shard has let a peer's fresh version in: its clock may not fall behind that from now on.
  private func noteStored(_ node: SimulatedNode, _ peer: Int, _ operation: UInt64) {
    let offer = SimulatedNode.Offer(peer: peer, operation: operation)
    guard let (stamp, shard) = node.offered.removeValue(forKey: offer) else { return }
    node.acceptedStamp[shard] = max(node.acceptedStamp[shard], stamp)
  }
}

extension ControlMessage {
  /// For the trace.
  var brief: String {
    switch self {
    case .claim(let claim): "claims generation \(claim.generation.number)\(claim.isConfirmed ? ", confirmed" : "")"
    case .verdict(.accepted, _): "accepts it"
    case .verdict(.refused(let known), _): "knows generation \(known.number)"
    case .verdict(.cannotTell, _): "cannot tell"
    case .gossip(let message): message.brief
    case .visit, .visited: "visits"
    }
  }
}

extension GossipMessage {
  /// For the trace.
  fileprivate var brief: String {
    func told(_ rumours: [Rumour]) -> String {
      rumours.map { ", \($0.entry.name) \($0.entry.state) \($0.entry.generation)/\($0.entry.incarnation)" }.joined()
    }
    return switch content {
    case .ping(let rumours): "gossip ping \(probe)\(told(rumours))"
    case .ack(let rumours): "gossip ack \(probe)\(told(rumours))"
    case .ask(let node, let rumours): "gossip ask \(probe) for \(node)\(told(rumours))"
    case .nack(let rumours): "gossip nack \(probe)\(told(rumours))"
    case .push(let entries): "gossip pushes \(entries.count) entries"
    case .pull(let entries): "gossip pulls \(entries.count) entries"
    }
  }
}

extension PeerMessage {
  /// For the trace.
  var brief: String {
    switch self {
    case .replicaRead(let key, _): "read \(key.text)"
    case .replicaReadReply(.record(let record)): "has \(record.bytes.count) bytes"
    case .replicaReadReply(.digest): "has a digest"
    case .replicaReadReply(.unreadable): "cannot read"
    case .replicaReadReply(.incomplete(let record)): "has \(record.bytes.count) bytes, and may lack some"
    case .replicaWrite(let write):
      switch write.purpose {
      case .write(let minted): "write \(write.key.text) \(minted)"
      case .repair: "repair \(write.key.text)"
      }
    case .replicaWriteReply(.stored(let beside)): beside == nil ? "stored" : "stored beside others"
    case .replicaWriteReply(.contested): "contested"
    case .replicaWriteReply(.refused(let failure)): "refused: \(failure.code)"
    case .forwarded(let request): "forwards \(request.frameType)"
    case .forwardedReply(let response): "answers \(response.frameType)"
    case .requestCheck(_, let key): "is it known of \(key.text)"
    case .requestCheckReply(let reply): "\(reply)"
    case .tree(.compare(let partition, let digests, _)): "compares \(digests.count) nodes of partition \(partition)"
    case .tree(.differing(let places, _)): "differs in \(places.count)"
    case .tree(.list(let partition, let leaf, _, _, _)): "list leaf \(leaf) of partition \(partition)"
    case .tree(.listed(let page, _)): "lists \(page.entries.count) keys"
    case .tree(.declined): "declines"
    case .tree(.roots(let roots, _)): "roots of \(roots.count) partitions from \(roots.first?.partition.index ?? 0)"
    case .tree(.askGaps(let partition, _)): "what is missing of partition \(partition)"
    case .tree(.gaps(let gaps, _)): gaps.isWhole ? "anything may be missing" : "\(gaps.keys.count) keys are missing"
    case .handoff(.offer(let offer, _)):
      "offers \(offer.entries.map(\.key.text).joined(separator: " ")) of partition \(offer.partition)"
    case .handoff(.wanted(let places, let credit, _)): "wants \(places.count), and then waits \(credit.pauseMs) ms"
    case .handoff(.declined(let reason, _, _)): "declines: \(reason)"
    case .ping: "ping"
    case .pong: "pong"
    }
  }
}
