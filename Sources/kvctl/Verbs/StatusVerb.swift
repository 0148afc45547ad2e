import ArgumentParser
import KVClient
import KVModel

struct StatusVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows a row for each node, and a verdict in the last line.",
    discussion: """
      A mark behind the state (down!) says that the node should be up and is not. Exits with 0 when something could be
      shown; scripts ask 'kvctl health'.

      Example: kvctl status --endpoints 10.0.0.1:7420,10.0.0.2:7420
      Example: kvctl status --watch 2s
      """)

  @OptionGroup var global: GlobalOptions

  var watchEvery: Duration? { global.watch?.duration }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let survey = await Survey.take(session)
    guard !survey.descriptions.isEmpty else { throw survey.unreachable }
    guard let layout = survey.layout, let table = survey.table else { return StatusDocument.unformed(survey, session) }
    let health = ClusterHealth(layout: layout, table: table, answers: survey.answers)
    var report = Report(StatusDocument.json(health))
    report.lines = StatusDocument.table(health, session.colour) + health.verdict(session.colour)
    return report
  }
}

extension Survey {
  /// What to throw when nobody answered: the first reason, and how many there are.
  var unreachable: CommandFailure {
    let all = failures
    guard var first = all.first else { return CommandFailure(.cannotConnect, "unreachable", "no node was asked") }
    if all.count > 1 { first.message += "; nor did \(all.count - 1) more of the endpoints answer" }
    first.exit = .cannotConnect
    return first
  }
}

/// `kvctl status`, for people and for programs.
enum StatusDocument {
  static let heading = ["NODE", "STATE", "ZONE", "WEIGHT", "RING", "DISK", "P99 R/W", "HINTS", "REPAIRED"]

  static func table(_ health: ClusterHealth, _ colour: Colour) -> [String] {
    var table = Table(heading)
    table.rows = health.rows.map { cells($0, of: health.copies) }
    return table.lines { cell, column in
      if column == 5, cell.hasSuffix("!") { return colour.red(cell) }
      guard column == 1 else { return cell }
      return cell.hasSuffix("!") ? colour.red(cell) : cell == "up" ? colour.green(cell) : colour.yellow(cell)
    }
  }

  private static func cells(_ row: ClusterHealth.Row, of copies: Int) -> [String] {
    let measured = row.description?.measurements
    return [
      row.member.name, state(row), row.member.zone.isEmpty ? "-" : row.member.zone,
      JSON.fixed(Double(row.member.weight) / 100, digits: 1),
      Units.percent(UInt64(row.copies), of: UInt64(copies), digits: 1),
      measured.map(disk) ?? "-", measured.map(latencies) ?? "-", measured.map { "\($0.hintsWaiting)" } ?? "-",
      measured.map(repaired) ?? "-",
    ]
  }

  /// How much of its copy is whole, while it is up and not all of it is.
  private static func state(_ row: ClusterHealth.Row) -> String {
    guard case .up = row.condition, let measured = row.description?.measurements, measured.isRebuilding else {
      return word(row.condition)
    }
    if measured.partitionsWhole == measured.partitionsOwned { return "mends \(measured.keysMissing) keys" }
    let percent = Units.percent(UInt64(measured.partitionsWhole), of: UInt64(measured.partitionsOwned), digits: 0)
    return "rebuilds \(percent)"
  }

  static func word(_ condition: ClusterHealth.Condition) -> String {
    switch condition {
    case .up: "up"
    case .slow: "slow!"
    case .draining: "draining"
    case .down: "down!"
    case .cutOff: "cut off!"
    case .isolated: "isolated!"
    case .wiped: "wiped!"
    case .unconfirmed: "starting"
    case .wentBack: "went back!"
    }
  }

  /// With a mark while only the reserve is left.
  static func disk(_ measured: NodeDescription.Measurements) -> String {
    Units.percent(measured.diskUsedBytes, of: measured.diskTotalBytes, digits: 0)
      + (measured.isDiskNearlyFull ? "!" : "")
  }

  private static func repaired(_ measured: NodeDescription.Measurements) -> String {
    switch measured.repairAgeMs {
    case 0: "-"
    case .max: "not yet"
    case let age: "\(Units.span(ms: age)) ago"
    }
  }

  static func latencies(_ measured: NodeDescription.Measurements) -> String {
    if measured.readP99Us == 0, measured.writeP99Us == 0 { return "-" }
    return "\(milliseconds(measured.readP99Us))/\(milliseconds(measured.writeP99Us)) ms"
  }

  private static func milliseconds(_ us: UInt64) -> String {
    us == 0 ? "-" : JSON.fixed(Double(us) / 1_000, digits: us < 10_000 ? 1 : 0)
  }

