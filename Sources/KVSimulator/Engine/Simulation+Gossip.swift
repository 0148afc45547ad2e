import KVCore
import KVModel

// What gossip must come to once the faults have ended: everybody knows of everybody else what is so, and then it is quiet.
extension Simulation {
  /// Budget, simulated nanoseconds: the slowest node looks at each of seven members every 1.8 s, and a suspicion that
  /// nobody confirms lasts 3 s.
  private static let agreementSpan: UInt64 = 60_000_000_000

  /// The tables of all that run agree: alive are those that run, dead the others.
  func awaitAgreement(_ core: [Int]) {
    guard violations.isEmpty else { return }
    let hasAgreed = runEvents(for: Simulation.agreementSpan) { self.disagreement(among: core) == nil }
    if hasAgreed || !violations.isEmpty { return }
    fail(Violation(.liveness, "\(disagreement(among: core) ?? "") though the faults have ended a minute ago"))
  }

  func disagreement(among core: [Int]) -> String? {
    let members = nodes.filter { layout.member($0.id) != nil && $0.isUp }.map(\.id)
    var first: [MemberEntry]?
    for index in core {
      let table = nodes[index].control.members
      for entry in table where (entry.state == .alive) != members.contains(entry.node) || entry.state == .suspect {
        return "\(nodes[index].name) takes \(entry.name) for \(entry.state)"
      }
      if let first, first != table { return "\(nodes[index].name) knows other members than \(nodes[core[0]].name)" }
      first = table
    }
    return nil
  }
}
