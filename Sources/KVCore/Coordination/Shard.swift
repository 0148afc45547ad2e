import KVModel

/// One shard of a node: it coordinates the requests for its partitions and serves this node's copies of them.
///
/// A plain value with one entry, `step`: inputs in, effects out, no IO, no clock, no randomness of its own. The same
/// code runs in `kvnode` and in the simulator.
///
/// ```
///              request ──► Coordination ──► messages to owners (itself included) ──► Replica ──► storage
///   client ◄── respond ◄──      ▲                                                       │
///                               └───────────────── replies, once synced ◄───────────────┘
/// ```
///
/// A message to oneself takes the same path as one to a peer, through `loopback`.
public struct Shard: Sendable {
  // Who I am.
  var identity: ShardIdentity
  var actor: Actor
  var settings: ShardSettings
  var random: PRNG

  // What I know.
  public internal(set) var view: ClusterView
  public internal(set) var reachability = Reachability()
  var clock: HybridClock
  var lease: LeaseState
  /// The life in which peers were found to hold what this node has not minted.
  var wentBackIn: UInt64?
  /// Reads of this node's peers, for the hedge's delay.
  var readLatency = LatencyHistogram()
  var hedgeAfter: Span64

  /// The owners of each partition in `view`; worked out when one is first asked for.
  private var ownerSets: [OwnerSet?] = []

  // What is under way.
  var reads = Slots<ReadOperation>(.read)
  var writes = Slots<WriteOperation>(.write)
  var forwards = Slots<ForwardOperation>(.forward)
  var explains = Slots<ExplainOperation>(.explain)
  var retries = Slots<RetryOperation>(.retry)
  var replicaReads = Slots<ReplicaRead>(.replicaRead)
  var replicaWrites = Slots<PendingReplicaWrite>(.replicaWrite)
  var requestChecks = Slots<RequestCheck>(.requestCheck)
  var exchanges = Slots<Exchange>(.exchange)
  var surveys = Slots<Survey>(.survey)
  var mends = Slots<Mend>(.mend)
  var treeQueries = Slots<TreeQuery>(.treeQuery)
  var deliveries = Slots<Delivery>(.delivery)
  var transfers = Slots<Transfer>(.transfer)
  var offerQueries = Slots<OfferQuery>(.offerQuery)
  var handoff = Handoff()
  /// Offers of hints that were made.
  var handoffQuestions: UInt32 = 0
  /// What was granted to holders of hints is through by then.
  var handoffFreeAt = Instant(nanoseconds: 0)
  #if Planted
    /// What hints carry under `hintCarriesOldValue`.
    var plantedPayloads: [Key: EncodedRecord] = [:]
  #endif
  /// Of `writes`, those that were answered and wait to hear who has them.
  var laggingWrites = 0
  var sweep = Sweep()
  var schedule = ExchangeSchedule()
  var rebuild = Rebuild()
  /// Questions about trees that were asked.
  var treeQuestions: UInt32 = 0
  /// Request ids that retries have claimed.
  var fences: [RequestID: RequestFence] = [:]
  /// Operations of clients, so that a cancellation finds its own.
  var clients: [ClientRef: OperationID] = [:]

  /// Writes that other nodes handed on, until their deadline: a duplicate is not carried out again.
  var forwardsSeen: [ForwardName: Instant] = [:]

  var loopback: [(PeerMessage, Envelope)] = []
  var isHalted = false
  public internal(set) var counters = ShardCounters()

  /// A shard that knows nothing yet: `recovered` comes first.
  public init() {
    identity = ShardIdentity(node: NodeID(0), shard: 0, shards: 1)
    actor = Actor(node: NodeID(0), epoch: 0)
    settings = ShardSettings()
    random = PRNG(seed: 0)
    view = ClusterView(node: NodeID(0), layouts: [])
    clock = HybridClock()
    lease = LeaseState()
    hedgeAfter = settings.hedgeAfterMax
  }

  /// Operations of clients and peers under way, of every kind.
  public var inFlight: Int {
    reads.count + writes.count + forwards.count + explains.count + retries.count + replicaReads.count
      + replicaWrites.count + requestChecks.count
  }

  /// Operations under way, by kind.
  public var inFlightByKind: [(kind: String, count: Int)] {
    [
      ("read", reads.count), ("write", writes.count - laggingWrites), ("forward", forwards.count),
      ("explain", explains.count),
      ("retry", retries.count), ("replica_read", replicaReads.count), ("replica_write", replicaWrites.count),
      ("request_check", requestChecks.count),
    ]
  }

  /// How much there is to do, by which what goes on behind the requests gets slower: 1 while there is little.
  var load: Int { max(1, inFlight / settings.handoffLoad) }