  static func json(_ health: ClusterHealth) -> JSON {
    .object([
      ("nodes", .array(health.rows.map { json($0, of: health) })),
      ("partitions", .integer(health.layout.settings.partitions)),
      ("partitions_below_quorum", .integer(health.belowQuorum)),
      ("replication", .integer(health.layout.settings.replication)),
      ("read_quorum", .integer(health.layout.settings.readQuorum)),
      ("write_quorum", .integer(health.layout.settings.writeQuorum)),
      ("broken_links", .array(health.links.map(\.json))),
      ("verdict", .text(health.isWhole ? "ok" : "warn")), ("warnings", .array(health.warnings.map(JSON.text))),
    ])
  }

  private static func json(_ row: ClusterHealth.Row, of health: ClusterHealth) -> JSON {
    var members: [(String, JSON)] = [
      ("node", .text(row.member.name)), ("node_id", .text(row.member.id)),
      ("state", .text(word(row.condition).filter { $0 != "!" })), ("intent", .text("up")),
      ("zone", .text(row.member.zone)), ("host", .text(row.member.host)),
      ("client_address", .text(row.member.clientAddress.description)),
      ("weight", .fraction(Double(row.member.weight) / 100, digits: 2)),
      ("ring_share", .fraction(Double(row.copies) / Double(max(1, health.copies)), digits: 4)),
    ]
    if case .down(let sinceMs) = row.condition { members.append(("since_ms", .optional(sinceMs) { .integer($0) })) }
    if let description = row.description { members += measurements(description) }
    return .object(members)
  }

  private static func measurements(_ description: NodeDescription) -> [(String, JSON)] {
    let measured = description.measurements
    return [
      ("release", .text(description.release)), ("shards", .integer(Int64(description.shards))),
      ("syncs", .bool(description.syncs)), ("uptime_ms", .integer(measured.uptimeMs)),
      ("disk_used_bytes", .integer(measured.diskUsedBytes)), ("disk_total_bytes", .integer(measured.diskTotalBytes)),
      ("disk_nearly_full", .bool(measured.isDiskNearlyFull)), ("data_bytes", .integer(measured.dataBytes)),
      ("keys", .integer(measured.keys)), ("reads", .integer(measured.reads)), ("writes", .integer(measured.writes)),
      ("read_p99_us", .integer(measured.readP99Us)), ("write_p99_us", .integer(measured.writeP99Us)),
      ("hints_waiting", .integer(measured.hintsWaiting)),
      (
        "rebuild",
        measured.isRebuilding
          ? .object([
            ("partitions_whole", .integer(UInt64(measured.partitionsWhole))),
            ("partitions_owned", .integer(UInt64(measured.partitionsOwned))),
            ("keys_missing", .integer(measured.keysMissing)),
          ]) : .null
      ),
      ("repair_age_ms", measured.repairAgeMs == .max ? .null : .integer(measured.repairAgeMs)),
    ]
  }

  /// Nodes that answer but belong to no cluster yet.
  static func unformed(_ survey: Survey, _ session: Session) -> Report {
    let nodes = survey.descriptions.map(\.1)
    var table = Table(["NODE", "STATE", "ZONE", "WEIGHT", "CLIENTS AT"])
    table.rows = nodes.map {
      [
        $0.member.name, word($0.state), $0.member.zone.isEmpty ? "-" : $0.member.zone,
        JSON.fixed(Double($0.member.weight) / 100, digits: 1), $0.member.clientAddress.description,
      ]
    }
    var report = Report(
      .object([
        (
          "nodes",
          .array(
            nodes.map {
              .object([
                ("node", .text($0.member.name)), ("node_id", .text($0.member.id)),
                ("state", .text(word($0.state).filter { $0 != "!" })),
              ])
            })
        ), ("verdict", .text("warn")), ("warnings", .array([.text(advice(nodes, session))])),
      ]))
    report.lines = table.lines() + [session.colour.yellow("WARN") + "  " + advice(nodes, session)]
    report.failures = survey.failures
    return report
  }

  /// Of a node that is no member.
  private static func word(_ state: NodeDescription.State) -> String {
    switch state {
    case .stranger: "wiped!"
    case .outside: "outside"
    case .uninitialised, .serving, .draining, .unconfirmed, .wentBack: "new"
    }
  }

  private static func advice(_ nodes: [NodeDescription], _ session: Session) -> String {
    if let lost = nodes.first(where: { $0.state == .stranger }) {
      return
        "\(lost.member.name) is no member of its cluster: its peers expect node \(lost.expected) here. Restore that "
        + "node's data directory, or have it replaced by a change of the layout"
    }
    return "no cluster is formed; 'kvctl cluster init --endpoints "
      + session.endpoints.map(\.description).joined(separator: ",") + "' forms one"
  }
}
