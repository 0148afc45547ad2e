import KVCore
import KVModel

// In the end nothing happens, and the nodes do no more than they always do.
extension Simulation {
  private static let quietSpan: UInt64 = 3_000_000_000
  /// Gossip messages a second: a ping and an ack a period, some that are asked of a node, a table now and then.
  private static let gossipMax: UInt64 = 20

  /// For a while: no word about hints, gossip and comparisons at their pace, and everybody goes on knowing what is so.
  func checkQuiet(_ core: [Int]) {
    // What was swept on one node is being compared with what is not yet on another.
    if options.sweeps.intervalMs > 0 { runEvents(for: Simulation.quietSpan) { false } }
    let mendedBefore = mended(core)
    let handoffs = counts.handoffs
    let before = core.map { nodes[$0].chatter }
    runEvents(for: Simulation.quietSpan) { false }
    if counts.handoffs > handoffs, !isDamaged(core), violations.isEmpty {
      fail(Violation(.quiet, "\(counts.handoffs - handoffs) messages about hints, though there are none"))
    }
    // Exchanges go on for ever, and find nothing: no owner does what another one undoes (HAZARDS.md row 15).
    let mended = mended(core) - mendedBefore
    if options.exchangeInterval > 0, !isDamaged(core), mended > 0, violations.isEmpty {
      fail(Violation(.quiet, "exchanges still find \(mended) keys that differ, though nobody writes"))
    }
    for (place, index) in core.enumerated() where violations.isEmpty {
      checkPace(of: nodes[index], since: before[place], isDamaged: isDamaged(core))
    }
    guard violations.isEmpty, let disagreement = disagreement(among: core) else { return }
    fail(Violation(.liveness, "\(disagreement), though nothing happens"))
  }

  private func mended(_ core: [Int]) -> UInt64 {
    core.reduce(0) { $0 + nodes[$1].shards.reduce(0) { $0 + $1.counters.keysMended } }
  }

  private func checkPace(of node: SimulatedNode, since before: SimulatedNode.Chatter, isDamaged: Bool) {
    let seconds = Simulation.quietSpan / 1_000_000_000
    let gossip = node.chatter.gossip - before.gossip
    if gossip > Simulation.gossipMax * seconds {
      fail(Violation(.bounded, "\(node.name) sends \(gossip) gossip messages in \(seconds) s though nothing happens"))
    }
    // A damaged copy is compared down to its key each time.
    guard options.exchangeInterval > 0, !isDamaged else { return }
    let comparisons = node.chatter.comparisons - before.comparisons
    if comparisons > comparisonsMax(of: node) {
      fail(Violation(.bounded, "\(node.name) begins \(comparisons) comparisons in \(seconds) s though nothing happens"))
    }
  }

  /// One each interval and shard; and once each with every owner whose link came up not long ago.
  private func comparisonsMax(of node: SimulatedNode) -> UInt64 {
    let pairs = UInt64(layout.settings.partitions * (options.copies - 1))
    return pairs + UInt64(node.shards.count) * (Simulation.quietSpan / options.exchangeInterval + 2)
  }
}