  /// Exchanges with other owners and what belongs to them: it goes on all the time.
  public var backgroundInFlight: Int { exchanges.count + surveys.count + mends.count + treeQueries.count }

  /// Answered writes that wait to hear from their last owners.
  public var lagging: Int { laggingWrites }

  /// Answered writes of which it is not known yet who has them, and the handing over of hints.
  public var handoffInFlight: Int { laggingWrites + deliveries.count + transfers.count + offerQueries.count }

  /// How long ago the partition that waits longest was compared with another owner; nil when one never was.
  public func repairAge(at now: Now) -> Span64? { schedule.oldestAge(at: now.instant) }

  /// Turns an input into effects. Same state, same input, same `now`: same effects, byte for byte.
  public mutating func step(_ input: Input, at now: Now, into effects: inout [Effect]) {
    if isHalted { return }
    switch input {
    case .recovered(let recovery): onRecovered(recovery, now, &effects)
    case .view(let view): onView(view, now, &effects)
    case .request(.repair(let request), from: let client, let deadline):
      onRepair(request, client, deadline, now, &effects)
    case .request(let request, from: let client, let deadline): onRequest(request, client, deadline, now, &effects)
    case .cancel(let client): onCancel(client, now, &effects)
    case .message(let message, from: let peer, let envelope): onMessage(message, peer, envelope, now, &effects)
    case .linkChanged(let peer, let isUp): onLinkChanged(peer, isUp, now, &effects)
    case .dead(let nodes): onDead(nodes, now, &effects)
    case .stored(let result, for: let id): onStored(result, OperationID(raw: id.raw), now, &effects)
    case .timer(let timer): onTimer(OperationID(raw: timer.raw), now, &effects)
    }
    deliverLoopback(now, &effects)
  }

  // MARK: Start and view

  private mutating func onRecovered(_ recovery: ShardRecovery, _ now: Now, _ effects: inout [Effect]) {
    identity = recovery.identity
    actor = recovery.actor
    settings = recovery.settings
    random = PRNG(seed: recovery.seed)
    hedgeAfter = settings.hedgeAfterMax
    clock = HybridClock(floor: recovery.lease?.stamp ?? .zero)
    clock.limit(to: now.wall)
    lease = LeaseState(recovered: recovery.lease, actor: actor)
    startSlots(shard: identity.shard, generation: UInt32(truncatingIfNeeded: random.next()))
    effects.append(.schedule(TimerID(raw: Shard.tickID.raw), at: now.instant.advanced(by: settings.tick)))
    scheduleExchange(now, &effects)
    scheduleSweep(now, &effects)
    scheduleScrub(at: now.instant.advanced(by: .seconds(1)), &effects)
    lookForGaps(&effects)
    // What an earlier start left is known before anybody asks.
    if settings.keepsHints { effects.append(.store(.countHints, StorageID(raw: Shard.censusID.raw))) }
  }

  private mutating func startSlots(shard: Int, generation: UInt32) {
    reads.start(shard: shard, generation: generation)
    writes.start(shard: shard, generation: generation)
    forwards.start(shard: shard, generation: generation)
    explains.start(shard: shard, generation: generation)
    retries.start(shard: shard, generation: generation)
    replicaReads.start(shard: shard, generation: generation)
    replicaWrites.start(shard: shard, generation: generation)
    requestChecks.start(shard: shard, generation: generation)
    exchanges.start(shard: shard, generation: generation)
    surveys.start(shard: shard, generation: generation)
    mends.start(shard: shard, generation: generation)
    treeQueries.start(shard: shard, generation: generation)
    deliveries.start(shard: shard, generation: generation)
    transfers.start(shard: shard, generation: generation)
    offerQueries.start(shard: shard, generation: generation)
  }

  private mutating func onView(_ view: ClusterView, _ now: Now, _ effects: inout [Effect]) {
    let life = self.view.life
    self.view = view
    // Control hears of it later than this shard did.
    if wentBackIn == view.life { self.view.standing = .overtaken }
    if view.life > life { onLifeLost(now, &effects) }
    if view.epoch > actor.epoch { mintUnder(Actor(node: identity.node, epoch: view.epoch)) }
    ownerSets = Array(repeating: nil, count: view.current?.layout.settings.partitions ?? 0)
    reachability.adopt(view.peers.map(\.id))
    if schedule.pairs.isEmpty {
      schedule.adopt(view, identity)
      schedule.begin(at: random.next())
    }
  }

  /// The owners of a key in every live layout; nil while there is none.
  mutating func owners(of key: Key) -> OwnerSet? {
    guard let partition = view.partition(of: key) else { return nil }
    let place = Int(partition.index)
    if let known = ownerSets[place] { return known }
    let owners = view.owners(of: partition)
    ownerSets[place] = owners
    return owners
  }

  // MARK: Messages

