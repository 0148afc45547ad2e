import KVModel

/// The part of a node that is not about keys: which cluster it belongs to, by which layout it lives, what it knows of
/// its peers, and how it stops. One a node; shards get its `ClusterView`s.
public struct Control: Sendable {
  struct Peer: Equatable, Sendable {
    var member: Member
    /// By the link and the answers over it.
    var health = NodeDescription.Peer.Health.unreachable
    var since: Instant
    /// By gossip.
    var state = MemberEntry.State.alive
    var stateSince: Instant

    init(member: Member, since: Instant) {
      self.member = member
      self.since = since
      stateSince = since
    }
  }

  var state = NodeState(id: NodeID(0), shards: 1)
  var member: Member
  var settings = ClusterSettings()
  var syncs = true
  var release = ""
  /// Ascending by node id.
  var peers: [Peer] = []
  /// Layouts with their preference lists, as last published.
  var placed: [ClusterView.LiveLayout] = []
  var reservation: (cluster: ClusterID, until: Instant)?
  /// Whoever waits for the layout that is being persisted.
  var forming: [ClientRef] = []
  var mistaken: (node: NodeID, cluster: ClusterID)?
  var measurements = NodeDescription.Measurements()
  var disk = DiskWatch()
  /// Synced: dots may be minted in it. 0 until it rises while the process runs.
  var epoch: UInt32 = 0
  var isDraining = false
  /// What follows once each state that was handed over to be persisted is synced, oldest first.
  var pending: [AfterPersist] = []
  /// Peers that have accepted this start.
  var acceptedBy: Set<NodeID> = []
  /// The claim of this start may be said: it is synced that peers may have heard of it.
  var isClaimSynced = false
  /// A peer has said that another process runs with this node's id.
  var isDuplicate = false
  /// While this node is overtaken: what the linked peers know of a later start, nil when nothing.
  var witnesses: [NodeID: Generation?] = [:]
  /// Peers that could not tell whether this start is the latest one.
  var doubters: Set<NodeID> = []
  /// Peers that have accepted this start, and are told of it once more since they have started again.
  var retold: Set<NodeID> = []
  /// Since when no rival has been heard of.
  var silentSince: Instant?
  var rivalSilence = Starts.rivalSilence
  var gossip = Gossip()
  var seeds: [Address] = []
  /// What the seeds have told a node that belongs to no cluster.
  var learnt: Visit?
  /// Some seed has answered, and was not this node.
  var hasMetSeed = false
  var seedFaults: [Address: SeedFault] = [:]
  var nextVisit = Instant(nanoseconds: 0)
  /// When the claim is said again.
  var nextClaim: Instant?

  enum AfterPersist: Equatable, Sendable {
    case nothing
    case formed
    case claimed
    case judged(NodeID, GenerationVerdict, nonce: UInt64)
    case overtaken
    case begunAnew(epoch: UInt32)
    case renewed(epoch: UInt32)
    case exit
  }

  /// How long `reserveCluster` holds a node.
  public static let reservationSpan = Span64.seconds(10)

  /// A machine that knows nothing yet: `recovered` comes first.
  public init() {
    let nowhere = Address(host: "", port: 0)
    member = Member(id: NodeID(0), name: "", clientAddress: nowhere, peerAddress: nowhere, zone: "", host: "")
  }

  /// Turns an input into effects. Same state, same input, same `now`: same effects.
  public mutating func step(_ input: Input, at now: Now, into effects: inout [Effect]) {
    switch input {
    case .recovered(let recovery): onRecovered(recovery, now, &effects)
    case .request(let request, from: let client): onRequest(request, client, now, &effects)
    case .persisted: onPersisted(now, &effects)
    case .message(let message, from: let node): onMessage(message, from: node, now, &effects)
    case .visited(let visit, from: let node, at: let seed): onVisited(visit, node, seed, now, &effects)
    case .visitRefused(let refusal, at: let seed): onVisitRefused(refusal, seed, &effects)
    case .timer: onTimer(now, &effects)
    case .linkChanged(let node, let isUp): onLinkChanged(node, isUp, now, &effects)
    case .linkRefused(let node, let refusal): onLinkRefused(node, refusal, now, &effects)
    case .mistaken(for: let node, of: let cluster): onMistaken(node, cluster, &effects)
    case .measured(let measurements, slow: let slow): onMeasured(measurements, slow, now, &effects)
    case .shardsOpened: onShardsOpened(&effects)
    case .renewEpoch(after: let epoch): onRenewEpoch(after: epoch, &effects)
    case .wentBack(let node): onWentBack(node, now, &effects)
    case .drain: isDraining = true
    case .drained: onDrained(&effects)
    }
    followGossip(now, &effects)
  }

  // MARK: Start and stop

