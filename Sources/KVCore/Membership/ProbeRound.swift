import KVModel

/// Whom to probe next: every member once a round, each round in a new random order, so that the time until somebody
/// notices a silent member is bounded (SWIM §4.3). Who gives cause for it comes before its turn.
struct ProbeRound: Equatable, Sendable {
  private var order: [NodeID] = []
  private var next = 0
  /// Oldest first, each once.
  private var urgent: [NodeID] = []
  private var wasUrgent = false

  /// Begins a new round among these.
  mutating func adopt(_ nodes: [NodeID]) {
    order = nodes
    next = order.count
    urgent.removeAll { !nodes.contains($0) }
  }

  /// To be probed before its turn.
  mutating func hasten(_ node: NodeID) {
    if order.contains(node), !urgent.contains(node) { urgent.append(node) }
  }

  /// The next one that `isWorth` it; nil when nobody is.
  mutating func draw(_ random: inout PRNG, isWorth: (NodeID) -> Bool) -> NodeID? {
    // Every other probe at most, so that one that keeps giving cause does not take all turns.
    while !wasUrgent, !urgent.isEmpty {
      let node = urgent.removeFirst()
      wasUrgent = isWorth(node)
      if wasUrgent { return node }
    }
    wasUrgent = false
    for _ in 0..<2 * order.count {
      if next >= order.count { shuffle(&random) }
      next += 1
      if isWorth(order[next - 1]) { return order[next - 1] }
    }
    return nil
  }

  private mutating func shuffle(_ random: inout PRNG) {
    for place in stride(from: order.count - 1, to: 0, by: -1) { order.swapAt(place, random.index(place + 1)) }
    next = 0
  }
}
