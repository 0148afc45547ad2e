import ArgumentParser
import KVModel

struct HintsVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "hints", abstract: "What nodes that were away have yet to be given.",
    discussion: "Example: kvctl hints list", subcommands: [HintsListVerb.self])
}

struct HintsListVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists, for each node that holds hints, for whom and how many.",
    discussion: """
      KEYS are handed over one by one when the node is back. LEAVES are parts of a partition's tree in which it missed
      something after there was no more room (hints.keys_max); an exchange finds the keys. OLDEST counts from the
      holder's start. Nodes count once a second. Exits with 9 when a node could not be asked, since it may hold more.

      Example: kvctl hints list --endpoints 10.0.0.1:7420,10.0.0.2:7420
      Example: kvctl hints list --json
      """)

  @OptionGroup var global: GlobalOptions

  var watchEvery: Duration? { global.watch?.duration }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let survey = await Survey.take(session)
    guard !survey.descriptions.isEmpty else { throw survey.unreachable }
    let names = Dictionary(
      survey.layout?.members.map { ($0.id, $0.name) } ?? [], uniquingKeysWith: { first, _ in first })
    var report = Report(HintsDocument.json(survey, names))
    report.lines = HintsDocument.lines(survey, names)
    report.failures = survey.failures
    if !survey.failures.isEmpty { report.exit = .degraded }
    return report
  }
}

/// `kvctl hints list`, for people and for programs.
enum HintsDocument {
  typealias Row = (holder: NodeDescription, waiting: NodeDescription.Waiting)

  private static func rows(_ survey: Survey) -> [Row] {
    survey.descriptions.flatMap { _, node in node.measurements.hints.map { (node, $0) } }
      .sorted { ($0.holder.member.name, $0.waiting.node) < ($1.holder.member.name, $1.waiting.node) }
  }

  /// A node that no layout names is shown by its id: its hints stay until the layout says what becomes of it.
  static func lines(_ survey: Survey, _ names: [NodeID: String]) -> [String] {
    let rows = rows(survey)
    if rows.isEmpty { return ["no hints are waiting"] }
    var table = Table(["HOLDER", "FOR", "KEYS", "LEAVES", "OLDEST"])
    table.rows = rows.map { row in
      [
        row.holder.member.name, names[row.waiting.node] ?? "\(row.waiting.node)", "\(row.waiting.keys)",
        "\(row.waiting.marks)", Units.span(ms: row.waiting.ageMs),
      ]
    }
    return table.lines()
  }

  static func json(_ survey: Survey, _ names: [NodeID: String]) -> JSON {
    let rows = rows(survey)
    return .object([
      (
        "hints",
        .array(
          rows.map { row in
            .object([
              ("holder", .text(row.holder.member.name)), ("holder_id", .text(row.holder.member.id)),
              ("for", .optional(names[row.waiting.node]) { .text($0) }), ("for_id", .text(row.waiting.node)),
              ("keys", .integer(row.waiting.keys)), ("leaves", .integer(row.waiting.marks)),
              ("oldest_ms", .integer(row.waiting.ageMs)),
            ])
          })
      ), ("keys_waiting", .integer(rows.reduce(0) { $0 + $1.waiting.keys })),
      ("leaves_waiting", .integer(rows.reduce(0) { $0 + $1.waiting.marks })),
    ])
  }
}
