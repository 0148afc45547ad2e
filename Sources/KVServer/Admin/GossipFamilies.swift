import KVCore
import KVModel

extension NodeMetrics {
  /// Who lives, by this node's gossip, and what it costs.
  var gossipFamilies: [MetricFamily] {
    var states = MetricFamily(.gauge, "kvnode_members", "Members of the layout by what gossip knows of them.")
    for state in MemberEntry.State.allCases { states.add([.init("state", "\(state)")], members[state] ?? 0) }
    var messages = MetricFamily(.counter, "kvnode_gossip_messages_total", "Messages of failure detection.")
    messages.add([.init("direction", "sent")], gossip.sent)
    messages.add([.init("direction", "received")], gossip.received)
    let events: [(String, UInt64)] = [
      ("probe_failed", gossip.failedProbes), ("suspected", gossip.suspected), ("died", gossip.died),
      ("refuted", gossip.refuted), ("late", gossip.late),
    ]
    let refused = GossipCounters.Refused.allCases.map { Tally($0.rawValue, gossip.refused[$0] ?? 0) }
    return [
      states, messages,
      .gauge(
        "kvnode_members_with_other_layout", "Members that live by another layout than this node.",
        Double(membersWithOtherLayout)),
      .tallies(
        "kvnode_gossip_events_total",
        "Probes without an answer, members found suspect or dead, accusations of itself refuted, its own delays.",
        label: "event", events.map { Tally($0.0, $0.1) }),
      .tallies("kvnode_gossip_refused_total", "What was said of members and not believed.", refused),
    ]
  }
}
