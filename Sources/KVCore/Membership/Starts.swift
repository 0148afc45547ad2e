import KVModel

/// Whether a node that has started is the successor of the node that its peers knew.
///
/// Peers keep each other's latest start durably. A node that starts claims its generation before every peer it meets and
/// takes no part until a majority of the layout, itself included, has accepted it:
///
/// ```
///   start ─► unconfirmed ──accepted by a majority──► confirmed
///              ▲  └────────── refused by anyone ──────────┴──► overtaken: its data went back in time
///              └── begins anew, when no rival is heard of ───────┘
/// ```
///
/// Who is overtaken may be an old image, or the older one of two copies while the other one lives. Peers let no second
/// process in while the first one answers; so whoever has been let in, for a while, by so many peers that one of them
/// accepted the latest start, and was refused by nobody as a double, has no rival that anybody can hear. It goes on as the
/// successor of that start: under another generation and epoch, with nothing but gaps (`Gap`), and with no word on others'
/// starts until they have told it.
///
/// Nor need anybody have refused it: a node that meets dots of its own in a peer's record which it has not minted is
/// overtaken too, by whatever start minted them; what its peers know of its starts it asks them anew.
///
/// A restored image, or the older one of two copies of a disk, descends from a start that has been followed by another;
/// whoever has heard of that other one refuses it. Not noticed: an image of the very start that ran last, and one that
/// is restored while none of those who know better can be reached.
enum Starts {
  /// How often a claim is said again to a linked peer that has not answered.
  static let repeatAfter = Span64.milliseconds(250)

  /// For how long no rival may have been heard of before a node begins anew: longer than a supervisor takes to start a
  /// process again, which is the right one of the two.
  static let rivalSilence = Span64.seconds(10)

  /// Starts that may have been forgotten by all, so that their numbers and epochs must not be used again.
  static let forgottenStartsMax: UInt64 = 1_024

  /// So many peers must have said what they know: with fewer, all that have accepted the latest start could be silent.
  static func witnesses(members: Int) -> Int { members - members / 2 }

  /// What a node that knows the start `known` of a peer says to its claim.
  static func judge(_ claim: GenerationClaim, known: Generation?) -> GenerationVerdict {
    guard let known, known.nonce != claim.generation.nonce else { return .accepted }
    if planted(.generationNotChecked) { return .accepted }
    guard claim.generation.number > known.number else { return .refused(known: known) }
    if claim.isConfirmed || claim.ancestors.contains(known.nonce) { return .accepted }
    // Of so many ancestors one at least is as old as the start that is known, which is none of them.
    let reachesBack = claim.generation.number - known.number <= UInt64(claim.ancestors.count)
    let isCutShort = claim.ancestors.count == GenerationClaim.ancestorsMax && !reachesBack
    return isCutShort ? .cannotTell : .refused(known: known)
  }
}

extension Control {
  var standing: ClusterView.Standing {
    if state.overtakenBy != nil { return .overtaken }
    let members = state.layouts.last?.members.count ?? 0
    return acceptedBy.count + 1 > members / 2 ? .confirmed : .unconfirmed
  }

  /// Says the claim to every linked peer that has not accepted it, and again while there are any.
  mutating func claimStart(_ now: Now, _ effects: inout [Effect]) {
    guard !state.layouts.isEmpty, forming.isEmpty else { return }
    let silent = peers.filter { peer in
      let id = peer.member.id
      return [.up, .slow].contains(peer.health) && (!acceptedBy.contains(id) || retold.contains(id))
        && witnesses[id] == nil
    }
    if silent.isEmpty { return }
    guard isClaimSynced else {
      if state.hasClaimed { return }
      // Synced first: a start that a peer has heard of must be among the ancestors of the next one.
      state.hasClaimed = true
      return persist(then: .claimed, &effects)
    }
    let claim = GenerationClaim(
      generation: state.generation, ancestors: state.ancestors, isConfirmed: standing == .confirmed)
    for peer in silent { effects.append(.send(.claim(claim), to: peer.member.id)) }
    if let nextClaim, nextClaim > now.instant { return }
    let next = now.instant.advanced(by: Starts.repeatAfter)
    nextClaim = next
    effects.append(.schedule(at: next))
  }

  mutating func onMessage(_ message: ControlMessage, from node: NodeID, _ now: Now, _ effects: inout [Effect]) {
    if case .gossip(let message) = message { return gossip.onMessage(message, from: node, now.instant, &effects) }
    guard let peer = peers.first(where: { $0.member.id == node }) else { return }
    switch message {
    case .claim(let claim): onClaim(claim, of: peer.member, &effects)
    case .verdict(let verdict, onNonce: let nonce): onVerdict(verdict, nonce, of: peer.member, now, &effects)
    case .gossip, .visit, .visited: break
    }
  }

