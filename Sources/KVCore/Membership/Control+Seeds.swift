import KVModel

// A node that belongs to no cluster and was given seeds asks them for theirs. It never makes a cluster of its own out of
// that: until a seed has answered, nobody may form one with it, since there may be one already (HAZARDS.md rows 31, 35);
// and once it knows of one, it joins no other (row 36). It is a member when a layout lists it.
extension Control {
  mutating func onVisited(
    _ visit: Visit?, _ node: NodeID, _ seed: Address, _ now: Now, _ effects: inout [Effect]
  ) {
    if node == state.id { return noteSeed(.isSelf, seed, &effects) }
    hasMetSeed = true
    guard let visit else { return noteSeed(.hasNoCluster, seed, &effects) }
    let its = visit.layout.cluster
    let own = state.cluster != .none ? state.cluster : learnt?.layout.cluster ?? .none
    if own != .none, own != its { return noteSeed(.otherCluster(its, own: own), seed, &effects) }
    seedFaults[seed] = nil
    if !state.layouts.isEmpty { return gossip.onVisited(visit, from: node, now.instant, &effects) }
    if learnt?.layout != visit.layout {
      effects.append(
        .note(
          .learnt(its, layoutVersion: visit.layout.version, members: visit.layout.members.count, from: seed)))
    }
    learnt = visit
  }

  mutating func onVisitRefused(_ refusal: Refusal, _ seed: Address, _ effects: inout [Effect]) {
    if refusal.reason == .duplicateNode { onDuplicate(refusal, saysPeer: seed.description, &effects) }
    noteSeed(.refused(refusal), seed, &effects)
  }

  /// Every second while there is something to ask for, every ten seconds when it can wait.
  mutating func visitSeeds(_ now: Now, _ effects: inout [Effect]) {
    guard !seeds.isEmpty, nextVisit <= now.instant else { return }
    nextVisit = now.instant.advanced(by: areSeedsUrgent ? .seconds(1) : .seconds(10))
    effects.append(.schedule(at: nextVisit))
    // A member asks once in any case: seeds of another cluster are told at once, not when they are needed.
    guard areSeedsUrgent || learnt != nil || !hasMetSeed else { return }
    for seed in seeds { effects.append(.visit(seed)) }
  }

  /// Told once, until it changes.
  private mutating func noteSeed(_ fault: SeedFault, _ seed: Address, _ effects: inout [Effect]) {
    guard seedFaults.updateValue(fault, forKey: seed) != fault else { return }
    effects.append(.note(.seed(fault, at: seed)))
  }

  /// Why nobody may form a cluster with this node yet; nil when seeds say nothing against it.
  func refusalBySeeds(_ cluster: ClusterID) -> Failure? {
    if seeds.isEmpty || state.cluster != .none { return nil }
    if let learnt {
      guard learnt.layout.cluster != cluster else { return nil }
      return Failure(
        .otherCluster,
        detail: "node \(member.name)'s seeds belong to cluster \(learnt.layout.cluster), and it waits to be taken into "
          + "that one; to use it elsewhere, start it without these seeds")
    }
    if hasMetSeed { return nil }
    let areAllSelf = seeds.allSatisfy { seedFaults[$0] == .isSelf }
    return Failure(
      .unavailable, retryAfterMs: 1_000,
      detail: areAllSelf
        ? "node \(member.name)'s seeds point only to itself; name other nodes, or start it without seeds"
        : "none of node \(member.name)'s seeds has answered yet, so there may be a cluster already; start them, or start "
          + "this node without seeds")
  }

  /// This node wants a cluster, or, when every peer is out of reach, to know where they are now.
  private var areSeedsUrgent: Bool {
    state.layouts.isEmpty ? learnt == nil : peers.allSatisfy { $0.health == .unreachable }
  }
}