  private mutating func onMessage(
    _ message: PeerMessage, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    if peer != identity.node, reachability.onHeard(peer, isAnswer: message.isAnswer, at: now.instant) {
      onFound(peer, now, &effects)
    }
    let id = OperationID(raw: envelope.operation)
    switch message {
    case .replicaRead(let key, let inlineBytesMax): onReplicaRead(key, inlineBytesMax, peer, envelope, now, &effects)
    case .replicaWrite(let write): onReplicaWrite(write, peer, envelope, now, &effects)
    case .requestCheck(let request, let key): onRequestCheck(request, key, peer, envelope, now, &effects)
    case .forwarded(let request): onForwarded(request, peer, envelope, now, &effects)
    case .replicaReadReply(let reply): onReplicaReadReply(reply, peer, id, now, &effects)
    case .replicaWriteReply(let reply): onReplicaWriteReply(reply, peer, id, now, &effects)
    case .requestCheckReply(let reply): onRequestCheckReply(reply, peer, id, now, &effects)
    case .forwardedReply(let response): onForwardedReply(response, peer, id, now, &effects)
    case .tree(let message): onTree(message, peer, envelope, now, &effects)
    case .handoff(let message): onHandoff(message, peer, envelope, now, &effects)
    case .ping: send(.pong(clockMs: now.instant.milliseconds), to: peer, envelope, now, &effects)
    case .pong: break
    }
  }

  /// Sends to a peer, or to oneself by the same path.
  mutating func send(
    _ message: PeerMessage, to node: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    if node == identity.node {
      loopback.append((message, envelope))
      return
    }
    if !message.isAnswer { reachability.onAsked(node, at: now.instant) }
    effects.append(.send(message, to: node, envelope))
  }

  private mutating func deliverLoopback(_ now: Now, _ effects: inout [Effect]) {
    var next = 0
    while next < loopback.count, !isHalted {
      let (message, envelope) = loopback[next]
      next += 1
      onMessage(message, identity.node, envelope, now, &effects)
    }
    loopback.removeAll(keepingCapacity: true)
  }

  private mutating func onLinkChanged(_ peer: NodeID, _ isUp: Bool, _ now: Now, _ effects: inout [Effect]) {
    reachability.onLink(peer, isUp: isUp, at: now.instant)
    if isUp { onFound(peer, now, &effects) } else { onLost(peer, now, &effects) }
  }

  /// Nobody need wait for the dead, even if something still holds their connections.
  private mutating func onDead(_ nodes: [NodeID], _ now: Now, _ effects: inout [Effect]) {
    let (lost, found) = reachability.onDead(nodes)
    for peer in lost { onLost(peer, now, &effects) }
    for peer in found { onFound(peer, now, &effects) }
  }

  private mutating func onFound(_ peer: NodeID, _ now: Now, _ effects: inout [Effect]) {
    schedule.onLinkUp(peer)
    if settings.keepsHints { handoff.onPassing(with: peer, at: now.instant) }
    for id in writes.ids { onOwnerFound(peer, ofWrite: id, now, &effects) }
  }

  private mutating func onLost(_ peer: NodeID, _ now: Now, _ effects: inout [Effect]) {
    for id in reads.ids { onOwnerLost(peer, ofRead: id, now, &effects) }
    for id in writes.ids { onOwnerLost(peer, ofWrite: id, now, &effects) }
    for id in retries.ids { onOwnerLost(peer, ofRetry: id, now, &effects) }
    for id in explains.ids { onOwnerLost(peer, ofExplain: id, now, &effects) }
    for id in forwards.ids { onOwnerLost(peer, ofForward: id, now, &effects) }
    for id in exchanges.ids { onOwnerLost(peer, ofExchange: id, now, &effects) }
    for id in surveys.ids { onOwnerLost(peer, ofSurvey: id, now, &effects) }
    for id in deliveries.ids { onTargetLost(peer, ofDelivery: id, now) }
  }

  // MARK: Storage

