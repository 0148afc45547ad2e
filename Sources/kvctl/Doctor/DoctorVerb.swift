import ArgumentParser
import KVClient
import KVModel

struct DoctorVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Says what is wrong, why, and the command that mends it.",
    discussion: """
      Asks every node for its description and its clock, and compares what they say of each other. Commands of the form
      'ssh HOST …' name the host as the layout does.

      Exit codes: 0 nothing is wrong (there may be notes), 9 something is, 7 some keys have no quorum, 3 no node answers.

      Example: kvctl doctor --endpoints 10.0.0.1:7420,10.0.0.2:7420
      """)

  @OptionGroup var global: GlobalOptions

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let survey = await Survey.take(session)
    guard !survey.descriptions.isEmpty else { throw survey.unreachable }
    var health: ClusterHealth?
    if let layout = survey.layout, let table = survey.table {
      health = ClusterHealth(layout: layout, table: table, answers: survey.answers)
    }
    let addresses = survey.descriptions.map(\.0)
    let answers = await Greeting.ask(addresses, within: min(session.timeout, .seconds(3)))
    var greetings: [Address: Greeting] = [:]
    for (address, greeting) in zip(addresses, answers) { greetings[address] = greeting }
    var diagnosis = Diagnosis(survey: survey, health: health, greetings: greetings, endpoints: session.endpoints)
    diagnosis.lost = await lost(survey, session)
    return DoctorDocument.report(diagnosis, session.colour)
  }
}

extension DoctorVerb {
  /// Asked of nodes that rebuild. One that does not answer, or is of a release that knows nothing of it, has none to tell.
  private func lost(_ survey: Survey, _ session: Session) async -> [NodeID: Int] {
    let rebuilding = Set(survey.descriptions.filter { $0.1.measurements.isRebuilding }.map(\.1.member.id))
    guard !rebuilding.isEmpty, var copies = try? await Copies.take(session) else { return [:] }
    copies.owners = copies.owners.filter { rebuilding.contains($0.id) }
    let standing = await LossStanding.take(copies, session)
    return Dictionary(standing.rows.map { ($0.owner.id, max(1, Int($0.entry.keys))) }, uniquingKeysWith: +)
  }
}

/// `kvctl doctor`, for people and for programs.
enum DoctorDocument {
  static func report(_ diagnosis: Diagnosis, _ colour: Colour) -> Report {
    let findings = diagnosis.findings
    let worst = findings.map(\.weight.rawValue).max() ?? 0
    var report = Report(
      .object([
        ("nodes", .integer(diagnosis.survey.descriptions.count)), ("findings", .array(findings.map(\.json))),
        ("verdict", .text(worst > 0 ? "warn" : "ok")),
      ]))
    report.lines = findings.flatMap { $0.lines(colour) }
    if worst == 0 {
      let nodes = Units.plural(diagnosis.survey.descriptions.count, "node")
      report.lines.append(colour.green("OK") + "       \(nodes) looked at, nothing is wrong")
    }
    if worst > 0 {
      report.exit = (diagnosis.health?.belowQuorum ?? 0) > 0 ? .quorumNotReachable : .degraded
    }
    return report
  }
}
