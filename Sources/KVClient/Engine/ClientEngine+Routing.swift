internal import KVModel
internal import KVNet

/// Which link an attempt goes to: the facts that `RouteChoice` decides on.
extension ClientEngine {
  /// The one link to an address.
  func link(to address: Address) -> NodeLink {
    if let link = links[address] { return link }
    let link = NodeLink(address, self, number: UInt32(linksByNumber.count))
    linksByNumber.append(link)
    links[address] = link
    return link
  }

  /// The partition of a call's key, once the layout is known.
  func partition(of call: Call) -> PartitionID {
    guard case .key(let token) = call.route, let routes else { return PartitionID(0) }
    return routes.partition(of: token)
  }

  /// The cluster that this client belongs to since it learnt of a layout.
  var cluster: ClusterID { routes?.layout.cluster ?? .none }

  var layoutVersion: UInt32 { routes?.layout.version ?? 0 }

  /// The best link that the call has not tried; nil when none is left.
  func nextLink(for call: Call) -> NodeLink? {
    switch call.route {
    case .address(let address):
      let link = link(to: address)
      return call.tried.contains { $0 === link } ? nil : link
    case .any: return anyLink(for: call, owners: [])
    case .key(let token):
      guard let routes else { return anyLink(for: call, owners: []) }
      let owners = routes.owners(of: token)
      // Every owner is to be at hand before it is needed.
      for owner in owners where owner.isIdle && owner.breaker.admits(at: now) { owner.connect() }
      let standings = owners.lazy.map { self.candidate($0, for: call) }
      if let place = pick(standings, for: call, atWorst: .up) {
        return owners[owners.index(owners.startIndex, offsetBy: place)]
      }
      return anyLink(for: call, owners: Array(owners))
    }
  }

  /// A second owner for a read whose first one is slow: one that is connected and well, or none.
  func hedgeLink(for call: Call) -> NodeLink? {
    guard case .key(let token) = call.route, let routes, let first = call.open.first?.link else { return nil }
    let owners = Array(routes.owners(of: token).filter { $0 !== first })
    let place = RouteChoice.leastBusyOfTwo(
      owners.map { self.candidate($0, for: call) }, atWorst: .up, random: &random)
    return place.map { owners[$0] }
  }

  /// Another node than the silent one that may answer.
  func spareLink(for call: Call, beside silent: NodeLink) -> NodeLink? {
    let tried = call.tried
    call.tried.append(silent)
    defer { call.tried = tried }
    guard let link = nextLink(for: call), candidate(link, for: call).standing <= .fresh else { return nil }
    return link
  }

  private func candidate(_ link: NodeLink, for call: Call) -> RouteChoice.Candidate {
    let isTried = call.tried.contains { $0 === link }
    return RouteChoice.Candidate(
      standing: isTried ? .tried : link.standing(for: cluster, at: now), isNear: link.isNear, inFlight: link.inFlight)
  }

  private func pick(
    _ candidates: some Collection<RouteChoice.Candidate>, for call: Call, atWorst worst: RouteChoice.Standing
  ) -> Int? {
    call.isWrite
      ? RouteChoice.first(candidates, atWorst: worst)
      : RouteChoice.leastBusyOfTwo(candidates, atWorst: worst, random: &random)
  }

  /// No owner is at hand: owners that may come up, then others, then whoever failed lately, and at last the unfit, which
  /// can say why they are.
  private func anyLink(for call: Call, owners: [NodeLink]) -> NodeLink? {
    func best(_ links: [NodeLink], atWorst worst: RouteChoice.Standing) -> NodeLink? {
      RouteChoice.first(links.map { candidate($0, for: call) }, atWorst: worst).map { links[$0] }
    }
    let others = rotated(endpoints) + (routes?.links ?? [])
    return best(owners, atWorst: .fresh) ?? best(others, atWorst: .fresh) ?? best(owners + others, atWorst: .unfit)
  }

  private func rotated(_ links: [NodeLink]) -> [NodeLink] {
    guard !links.isEmpty else { return [] }
    turn = (turn + 1) % links.count
    return Array(links[turn...] + links[..<turn])
  }
}
