import ArgumentParser
import KVClient
import KVModel

struct HealthVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "health", abstract: "Says in one line how the cluster is: a probe for scripts.",
    discussion: """
      Exit codes: 0 healthy, 9 degraded but every key can be read and written at quorum, 7 some keys have no quorum,
      3 no node answers, 1 no cluster is formed.

      Example: kvctl health || echo "look at kvctl status"
      """)

  @OptionGroup var global: GlobalOptions

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let (survey, layout, table) = try await Survey.ofCluster(session)
    let health = ClusterHealth(layout: layout, table: table, answers: survey.answers)
    let word =
      switch health.exit {
      case .done: "healthy"
      case .quorumNotReachable: "no quorum"
      default: "degraded"
      }
    let up = health.rows.count { $0.condition == .up }
    var report = Report(
      .object([
        ("health", .text(word)), ("nodes", .integer(health.rows.count)), ("nodes_up", .integer(up)),
        ("partitions_below_quorum", .integer(health.belowQuorum)),
        ("warnings", .array(health.warnings.map(JSON.text))),
      ]))
    let details = ["\(up) of \(health.rows.count) nodes up", "\(health.belowQuorum) partitions below quorum"]
    report.lines = ["\(word): " + (details + health.warnings).joined(separator: "; ")]
    report.exit = health.exit
    return report
  }
}
