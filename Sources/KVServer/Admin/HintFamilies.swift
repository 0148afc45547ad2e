import KVCore
import KVModel

extension NodeMetrics {
  /// What waits here for nodes that missed it, by node.
  var hintFamilies: [MetricFamily] {
    var waiting = MetricFamily(.gauge, "kvnode_hints_waiting", "Keys that a node missed, and that it is to be given.")
    var marks = MetricFamily(
      .gauge, "kvnode_hint_leaves_marked", "Merkle leaves in which a node missed something, for want of room for hints."
    )
    let targets = Set(shards.flatMap { $0.hints.targets.map(\.node) }).sorted()
    for target in targets {
      let label = MetricFamily.Label("node_id", "\(target)")
      let found = shards.flatMap { $0.hints.targets.filter { $0.node == target } }
      waiting.add([label], found.reduce(0) { $0 + UInt64($1.keys) })
      marks.add([label], found.reduce(0) { $0 + UInt64($1.marks) })
    }
    return (targets.isEmpty ? [] : [waiting, marks]) + [
      .counter(
        "kvnode_hints_over_budget_total", "Hints that found no room and marked a Merkle leaf instead.",
        sum { $0.hints.overBudget }),
      .gauge(
        "kvnode_writes_lagging", "Answered writes that wait to hear from their last owners.",
        Double(shards.reduce(0) { $0 + $1.lagging })),
    ]
  }
}
