import KVModel

// A cluster is formed by `kvctl cluster init` in two steps, so that two operators at once cannot split the nodes between
// them: every node is first reserved for one cluster id for ten seconds, then each is given layout 1. A node accepts one
// cluster, once, and says yes again to the layout that it has, so an interrupted `init` is finished by running it again.
extension Control {
  mutating func onReserve(
    _ cluster: ClusterID, _ client: ClientRef, _ now: Now, _ effects: inout [Effect]
  ) {
    if let failure = refusal(of: cluster, now) {
      effects.append(.respond(.failed(failure), to: client))
      return
    }
    reservation = (cluster, now.instant.advanced(by: Control.reservationSpan))
    effects.append(.respond(.reserved(state.cluster == cluster ? state.secret : nil), to: client))
  }

  private func refusal(of cluster: ClusterID, _ now: Now) -> Failure? {
    guard cluster != .none else { return Failure(.invalidRequest, detail: "a cluster id is never zero") }
    if state.cluster != .none, state.cluster != cluster {
      return Failure(
        .otherCluster,
        detail: "node \(member.name) belongs to cluster \(state.cluster); to use it elsewhere, stop it and empty its "
          + "data directory")
    }
    if let mistaken, state.cluster == .none, mistaken.cluster != cluster {
      return Failure(
        .otherCluster, detail: "cluster \(mistaken.cluster) expects node \(mistaken.node) at \(member.name)'s address")
    }
    if let failure = refusalBySeeds(cluster) { return failure }
    if let reservation, reservation.cluster != cluster, reservation.until > now.instant {
      return Failure(
        .otherCluster, retryAfterMs: UInt32(clamping: reservation.until.since(now.instant).milliseconds + 1),
        detail: "another 'kvctl cluster init' holds node \(member.name) for cluster \(reservation.cluster)")
    }
    return nil
  }

  mutating func onForm(
    _ layout: Layout, _ secret: ClusterSecret, _ client: ClientRef, _ now: Now, _ effects: inout [Effect]
  ) {
    if state.layouts.last == layout, state.secret == secret, forming.isEmpty {
      effects.append(.respond(.done, to: client))
      return
    }
    if let failure = refusal(of: layout, secret, now) {
      effects.append(.respond(.failed(failure), to: client))
      return
    }
    forming.append(client)
    state.layouts = [layout]
    state.secret = secret
    persist(then: .formed, &effects)
  }

  private func refusal(of layout: Layout, _ secret: ClusterSecret, _ now: Now) -> Failure? {
    guard secret != .none else { return Failure(.invalidRequest, detail: "a cluster's secret is never zero") }
    if let failure = refusal(of: layout.cluster, now) { return failure }
    guard forming.isEmpty || state.layouts.last == layout else {
      return Failure(.otherCluster, retryAfterMs: 100, detail: "node \(member.name) is accepting another layout")
    }
    guard state.layouts.isEmpty || (state.layouts.last == layout && state.secret == secret) else {
      return Failure(
        .invalidLayout,
        detail: "node \(member.name) has layout \(state.layouts.last?.version ?? 0) already; it cannot be formed anew")
    }
    let isReserved = reservation.map { $0.cluster == layout.cluster && $0.until > now.instant } ?? false
    guard isReserved || state.cluster == layout.cluster else {
      return Failure(
        .invalidLayout,
        detail: "node \(member.name) is not held for cluster \(layout.cluster); run 'kvctl cluster init' again")
    }
    guard layout.version == 1 else { return Failure(.invalidLayout, detail: "the first layout has version 1") }
    guard layout.member(state.id) == member else {
      return Failure(
        .invalidLayout, detail: "the layout does not list node \(member.name) as it is; run 'kvctl cluster init' again")
    }
    let faults = LayoutFault.all(in: layout)
    return faults.isEmpty
      ? nil : Failure(.invalidLayout, detail: faults.map(\.description).joined(separator: "; "))
  }

  mutating func onFormed(_ now: Now, _ effects: inout [Effect]) {
    guard let layout = state.layouts.last else { return }
    effects.append(
      .note(.joined(layout.cluster, layoutVersion: layout.version, members: layout.members.count)))
    mistaken = nil
    learnt = nil
    publish(now, &effects)
    for client in forming { effects.append(.respond(.done, to: client)) }
    forming = []
    claimStart(now, &effects)
  }
}