  private mutating func onRecovered(_ recovery: ControlRecovery, _ now: Now, _ effects: inout [Effect]) {
    state = recovery.state
    member = recovery.member
    settings = recovery.settings
    syncs = recovery.syncs
    release = recovery.release
    disk.limitPercent = recovery.diskLimitPercent
    placed = recovery.placed
    seeds = recovery.seeds
    rivalSilence = recovery.rivalSilence
    gossip.random = PRNG(seed: recovery.seed)
    if let layout = state.layouts.last, layout.settings != settings {
      effects.append(.note(.settingsDiffer(configured: settings, layout: layout.settings)))
    }
    publish(now, &effects)
    // A member's links have a moment to come up first.
    if !state.layouts.isEmpty { nextVisit = now.instant.advanced(by: Gossip.grace) }
    if !seeds.isEmpty { effects.append(.schedule(at: nextVisit)) }
    visitSeeds(now, &effects)
  }

  private mutating func onShardsOpened(_ effects: inout [Effect]) {
    if state.hasShards { return }
    state.hasShards = true
    persist(then: .nothing, &effects)
  }

  /// A shard has lost dots that were minted in an epoch: from now on all shards mint in another one.
  private mutating func onRenewEpoch(after epoch: UInt32, _ effects: inout [Effect]) {
    guard epoch == state.epoch, let next = state.nextEpoch else { return }
    state.epoch = next
    persist(then: .renewed(epoch: next), &effects)
  }

  /// Only when nothing is under way any more is the stop a clean one.
  private mutating func onDrained(_ effects: inout [Effect]) {
    state.stoppedCleanly = true
    persist(then: .exit, &effects)
  }

  // MARK: Requests

  private mutating func onRequest(
    _ request: ClientRequest, _ client: ClientRef, _ now: Now, _ effects: inout [Effect]
  ) {
    switch request {
    case .describe: effects.append(.respond(.described(describe(now)), to: client))
    case .fetchLayout: effects.append(.respond(layoutResponse, to: client))
    case .reserveCluster(let cluster): onReserve(cluster, client, now, &effects)
    case .formCluster(let layout, let secret): onForm(layout, secret, client, now, &effects)
    case .get, .write, .explain, .repair: invariant(false, "Control was asked about a key or a shard")
    }
  }

  private var layoutResponse: ClientResponse {
    guard let layout = state.layouts.last, forming.isEmpty else {
      return learnt.map { .layout($0.layout, live($0.layout).table) } ?? .failed(.notInCluster)
    }
    // Clients connect to where the members are now.
    let members = Liveness(members: gossip.table.entries).located(layout.members)
    let located = Layout(
      cluster: layout.cluster, version: layout.version, settings: layout.settings, members: members)
    return .layout(located, live(layout).table)
  }

  // MARK: What is synced

  mutating func persist(then action: AfterPersist, _ effects: inout [Effect]) {
    pending.append(action)
    effects.append(.persist(state))
  }

  private mutating func onPersisted(_ now: Now, _ effects: inout [Effect]) {
    guard !pending.isEmpty else { return invariant(false, "a state was persisted that nobody handed over") }
    switch pending.removeFirst() {
    case .nothing: break
    case .formed: onFormed(now, &effects)
    case .claimed:
      isClaimSynced = true
      claimStart(now, &effects)
    case .judged(let node, let verdict, let nonce):
      effects.append(.send(.verdict(verdict, onNonce: nonce), to: node))
      // It may have forgotten this node's start.
      if verdict == .accepted, acceptedBy.contains(node), retold.insert(node).inserted { claimStart(now, &effects) }
    case .overtaken: publish(now, &effects)
    case .begunAnew(let epoch): onBegunAnew(epoch: epoch, now, &effects)
    case .renewed(let epoch):
      self.epoch = epoch
      publish(now, &effects)
    case .exit: effects.append(.exit)
    }
  }

  private mutating func onTimer(_ now: Now, _ effects: inout [Effect]) {
    if let nextClaim, nextClaim <= now.instant { claimStart(now, &effects) }
    beginAnewIfAlone(now, &effects)
    visitSeeds(now, &effects)
    gossip.onTimer(now.instant, &effects)
  }

  private func live(_ layout: Layout) -> ClusterView.LiveLayout {
    placed.first { $0.layout == layout } ?? ClusterView.LiveLayout(layout)
  }

  mutating func publish(_ now: Now, _ effects: inout [Effect]) {
    let view = ClusterView(
      node: state.id, layouts: state.layouts.map(live), secret: state.secret, standing: standing, disk: disk.room,
      epoch: epoch, life: state.life)
    if !view.layouts.isEmpty { placed = view.layouts }
    peers = view.peers.map { member in
      peers.first { $0.member.id == member.id } ?? Peer(member: member, since: now.instant)
    }
    effects.append(.publish(view))
    if let layout = state.layouts.last { adoptGossip(layout, now, &effects) }
  }

