import ArgumentParser
import KVClient
import KVModel

struct RingVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ring", abstract: "Shows who owns what.",
    discussion: "Example: kvctl ring locate user:1", subcommands: [Show.self, Locate.self])

  struct Show: Verb {
    static let configuration = CommandConfiguration(
      commandName: "show", abstract: "Shows the layout and each member's share of the ring.",
      discussion: "Example: kvctl ring show")

    @OptionGroup var global: GlobalOptions

    func execute(_ session: Session) async throws(CommandFailure) -> Report {
      let (layout, table) = try await asking { () throws(KVError) in try await session.admin.fetchLayout() }
      return RingDocument.show(layout, table)
    }
  }

  struct Locate: Verb {
    static let configuration = CommandConfiguration(
      commandName: "locate", abstract: "Shows a key's token, partition and owners.",
      discussion: "Example: kvctl ring locate user:1")

    @OptionGroup var key: KeyArguments
    @OptionGroup var global: GlobalOptions

    mutating func prepare() throws(CommandFailure) { _ = try key.kvKey() }

    func execute(_ session: Session) async throws(CommandFailure) -> Report {
      let model = try key.model()
      let (survey, layout, table) = try await Survey.ofCluster(session)
      let health = ClusterHealth(layout: layout, table: table, answers: survey.answers)
      return RingDocument.locate(model, layout, table, health)
    }
  }
}

/// `kvctl ring`, for people and for programs.
enum RingDocument {
  static func show(_ layout: Layout, _ table: PartitionTable) -> Report {
    var copies = [Int](repeating: 0, count: layout.members.count)
    var first = copies
    for partition in 0..<table.partitions {
      for (rank, owner) in table[PartitionID(UInt16(partition))].enumerated() {
        copies[Int(owner)] += 1
        if rank == 0 { first[Int(owner)] += 1 }
      }
    }
    let settings = layout.settings
    var rows = Table(["NODE", "ZONE", "HOST", "WEIGHT", "RING", "PARTITIONS", "FIRST", "CLIENTS AT"])
    rows.rows = layout.members.indices.map { place in
      let member = layout.members[place]
      return [
        member.name, member.zone.isEmpty ? "-" : member.zone, member.host,
        JSON.fixed(Double(member.weight) / 100, digits: 1),
        Units.percent(UInt64(copies[place]), of: UInt64(table.owners.count), digits: 1), Units.count(copies[place]),
        Units.count(first[place]), member.clientAddress.description,
      ]
    }
    rows.rows.sort { $0[0] < $1[0] }
    var report = Report(json(layout, copies, first))
    report.lines = rows.lines()
    report.lines.append(
      "cluster \(settings.name) (\(layout.cluster)), layout \(layout.version): \(Units.count(table.partitions)) "
        + "partitions, \(Units.plural(settings.virtualNodes, "virtual node")) a node, N=\(settings.replication) "
        + "R=\(settings.readQuorum) W=\(settings.writeQuorum)")
    return report
  }

  private static func json(_ layout: Layout, _ copies: [Int], _ first: [Int]) -> JSON {
    .object([
      ("name", .text(layout.settings.name)), ("partitions", .integer(layout.settings.partitions)),
      ("replication", .integer(layout.settings.replication)), ("read_quorum", .integer(layout.settings.readQuorum)),
      ("write_quorum", .integer(layout.settings.writeQuorum)),
      ("virtual_nodes", .integer(layout.settings.virtualNodes)),
      (
        "members",
        .array(
          layout.members.indices.map { place in
            let member = layout.members[place]
            return .object([
              ("node", .text(member.name)), ("node_id", .text(member.id)), ("zone", .text(member.zone)),
              ("host", .text(member.host)), ("weight", .fraction(Double(member.weight) / 100, digits: 2)),
              ("client_address", .text(member.clientAddress.description)),
              ("peer_address", .text(member.peerAddress.description)), ("partitions", .integer(copies[place])),
              ("first_of_partitions", .integer(first[place])),
            ])
          })
      ),
    ])
  }

  static func locate(_ key: Key, _ layout: Layout, _ table: PartitionTable, _ health: ClusterHealth) -> Report {
    let partition = key.token.partition(bits: table.partitionBits)
    let owners = table[partition].map { layout.members[Int($0)] }
    let state = Dictionary(uniqueKeysWithValues: health.rows.map { ($0.member.id, StatusDocument.word($0.condition)) })
    var report = Report(
      .object([
        ("token", .text(NodeID(key.token.position))), ("partition", .integer(Int64(partition.index))),
        (
          "owners",
          .array(
            owners.map {
              .object([
                ("node", .text($0.name)), ("node_id", .text($0.id)), ("zone", .text($0.zone)),
                ("state", .text((state[$0.id] ?? "-").filter { $0 != "!" })),
                ("client_address", .text($0.clientAddress.description)),
              ])
            })
        ),
      ]))
    var rows = Table(["OWNER", "STATE", "ZONE", "CLIENTS AT"])
    rows.rows = owners.map {
      [$0.name, state[$0.id] ?? "-", $0.zone.isEmpty ? "-" : $0.zone, $0.clientAddress.description]
    }
    report.lines =
      ["token \(NodeID(key.token.position)), partition \(partition) of \(Units.count(table.partitions))"] + rows.lines()
    return report
  }
}