  private mutating func onStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if case .failed(let fault) = result { return halt("storage failed: \(fault.path): \(fault.detail)", &effects) }
    switch id.kind {
    case .write: onMinted(result, id, now, &effects)
    case .replicaRead: onReplicaReadStored(result, id, now, &effects)
    case .replicaWrite: onReplicaWriteStored(result, id, now, &effects)
    case .requestCheck: onRequestCheckStored(result, id, now, &effects)
    case .exchange: onExchangeStored(result, id, now, &effects)
    case .survey: onSurveyStored(result, id, now, &effects)
    case .mend: onMendStored(result, id, now, &effects)
    case .treeQuery: onTreeStored(result, id, now, &effects)
    case .delivery: onDeliveryStored(result, id, now, &effects)
    case .transfer: onTransferStored(result, id, now, &effects)
    case .offerQuery: onOfferStored(result, id, now, &effects)
    case .housekeeping where id == Shard.sweepID: onSweepStored(result, now, &effects)
    case .housekeeping: onHousekeepingStored(result, now, &effects)
    case .read, .forward, .explain, .retry, nil: invariant(false, "a storage result for operation \(id.raw)")
    }
  }

  private mutating func onHousekeepingStored(_ result: StorageResult, _ now: Now, _ effects: inout [Effect]) {
    switch result {
    case .leased: onLeased(now, &effects)
    case .census(let census): onCensus(census, now, &effects)
    case .gaps(let census): onGaps(census, now, &effects)
    case .scrubbed(let page): onScrubbed(page, now, &effects)
    // A walk that met what the disk does not give back goes on behind it, later.
    case .unreadable: onScrubFailed(now, &effects)
    // Hints, marks and gaps: nobody waits for them.
    case .synced: break
    case .record, .incomplete, .merged, .refused, .request, .digests, .listed, .hints, .expired, .rescanned, .failed:
      invariant(false, "housekeeping answered by \(result)")
    }
  }

  // MARK: Time

  static let tickID = OperationID(kind: .housekeeping, shard: 0, slot: 0, generation: 0)
  static let leaseID = OperationID(kind: .housekeeping, shard: 0, slot: 1, generation: 0)
  /// Names this shard, so that the answer finds it on whatever loop it arrives: a peer may have fewer shards.
  private var pingID: OperationID {
    OperationID(kind: .housekeeping, shard: identity.shard, slot: 2, generation: 0)
  }

  private mutating func onTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    switch id.kind {
    case .read: onReadTimer(id, now, &effects)
    case .write: onWriteTimer(id, now, &effects)
    case .forward: onForwardTimer(id, now, &effects)
    case .explain: onExplainTimer(id, now, &effects)
    case .retry: onRetryTimer(id, now, &effects)
    case .housekeeping:
      switch id {
      case Shard.exchangeTimerID: onExchangeTimer(now, &effects)
      case Shard.sweepID: onSweepTimer(now, &effects)
      case Shard.paceTimerID: onPaceTimer(now, &effects)
      case Shard.scrubID: onScrubTimer(now, &effects)
      default: onTick(now, &effects)
      }
    case .delivery: onDeliveryTimer(id, now, &effects)
    case .replicaRead, .replicaWrite, .requestCheck, .exchange, .survey, .mend, .treeQuery, .transfer, .offerQuery,
      nil:
      invariant(false, "a timer for operation \(id.raw)")
    }
  }

  private mutating func onTick(_ now: Now, _ effects: inout [Effect]) {
    let deadline = now.instant.advanced(by: .seconds(1))
    for peer in reachability.quiet(for: settings.tick, at: now.instant, most: settings.pingsMax) {
      let ping = PeerMessage.ping(clockMs: now.instant.milliseconds)
      send(ping, to: peer, Envelope(operation: pingID.raw, deadline: deadline), now, &effects)
    }
    reachability.onTick()
    onHandoffTick(now, &effects)
    onRebuildTick(now, &effects)
    forwardsSeen = forwardsSeen.filter { $0.value > now.instant }
    fences = fences.filter { $0.value.until > now.instant }
    if let p95 = readLatency.quantile(perMille: 950) {
      hedgeAfter = min(max(p95, settings.hedgeAfterMin), settings.hedgeAfterMax)
    }
    if readLatency.total > 10_000 { readLatency.decay() }
    effects.append(.schedule(TimerID(raw: Shard.tickID.raw), at: now.instant.advanced(by: settings.tick)))
  }

  /// Nothing leaves this shard any more.
  mutating func halt(_ reason: String, _ effects: inout [Effect]) {
    isHalted = true
    loopback.removeAll()
    effects.append(.halt(reason))
  }
}

extension PeerMessage {
  /// The shard, of `shards`, that a message is for: a question goes to the shard of its key, an answer to the shard that
  /// asked. Nil for a ping, which is about no key: any shard can answer it.
  public func shard(of shards: Int, operation: UInt64, in view: ClusterView) -> Int? {
    if let key, let partition = view.partition(of: key) { return partition.shard(of: shards) }
    if case .tree(let message) = self, let partition = message.partition { return partition.shard(of: shards) }
    if case .handoff(let message) = self, let partition = message.partition { return partition.shard(of: shards) }
    return isAnswer ? OperationID(raw: operation).shard : nil
  }

  /// A reply to a question of ours, rather than a question.
  public var isAnswer: Bool {
    switch self {
    case .replicaReadReply, .replicaWriteReply, .requestCheckReply, .forwardedReply, .pong: true
    case .tree(let message): message.isAnswer
    case .handoff(let message): message.isAnswer
    case .replicaRead, .replicaWrite, .requestCheck, .forwarded, .ping: false
    }
  }
}