  // MARK: Peers

  private mutating func onLinkChanged(_ node: NodeID, _ isUp: Bool, _ now: Now, _ effects: inout [Effect]) {
    guard let index = peers.firstIndex(where: { $0.member.id == node }) else { return }
    gossip.onLink(node, isUp: isUp)
    let wasReachable = [.up, .slow].contains(peers[index].health)
    if isUp == wasReachable { return }
    if !isUp, peers[index].health == .replaced { return }
    peers[index].health = isUp ? .up : .unreachable
    peers[index].since = now.instant
    let name = peers[index].member.name
    effects.append(.note(isUp ? .peerUp(node, name: name) : .peerUnreachable(node, name: name)))
    if isUp { return claimStart(now, &effects) }
    // What it knew may be otherwise when it is back.
    witnesses[node] = nil
    doubters.remove(node)
  }

  private mutating func onLinkRefused(
    _ node: NodeID, _ refusal: Refusal, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let index = peers.firstIndex(where: { $0.member.id == node }) else { return }
    if refusal.reason == .duplicateNode {
      onRival(now)
      return onDuplicate(refusal, saysPeer: peers[index].member.name, &effects)
    }
    guard refusal.reason == .otherNode else { return }
    if peers[index].health == .replaced { return }
    peers[index].health = .replaced
    peers[index].since = now.instant
    effects.append(.note(.peerReplaced(node, name: peers[index].member.name, detail: refusal.detail)))
  }

  /// Said once: the links are tried again, since it may be the link of a process that has just died.
  mutating func onDuplicate(_ refusal: Refusal, saysPeer name: String, _ effects: inout [Effect]) {
    if isDuplicate { return }
    isDuplicate = true
    effects.append(.note(.duplicate(saysPeer: name, detail: refusal.detail)))
  }

  private mutating func onMistaken(_ node: NodeID, _ cluster: ClusterID, _ effects: inout [Effect]) {
    guard state.cluster == .none, mistaken?.node != node else { return }
    mistaken = (node, cluster)
    effects.append(.note(.stranger(expected: node, of: cluster)))
  }

  private mutating func onMeasured(
    _ measurements: NodeDescription.Measurements, _ slow: [NodeID], _ now: Now, _ effects: inout [Effect]
  ) {
    self.measurements = measurements
    if disk.onMeasured(usedBytes: measurements.diskUsedBytes, totalBytes: measurements.diskTotalBytes) {
      effects.append(.note(.diskRoom(disk.room)))
      publish(now, &effects)
    }
    if !measurements.isRebuilding { (self.measurements.partitionsOwned, self.measurements.partitionsWhole) = (0, 0) }
    self.measurements.isDiskNearlyFull = disk.room != .enough
    for index in peers.indices where [.up, .slow].contains(peers[index].health) {
      let health: NodeDescription.Peer.Health = slow.contains(peers[index].member.id) ? .slow : .up
      if peers[index].health != health {
        peers[index].health = health
        peers[index].since = now.instant
      }
    }
  }

  // MARK: Description

  /// What this node says of itself and of its peers.
  func describe(_ now: Now) -> NodeDescription {
    let layout = state.layouts.last
    let condition: NodeDescription.State =
      if isDraining {
        .draining
      } else if layout != nil, forming.isEmpty {
        switch standing {
        case .confirmed: .serving
        case .unconfirmed: .unconfirmed
        case .overtaken: .wentBack
        }
      } else if mistaken != nil {
        .stranger
      } else if learnt != nil {
        .outside
      } else {
        .uninitialised
      }
    return NodeDescription(
      member: member, state: condition,
      cluster: mistaken?.cluster ?? learnt?.layout.cluster ?? state.cluster,
      layoutVersion: layout?.version ?? learnt?.layout.version ?? 0, settings: layout?.settings ?? settings,
      generation: state.generation,
      shards: UInt16(state.shards), syncs: syncs, release: release, expected: mistaken?.node ?? NodeID(0),
      measurements: measurements,
      peers: peers.map {
        NodeDescription.Peer(
          node: $0.member.id, health: $0.overall, sinceMs: now.instant.since($0.overallSince).milliseconds)
      })
  }
}

extension Failure {
  /// What a node without a layout answers.
  public static var notInCluster: Failure {
    Failure(.notMember, detail: "this node belongs to no cluster yet; form one with: kvctl cluster init")
  }

  /// The same; of a write that was sent before nobody here knows what became of it.
  public static func notInCluster(for request: ClientRequest) -> Failure {
    var failure = Failure.notInCluster
    if request.isRetry { failure.outcome = .unknown }
    return failure
  }
}
