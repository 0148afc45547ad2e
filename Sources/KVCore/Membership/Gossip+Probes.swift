import KVModel

// Asking: one member a period, then through others, then the accusation.
extension Gossip {
  /// The last probe has ended one way or the other; the next one begins.
  mutating func startRound(_ now: Instant, _ effects: inout [Control.Effect]) {
    if let failed = probe { onProbeFailed(failed, now, &effects) }
    probe = nil
    let multiplier = health.multiplier
    nextRound = now.advanced(by: Gossip.period * multiplier)
    let (table, linked) = (table, linked)
    let target = round.draw(&random) { node in
      guard let place = table.place(of: node) else { return false }
      // Over a link even the dead may answer; without one somebody else may reach who is not known to be dead.
      return linked[place] || table.entries[place].state != .dead
    }
    guard let target else { return }
    let number = number()
    let isLinked = isLinked(target)
    var askAt: Instant? = isLinked ? now.advanced(by: Gossip.patience * multiplier) : now
    // The dead are only asked so that they hear of it.
    if table[target]?.state == .dead { askAt = nil }
    probe = Probe(node: target, number: number, askAt: askAt)
    if isLinked { send(.ping(news(for: target)), probe: number, to: target, &effects) }
    if askAt == now { askOthers(&effects) }
  }

  mutating func askOthers(_ effects: inout [Control.Effect]) {
    guard let probe else { return }
    var helpers = zip(table.entries, linked)
      .filter { $0.node != me && $0.node != probe.node && $0.state == .alive && $1 }.map(\.0.node)
    while helpers.count > Gossip.helpersMax { helpers.remove(at: random.index(helpers.count)) }
    self.probe?.askAt = nil
    self.probe?.helpers = helpers
    for helper in helpers { send(.ask(probe.node, news(for: helper)), probe: probe.number, to: helper, &effects) }
  }

  private mutating func onProbeFailed(_ failed: Probe, _ now: Instant, _ effects: inout [Control.Effect]) {
    counters.failedProbes += 1
    if table[failed.node]?.state == .dead { return }
    memory.note(failed.node, answered: false)
    // Helpers that got no answer either say so. Silence of them all is a sign that the fault lies here.
    if failed.nacks == 0 { health.onBadSign() }
    if now >= accusesFrom { accuse(failed.node, now, &effects) }
  }

  // MARK: Answers

  mutating func onAck(_ number: UInt32, from node: NodeID, _ effects: inout [Control.Effect]) {
    if let place = relays.firstIndex(where: { $0.number == number && $0.target == node }) {
      let relay = relays.remove(at: place)
      return send(.ack(news(for: relay.asker)), probe: relay.askerProbe, to: relay.asker, &effects)
    }
    guard let probe, probe.number == number, node == probe.node || probe.helpers.contains(node) else { return }
    memory.note(probe.node, answered: true)
    health.onGoodSign()
    self.probe = nil
  }

  mutating func onNack(_ number: UInt32, from node: NodeID) {
    guard let probe, probe.number == number, probe.helpers.contains(node) else { return }
    self.probe?.nacks += 1
  }

  // MARK: For others

  mutating func onAsked(
    _ target: NodeID, _ number: UInt32, by asker: NodeID, _ now: Instant, _ effects: inout [Control.Effect]
  ) {
    guard table.place(of: target) != nil, target != me else { return counters.refuse(.unknownMember) }
    guard isLinked(target) else { return refuse(asker, number, target, &effects) }
    if relays.count >= Gossip.relaysMax { return }
    let relay = Relay(
      asker: asker, askerProbe: number, target: target, number: self.number(),
      due: now.advanced(by: Gossip.patience))
    relays.append(relay)
    send(.ping(news(for: target)), probe: relay.number, to: target, &effects)
  }

  mutating func endRelays(_ now: Instant, _ effects: inout [Control.Effect]) {
    while let place = relays.firstIndex(where: { $0.due <= now }) {
      let relay = relays.remove(at: place)
      refuse(relay.asker, relay.askerProbe, relay.target, &effects)
    }
  }

  /// It did not answer this node either, which looks into that itself unless it knows already.
  private mutating func refuse(
    _ asker: NodeID, _ number: UInt32, _ target: NodeID, _ effects: inout [Control.Effect]
  ) {
    if table[target]?.state == .alive { round.hasten(target) }
    send(.nack(news(for: asker)), probe: number, to: asker, &effects)
  }

  // MARK: Whole tables

  mutating func exchange(_ now: Instant, _ effects: inout [Control.Effect]) {
    let period = Gossip.exchangePeriod.nanoseconds
    nextExchange = now.advanced(by: Span64(nanoseconds: period / 2 + random.below(period)))
    let partners = zip(table.entries, linked).filter { $0.node != me && $0.state != .dead && $1 }.map(\.0.node)
    if partners.isEmpty { return }
    send(.push(table.entries), probe: 0, to: partners[random.index(partners.count)], &effects)
  }
}
