import ArgumentParser
import KVClient
import KVModel

struct ConfigVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Shows what is configured.", discussion: "Example: kvctl config show",
    subcommands: [Show.self])

  struct Show: Verb {
    static let configuration = CommandConfiguration(
      commandName: "show", abstract: "Shows the settings in force, of the cluster and of each node.",
      discussion: """
        What all nodes agree on is fixed by 'kvctl cluster init'; the rest stands in each node's kvnode.yaml. A setting
        that a node does not tell is shown by 'kvnode --check-config' on its host.

        Example: kvctl config show --json
        """)

    @OptionGroup var global: GlobalOptions

    func execute(_ session: Session) async throws(CommandFailure) -> Report {
      let survey = await Survey.take(session)
      guard !survey.descriptions.isEmpty else { throw survey.unreachable }
      var report = ConfigDocument.report(survey.layout, survey.descriptions.map(\.1))
      report.failures = survey.failures
      return report
    }
  }
}

/// `kvctl config show`, for people and for programs.
enum ConfigDocument {
  static func report(_ layout: Layout?, _ nodes: [NodeDescription]) -> Report {
    let nodes = nodes.sorted { $0.member.name < $1.member.name }
    var report = Report(
      .object([
        ("settings", .optional(layout?.settings, json)), ("nodes", .array(nodes.map(json))),
      ]))
    if let settings = layout?.settings {
      var shared = Table(["CLUSTER", "VALUE"])
      shared.rows = rows(settings)
      report.lines = shared.lines() + [""]
    } else {
      report.notes.append("no cluster is formed; what each node would bring into one:")
    }
    var table = Table(["NODE", "ZONE", "HOST", "WEIGHT", "SHARDS", "DURABILITY", "CLIENTS AT", "PEERS AT"])
    table.rows = nodes.map {
      [
        $0.member.name, $0.member.zone.isEmpty ? "-" : $0.member.zone, $0.member.host,
        JSON.fixed(Double($0.member.weight) / 100, digits: 1), String($0.shards), $0.syncs ? "sync" : "os",
        $0.member.clientAddress.description, $0.member.peerAddress.description,
      ]
    }
    report.lines += table.lines()
    return report
  }

  private static func rows(_ settings: ClusterSettings) -> [[String]] {
    [
      ["name", settings.name], ["replication", String(settings.replication)],
      ["read_quorum", String(settings.readQuorum)], ["write_quorum", String(settings.writeQuorum)],
      ["partitions", Units.count(settings.partitions)], ["virtual_nodes", Units.count(settings.virtualNodes)],
      ["merkle_leaves", Units.count(1 << settings.leafBits)],
    ]
  }

  private static func json(_ settings: ClusterSettings) -> JSON {
    .object([
      ("name", .text(settings.name)), ("replication", .integer(settings.replication)),
      ("read_quorum", .integer(settings.readQuorum)), ("write_quorum", .integer(settings.writeQuorum)),
      ("partitions", .integer(settings.partitions)), ("virtual_nodes", .integer(settings.virtualNodes)),
      ("merkle_leaves", .integer(1 << settings.leafBits)),
    ])
  }

  private static func json(_ node: NodeDescription) -> JSON {
    .object([
      ("node", .text(node.member.name)), ("node_id", .text(node.member.id)), ("zone", .text(node.member.zone)),
      ("host", .text(node.member.host)), ("weight", .fraction(Double(node.member.weight) / 100, digits: 2)),
      ("shards", .integer(Int64(node.shards))), ("durability", .text(node.syncs ? "sync" : "os")),
      ("release", .text(node.release)), ("client_address", .text(node.member.clientAddress.description)),
      ("peer_address", .text(node.member.peerAddress.description)),
    ])
  }
}
