import KVModel

/// The dot counters and stamps that count as handed out after a restart.
///
/// ```
///   handed out ───────►next            half                limit
///   ────────────────────┼───────────────┼────────────────────┤   past half: lease the next block
/// ```
///
/// A counter is used only when its lease is synced. A stamp is not waited for: the lease that covers it rides in the
/// batch of the first write that needs it, so a lone write costs one sync, not two. A crash between the two can lose
/// the bound of a write that was not acknowledged; what a later write must exceed it finds in the records it
/// supersedes.
struct LeaseState: Equatable, Sendable {
  /// The next sequence to hand out.
  var next: UInt64 = 1
  /// The last synced lease of this actor.
  private(set) var granted: Lease?
  /// What was asked for and is not synced yet.
  private(set) var requested: Lease?
  /// Writes that wait for the next block.
  var waiting: [OperationID] = []
  /// What was handed out under earlier actors, of those that are known, at most.
  private(set) var spent: [Spent] = []

  struct Spent: Equatable, Sendable {
    var actor: Actor
    var sequence: UInt64
  }

  init() {}

  /// Everything up to a lease counts as handed out, under whatever actor; a new actor counts from one.
  init(recovered lease: Lease?, actor: Actor) {
    guard let lease else { return }
    if lease.actor != actor {
      spent = [Spent(actor: lease.actor, sequence: lease.sequence)]
    } else if !planted(.dotReused) {
      next = lease.sequence + 1
    }
  }

  var isRequested: Bool { requested != nil }

  var allowsNext: Bool { granted.map { next <= $0.sequence } ?? false }

  /// Whether the next block should be leased already.
  func runsLow(stamp: Stamp, settings: ShardSettings) -> Bool {
    guard let granted else { return true }
    return next > granted.sequence || granted.sequence - next < settings.leaseSequences / 2
      || stamp.wall.milliseconds + settings.leaseStampMs / 2 > granted.stamp.wall.milliseconds
  }

  mutating func request(actor: Actor, stamp: Stamp, settings: ShardSettings) -> Lease {
    let lease = Lease(
      actor: actor, sequence: next + settings.leaseSequences,
      stamp: Stamp(bits: stamp.bits &+ settings.leaseStampMs << 16))
    requested = lease
    return lease
  }

  mutating func onGranted() {
    granted = requested
    requested = nil
  }

  /// From now on another actor mints than `old`.
  mutating func onActor(after old: Actor) {
    spent.append(Spent(actor: old, sequence: next - 1))
    onActor()
  }

  /// Another actor counts from one, when what was asked for the old one has been answered.
  mutating func onActor() {
    next = 1
    granted = nil
  }
}

extension Shard {
  /// A dot and a stamp of this shard's own, or nil when the write must wait for a lease that is being synced.
  mutating func mintable(
    for id: OperationID, above floor: Stamp, _ now: Now, _ effects: inout [Effect]
  ) -> (dot: Dot, stamp: Stamp)? {
    clock.observe(floor)
    clock.limit(to: now.wall)
    let stamp = clock.tick(at: now.wall)
    if !lease.isRequested, lease.runsLow(stamp: stamp, settings: settings) {
      let wanted = lease.request(actor: actor, stamp: stamp, settings: settings)
      effects.append(.store(.extendLease(wanted), StorageID(raw: Shard.leaseID.raw)))
    }
    guard lease.allowsNext else {
      lease.waiting.append(id)
      return nil
    }
    let counter = lease.next << 8 | UInt64(identity.shard)
    lease.next += 1
    return (Dot(actor: actor, counter: counter), stamp)
  }

  /// From now on; what was minted before stays what it is.
  mutating func mintUnder(_ actor: Actor) {
    lease.onActor(after: self.actor)
    self.actor = actor
    rebuild.isStale = true
  }

  mutating func onLeased(_ now: Now, _ effects: inout [Effect]) {
    let isOurs = lease.requested?.actor == actor
    lease.onGranted()
    if !isOurs { lease.onActor() }
    let waiting = lease.waiting
    lease.waiting = []
    for id in waiting { mint(id, now, &effects) }
  }

  /// Whether a history claims dots of this shard's actor that it has not minted.
  func claimsUnminted(_ history: VersionVector) -> Bool { history[actor] > Shard.lastCounter(of: lease.next - 1) }

  /// The same of earlier actors of this node too, as far as it knows how many dots they had.
  private func isAhead(_ history: VersionVector) -> Bool {
    claimsUnminted(history)
      || lease.spent.contains { history[$0.actor] > Shard.lastCounter(of: $0.sequence) && isOfThisLife($0.actor) }
  }

  private static func lastCounter(of sequence: UInt64) -> UInt64 { sequence << 8 | 0xff }

  /// What was minted before the node began anew its peers hold and it may have lost; all that is being rebuilt.
  private func isOfThisLife(_ actor: Actor) -> Bool {
    UInt64(actor.epoch) >= view.life &* NodeState.epochsPerStart
  }

  /// A peer's record claims dots that this node has not minted: its data went back in time, and no peer knew of a later
  /// start, or none that could be reached. Who would only stop and be started again would answer, as if it were whole, for
  /// what it has lost. So it is as one whom peers refuse (`Starts`): from this moment it takes no part, until it has begun
  /// another life. Nil when the record is none of these.
  mutating func goBack(
    _ history: VersionVector, _ peer: NodeID, _ now: Now, _ effects: inout [Effect]
  ) -> Failure? {
    guard isAhead(history), !planted(.unmintedIgnored) else { return nil }
    if wentBackIn != view.life {
      wentBackIn = view.life
      view.standing = .overtaken
      effects.append(.wentBack(saysPeer: peer))
      // Their dots may be those of other writes.
      for id in writes.ids where writes[id]?.isAnswered == false { failWrite(id, now, &effects) }
    }
    return view.standing.failure
  }
}
