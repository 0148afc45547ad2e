internal import CoreMetrics
internal import KVModel
internal import Logging

/// The layout: learnt from whoever speaks of a newer one, fetched behind the calls.
extension ClientEngine {
  /// A node spoke of a layout: fetches it, once, when it is newer than the one known here.
  func onLayoutVersion(_ version: UInt32, from link: NodeLink) {
    guard configuration.followsLayout, version > layoutVersion, case .running = phase, link.isUp(for: cluster),
      layoutRefresh.onNewer(version, at: now)
    else { return }
    counters.layoutFetches += 1
    metrics.layoutFetches.increment()
    submitOwn(Call(.fetchLayout, .address(link.address), within: Span64(configuration.deadline)))
  }

  func onLayoutFetched(_ result: Result<ClientResponse, KVError>) {
    switch result {
    case .success(.layout(let layout, let table)): install(layout, table)
    case .success: logger.warning("a node answered the question for its layout with something else")
    case .failure(let error): logger.debug("layout not fetched", metadata: ["error": "\(error)"])
    }
    layoutRefresh.onFetched(inForce: layoutVersion, at: now)
  }

  private func install(_ layout: Layout, _ table: PartitionTable) {
    guard layout.version > layoutVersion, cluster == .none || layout.cluster == cluster else { return }
    let before = routes?.links ?? []
    let members = layout.members.map(link(for:))
    routes = Routes(layout: layout, table: table, links: members)
    logger.debug("layout learnt", metadata: ["version": "\(layout.version)", "members": "\(layout.members.count)"])
    for link in before where !members.contains(where: { $0 === link }) && !endpoints.contains(where: { $0 === link }) {
      link.leave()
    }
  }

  /// The link to a member: one that is connected to that very node already, else one to its address.
  private func link(for member: Member) -> NodeLink {
    let link = linksByNumber.first { $0.node == member.id } ?? link(to: member.clientAddress)
    link.member = member
    link.isNear = configuration.zone != nil && member.zone == configuration.zone
    return link
  }
}
