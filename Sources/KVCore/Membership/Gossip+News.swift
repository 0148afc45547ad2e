import KVModel

// Hearing: what a member says of itself, what it says of others, what it says of this node.
extension Gossip {
  mutating func onMessage(
    _ message: GossipMessage, from node: NodeID, _ now: Instant, _ effects: inout [Control.Effect]
  ) {
    guard isActive, let place = table.place(of: node) else { return }
    guard message.cluster == cluster else { return counters.refuse(.otherCluster) }
    guard message.sender.node == node, message.sender.state == .alive else { return counters.refuse(.forgedSender) }
    counters.received += 1
    note(message, at: place)
    take(message.sender)
    // What it does not know of itself it is told, so that it can say more.
    if table.entries[place].supersedes(message.sender) { rumours.add(Rumour(table.entries[place])) }
    switch message.content {
    case .ping(let heard):
      hear(heard, now)
      send(.ack(news(for: node)), probe: message.probe, to: node, &effects)
    case .ack(let heard):
      hear(heard, now)
      onAck(message.probe, from: node, &effects)
    case .ask(let target, let heard):
      hear(heard, now)
      onAsked(target, message.probe, by: node, now, &effects)
    case .nack(let heard):
      hear(heard, now)
      onNack(message.probe, from: node)
    case .push(let entries):
      if hear(entries, from: node, now) { send(.pull(table.entries), probe: 0, to: node, &effects) }
    case .pull(let entries): hear(entries, from: node, now)
    }
    wake(&effects)
  }

  /// What a seed knows of the members: as good as a table of one of them, and not bound to a link.
  mutating func onVisited(_ visit: Visit, from node: NodeID, _ now: Instant, _ effects: inout [Control.Effect]) {
    guard isActive, visit.layout.cluster == cluster else { return }
    hear(visit.members, from: node, now)
    wake(&effects)
  }

  private mutating func note(_ message: GossipMessage, at place: Int) {
    let differs = message.layoutVersion != layoutVersion || message.layoutDigest != layoutDigest
    if hasOtherLayout[place] == differs { return }
    hasOtherLayout[place] = differs
    changes.append(.layout(table.entries[place].node, differs: differs))
  }

  private mutating func hear(_ heard: [Rumour], _ now: Instant) { for rumour in heard { hear(rumour, now) } }

  /// A table; false when it was refused.
  @discardableResult
  private mutating func hear(_ entries: [MemberEntry], from node: NodeID, _ now: Instant) -> Bool {
    guard entries.count <= table.count else {
      counters.refuse(.giantTable)
      return false
    }
    for entry in entries { hear(Rumour(entry, accuser: node), now) }
    return true
  }

  /// Hearsay.
  private mutating func hear(_ rumour: Rumour, _ now: Instant) {
    let entry = rumour.entry
    guard let place = table.place(of: entry.node) else { return counters.refuse(.unknownMember) }
    let known = table.entries[place]
    if entry.state == .suspect, entry == known { return confirm(rumour) }
    guard entry.supersedes(known) || planted(.lowerIncarnationTaken) else { return }
    guard !table.isAbsurd(entry) else { return counters.refuse(.absurd) }
    if entry.node == me { return refute(entry) }
    guard entry.state != .suspect || table.place(of: rumour.accuser) != nil else {
      return counters.refuse(.unknownMember)
    }
    take(entry, accuser: rumour.accuser, now)
  }

  /// A member's own word.
  private mutating func take(_ entry: MemberEntry) {
    guard let known = table[entry.node], entry != known else { return }
    take(entry, accuser: NodeID(0), Instant(nanoseconds: 0))
  }

  /// What is new is remembered, passed on, and acted upon.
  private mutating func take(_ entry: MemberEntry, accuser: NodeID, _ now: Instant) {
    guard let known = table[entry.node], table.merge(entry) else { return }
    rumours.add(Rumour(entry, accuser: entry.state == .suspect ? accuser : NodeID(0)))
    suspicions.removeAll { $0.node == entry.node }
    switch entry.state {
    case .alive: break
    case .suspect:
      suspect(entry.node, by: accuser, now)
      // A few look into it themselves: they confirm it, or give it another chance to refute.
      if random.chance(6, of: UInt64(max(6, table.count))) { round.hasten(entry.node) }
    case .dead:
      memory.forget(entry.node)
      counters.died += 1
    }
    if entry.state != known.state { changes.append(.state(entry.node, entry.state)) }
    if entry.peerAddress != known.peerAddress || entry.clientAddress != known.clientAddress {
      changes.append(.moved(entry.node))
    }
  }

  /// Somebody says of this node what it has not said itself: it says more.
  private mutating func refute(_ entry: MemberEntry) {
    counters.refuted += 1
    if entry.state != .alive { health.onBadSign() }
    var word = own
    word.generation = entry.generation
    word.incarnation = planted(.incarnationKept) ? entry.incarnation : max(entry.incarnation, entry.incarnation &+ 1)
    word.state = .alive
    table.merge(word)
    rumours.add(Rumour(word))
  }

  // MARK: Accusations

  /// This node got no answer from it.
  mutating func accuse(_ node: NodeID, _ now: Instant, _ effects: inout [Control.Effect]) {
    guard var entry = table[node] else { return }
    switch entry.state {
    case .dead: return
    case .suspect: confirm(Rumour(entry, accuser: me))
    case .alive:
      entry.state = .suspect
      table.merge(entry)
      rumours.add(Rumour(entry, accuser: me))
      suspect(node, by: me, now)
      changes.append(.state(node, .suspect))
    }
    // It hears at once what is said of it.
    if isLinked(node) { send(.ping(news(for: node)), probe: number(), to: node, &effects) }
  }

  private mutating func suspect(_ node: NodeID, by accuser: NodeID, _ now: Instant) {
    counters.suspected += 1
    let place = suspicions.firstIndex { node < $0.node } ?? suspicions.count
    suspicions.insert(Suspicion(of: node, by: accuser, among: table.count, at: now), at: place)
  }

  private mutating func confirm(_ rumour: Rumour) {
    guard let place = suspicions.firstIndex(where: { $0.node == rumour.entry.node }),
      table.place(of: rumour.accuser) != nil, rumour.accuser != rumour.entry.node
    else { return }
    if suspicions[place].confirm(by: rumour.accuser) { rumours.add(rumour) }
  }

  mutating func decideSuspicions(_ now: Instant) {
    for place in suspicions.indices.reversed() where suspicions[place].due <= now {
      guard memory.reachesMost, !planted(.suspicionKept) else {
        suspicions[place].lookAgain(at: now.advanced(by: Gossip.period))
        continue
      }
      guard var entry = table[suspicions[place].node] else { continue }
      entry.state = .dead
      take(entry, accuser: NodeID(0), now)
    }
  }
}
