import KVModel

/// Whether a node that has started is the successor of the node that its peers knew.
///
/// Peers keep each other's latest start durably. A node that starts claims its generation before every peer it meets and
/// takes no part until a majority of the layout, itself included, has accepted it:
///
/// ```
///   start ─► unconfirmed ──accepted by a majority──► confirmed
///                 └────────── refused by anyone ──────────┴──► overtaken: its data went back in time
/// ```
///
/// A restored image, or the older one of two copies of a disk, descends from a start that has been followed by another;
/// whoever has heard of that other one refuses it. Not noticed: an image of the very start that ran last, and one that
/// is restored while none of those who know better can be reached.
enum Starts {
  /// How often a claim is said again to a linked peer that has not answered.
  static let repeatAfter = Span64.milliseconds(250)

  /// What a node that knows the start `known` of a peer says to its claim.
  static func judge(_ claim: GenerationClaim, known: Generation?) -> GenerationVerdict {
    guard let known, known.nonce != claim.generation.nonce else { return .accepted }
    if planted(.generationNotChecked) { return .accepted }
    guard claim.generation.number > known.number else { return .refused(known: known) }
    if claim.isConfirmed || claim.ancestors.contains(known.nonce) { return .accepted }
    return claim.ancestors.count == GenerationClaim.ancestorsMax ? .cannotTell : .refused(known: known)
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
    guard !state.layouts.isEmpty, forming.isEmpty, state.overtakenBy == nil else { return }
    let silent = peers.filter { [.up, .slow].contains($0.health) && !acceptedBy.contains($0.member.id) }
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
    // A node whose own data went back in time has forgotten what it knew of others.
    let verdict = state.overtakenBy == nil ? Starts.judge(claim, known: known) : .cannotTell
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
    guard nonce == state.generation.nonce, state.overtakenBy == nil else { return }
    switch verdict {
    case .cannotTell: break
    case .refused(let known):
      state.overtakenBy = known
      effects.append(.note(.overtaken(by: known, saysPeer: member.name)))
      persist(then: .overtaken, &effects)
    case .accepted:
      let before = standing
      acceptedBy.insert(member.id)
      guard standing == .confirmed, before != .confirmed else { return }
      effects.append(.note(.confirmed(state.generation)))
      publish(now, &effects)
    }
  }
}
