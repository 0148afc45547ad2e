import KVModel

// What gossip finds out goes to the log, to whoever asks for a description, and to the shards and links.
extension Control {
  /// A layout is in force.
  mutating func adoptGossip(_ layout: Layout, _ now: Now, _ effects: inout [Effect]) {
    gossip.adopt(layout, as: ownEntry, now.instant, &effects)
  }

  var ownEntry: MemberEntry {
    MemberEntry(
      node: state.id, generation: state.generation.number, incarnation: 0, state: .alive,
      clientAddress: member.clientAddress, peerAddress: member.peerAddress, name: member.name)
  }

  /// Follows up what gossip found out in this step.
  mutating func followGossip(_ now: Now, _ effects: inout [Effect]) {
    if gossip.changes.isEmpty { return }
    let changes = gossip.changes
    gossip.changes.removeAll(keepingCapacity: true)
    var isNews = false
    for change in changes {
      switch change {
      case .state(let node, let state):
        isNews = true
        onMemberState(node, state, now, &effects)
      case .moved(let node):
        isNews = true
        if let peer = peers.first(where: { $0.member.id == node }), let entry = gossip.table[node],
          entry.peerAddress != peer.member.peerAddress
        {
          effects.append(.note(.moved(node, name: peer.member.name, peerAddress: entry.peerAddress)))
        }
      case .layout(let node, let differs):
        guard let peer = peers.first(where: { $0.member.id == node }) else { continue }
        effects.append(.note(.layout(node, name: peer.member.name, differs: differs)))
      }
    }
    if isNews { effects.append(.liveness(Liveness(members: gossip.table.entries))) }
  }

  private mutating func onMemberState(
    _ node: NodeID, _ state: MemberEntry.State, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let index = peers.firstIndex(where: { $0.member.id == node }), peers[index].state != state else { return }
    peers[index].state = state
    peers[index].stateSince = now.instant
    effects.append(.note(.member(node, name: peers[index].member.name, state)))
  }

  /// What this node knows of the members by gossip, ascending by node, itself included; empty without a cluster.
  public var members: [MemberEntry] { gossip.table.entries }

  public var gossipCounters: GossipCounters { gossip.counters }

  /// Members that were found to live by another layout.
  public var membersWithOtherLayout: Int { gossip.hasOtherLayout.count { $0 } }
}

extension Control.Peer {
  /// What the link, the answers over it and gossip say together.
  var overall: NodeDescription.Peer.Health {
    switch (health, state) {
    case (.replaced, _): .replaced
    case (_, .dead): .dead
    case (.up, .suspect), (.slow, .suspect): .suspect
    case (_, _): health
    }
  }

  /// Since when it has been so.
  var overallSince: Instant {
    switch (health, state) {
    case (.unreachable, .dead): min(since, stateSince)
    case (.up, .suspect), (.slow, .suspect), (.up, .dead), (.slow, .dead): stateSince
    case (_, _): since
    }
  }
}