  private mutating func onClaim(_ claim: GenerationClaim, of member: Member, _ effects: inout [Effect]) {
    let known = state.knownStart(of: member.id)
    // A node whose own data went back in time has forgotten what it knew of others, until they tell it what a majority
    // has confirmed.
    let hasForgotten = state.overtakenBy != nil || state.life > 0 && known == nil && !claim.isConfirmed
    let verdict = hasForgotten ? .cannotTell : Starts.judge(claim, known: known)
    let nonce = claim.generation.nonce
    if case .refused(let known) = verdict {
      effects.append(
        .note(.peerOvertaken(member.id, name: member.name, claimed: claim.generation, known: known)))
    }
    let isBeingSynced = pending.contains { if case .judged(member.id, _, nonce) = $0 { true } else { false } }
    if isBeingSynced { return }
    guard verdict == .accepted, known != claim.generation else {
      effects.append(.send(.verdict(verdict, onNonce: nonce), to: member.id))
      return
    }
    state.setKnownStart(claim.generation, of: member.id)
    persist(then: .judged(member.id, verdict, nonce: nonce), &effects)
  }

  private mutating func onVerdict(
    _ verdict: GenerationVerdict, _ nonce: UInt64, of member: Member, _ now: Now, _ effects: inout [Effect]
  ) {
    guard nonce == state.generation.nonce else { return }
    retold.remove(member.id)
    switch verdict {
    case .cannotTell: onDoubt(by: member, now, &effects)
    case .refused(let known): onRefused(known, by: member, now, &effects)
    case .accepted where state.overtakenBy != nil: hear(nil, from: member, now, &effects)
    case .accepted: accept([member.id], now, &effects)
    }
  }

  private mutating func accept(_ members: Set<NodeID>, _ now: Now, _ effects: inout [Effect]) {
    let before = standing
    acceptedBy.formUnion(members)
    guard standing == .confirmed, before != .confirmed else { return }
    effects.append(.note(.confirmed(state.generation)))
    publish(now, &effects)
  }

  /// A peer has forgotten the starts of others, or knows too old a one. When every peer has answered and none knows better,
  /// nobody does.
  private mutating func onDoubt(by member: Member, _ now: Now, _ effects: inout [Effect]) {
    doubters.insert(member.id)
    let members = peers.map(\.member)
    guard members.allSatisfy({ doubters.contains($0.id) || acceptedBy.contains($0.id) || witnesses[$0.id] != nil })
    else { return }
    if state.overtakenBy == nil { return accept(doubters, now, &effects) }
    for member in members where witnesses[member.id] == nil { hear(nil, from: member, now, &effects) }
  }

  // MARK: Beginning anew

  /// Said by shards. No start is known that this one does not descend from: it is taken to be overtaken by itself, so that
  /// the next one is told from it.
  mutating func onWentBack(_ node: NodeID, _ now: Now, _ effects: inout [Effect]) {
    guard state.overtakenBy == nil else { return }
    state.overtakenBy = state.generation
    (acceptedBy, witnesses, doubters, silentSince) = ([], [:], [], now.instant)
    let name = peers.first { $0.member.id == node }?.member.name ?? "\(node)"
    effects.append(.note(.wentBack(saysPeer: name)))
    persist(then: .overtaken, &effects)
    claimStart(now, &effects)
  }

  private mutating func onRefused(_ known: Generation, by member: Member, _ now: Now, _ effects: inout [Effect]) {
    if state.overtakenBy == nil { silentSince = now.instant }
    if state.overtakenBy.map({ $0.number < known.number }) ?? true {
      state.overtakenBy = known
      effects.append(.note(.overtaken(by: known, saysPeer: member.name)))
      persist(then: .overtaken, &effects)
    }
    hear(known, from: member, now, &effects)
  }

  /// A peer has said what it knows of this node's starts: nothing later than this one, or that.
  private mutating func hear(_ known: Generation?, from member: Member, _ now: Now, _ effects: inout [Effect]) {
    witnesses[member.id] = .some(known)
    effects.append(.schedule(at: now.instant.advanced(by: rivalSilence)))
  }

  /// There is a rival, or there may be one.
  mutating func onRival(_ now: Now) { silentSince = now.instant }

  mutating func beginAnewIfAlone(_ now: Now, _ effects: inout [Effect]) {
    guard let overtakenBy = state.overtakenBy, pending.isEmpty,
      witnesses.count >= Starts.witnesses(members: state.layouts.last?.members.count ?? 0)
    else { return }
    let since = silentSince ?? now.instant
    silentSince = since
    guard now.instant.since(since) >= rivalSilence else { return }
    let known = ([overtakenBy] + witnesses.values.compactMap { $0 }).sorted {
      ($1.number, $1.nonce) < ($0.number, $0.nonce)
    }
    let nonce = gossip.random.next()
    let skipped = doubters.isEmpty ? 0 : Starts.forgottenStartsMax
    guard let next = state.begunAnew(after: known, skipping: skipped, nonce: nonce) else { return }
    effects.append(.note(.begunAnew(next.generation, after: overtakenBy)))
    state = next
    (acceptedBy, witnesses, doubters, isClaimSynced) = ([], [:], [], false)
    persist(then: .begunAnew(epoch: next.epoch), &effects)
  }

  mutating func onBegunAnew(epoch: UInt32, _ now: Now, _ effects: inout [Effect]) {
    self.epoch = epoch
    isClaimSynced = true
    publish(now, &effects)
    gossip.renew(as: ownEntry)
    claimStart(now, &effects)
  }
}
