import KVClient
import KVModel

/// What every known node says, asked from here, one by one.
struct Survey: Sendable {
  typealias Answer = Result<NodeDescription, KVError>

  /// In the order of the addresses asked.
  var answers: [(address: Address, answer: Answer)] = []
  var layout: Layout?
  var table: PartitionTable?

  /// Asks all endpoints, then the members of the layout that none of them was.
  static func take(_ session: Session) async -> Survey {
    let limit = min(session.timeout, .seconds(3))
    var survey = Survey()
    survey.answers = await describe(session.endpoints, session, limit)
    let informed = survey.descriptions.max { $0.1.layoutVersion < $1.1.layoutVersion }
    guard let (address, description) = informed, description.layoutVersion > 0 else { return survey }
    guard let (layout, table) = try? await session.admin.fetchLayout(address, deadline: limit) else { return survey }
    survey.layout = layout
    survey.table = table
    let known = Set(survey.descriptions.map(\.1.member.id))
    let asked = Set(session.endpoints)
    let others = layout.members.filter { !known.contains($0.id) && !asked.contains($0.clientAddress) }
    survey.answers += await describe(others.map(\.clientAddress), session, limit)
    return survey
  }

  /// The same where there must be a cluster; what its layout says.
  static func ofCluster(_ session: Session) async throws(CommandFailure) -> (Survey, Layout, PartitionTable) {
    let survey = await take(session)
    guard !survey.descriptions.isEmpty else { throw survey.unreachable }
    guard let layout = survey.layout, let table = survey.table else {
      throw CommandFailure(.error, "no_cluster", "no cluster is formed; see 'kvctl status'")
    }
    return (survey, layout, table)
  }

  /// All at once; the answers in the order of the addresses.
  static func describe(
    _ addresses: [Address], _ session: Session, _ limit: Duration
  ) async -> [(address: Address, answer: Answer)] {
    // Tasks of their own rather than a task group: a release build of one that answers this `Result` now and then ended
    // in SIGILL inside the group (Swift 6.3.1).
    let asked = addresses.map { address in Task { await describe(address, session, limit) } }
    var answers: [(address: Address, answer: Answer)] = []
    for (address, task) in zip(addresses, asked) { answers.append((address, await task.value)) }
    return answers
  }

  private static func describe(_ address: Address, _ session: Session, _ limit: Duration) async -> Answer {
    do throws(KVError) { return .success(try await session.admin.describe(address, deadline: limit)) } catch {
      return .failure(error)
    }
  }

  var descriptions: [(Address, NodeDescription)] {
    answers.compactMap { entry in (try? entry.answer.get()).map { (entry.address, $0) } }
  }

  /// The failures of those that did not answer.
  var failures: [CommandFailure] {
    answers.compactMap { entry in
      if case .failure(let error) = entry.answer {
        CommandFailure(error, node: entry.address.description)
      } else {
        nil
      }
    }
  }
}
