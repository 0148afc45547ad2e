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

/// The members of a cluster and how each is.
struct ClusterHealth {
  enum Condition: Equatable {
    case up
    /// Its peers wait for it longer than they should.
    case slow
    case draining
    /// Nobody reaches it; for how long, as its peers know.
    case down(sinceMs: UInt64?)
    /// Its peers reach it, this machine does not.
    case cutOff
    /// Another identity answers at its address: its data is gone.
    case wiped

    var serves: Bool {
      switch self {
      case .up, .slow, .cutOff: true
      case .draining, .down, .wiped: false
      }
    }
  }

  struct Row {
    var member: Member
    var condition: Condition
    /// What it says of itself, if it answered.
    var description: NodeDescription?
    /// Its share of the copies of all partitions.
    var copies: Int
  }

  let layout: Layout
  let rows: [Row]
  /// Partitions of which fewer owners serve than a quorum needs.
  let belowQuorum: Int
  /// Copies of all partitions.
  let copies: Int

  init(layout: Layout, table: PartitionTable, answers: [(address: Address, answer: Survey.Answer)]) {
    let descriptions = answers.compactMap { entry in (try? entry.answer.get()).map { (entry.address, $0) } }
    var owned = [Int](repeating: 0, count: layout.members.count)
    for owner in table.owners { owned[Int(owner)] += 1 }
    let rows = layout.members.enumerated().map { place, member in
      let (condition, description) = ClusterHealth.condition(of: member, descriptions)
      return Row(member: member, condition: condition, description: description, copies: owned[place])
    }
    let needed = max(layout.settings.readQuorum, layout.settings.writeQuorum)
    belowQuorum = (0..<table.partitions).count { partition in
      table[PartitionID(UInt16(partition))].count { rows[Int($0)].condition.serves } < needed
    }
    copies = table.owners.count
    self.layout = layout
    self.rows = rows.sorted { ClusterHealth.precedes($0.member.name, $1.member.name) }
  }

  /// `n2` before `n10`.
  private static func precedes(_ a: String, _ b: String) -> Bool {
    a.utf8.count == b.utf8.count ? a < b : a.utf8.count < b.utf8.count
  }

  private static func condition(
    of member: Member, _ descriptions: [(Address, NodeDescription)]
  ) -> (Condition, NodeDescription?) {
    let views = descriptions.flatMap { $0.1.peers.filter { $0.node == member.id } }
    if let own = descriptions.first(where: { $0.1.member.id == member.id })?.1 {
      if own.state == .draining { return (.draining, own) }
      return (!views.isEmpty && views.allSatisfy { $0.health == .slow } ? .slow : .up, own)
    }
    let impostor = descriptions.contains { address, description in
      address == member.clientAddress || description.expected == member.id
    }
    if impostor || views.contains(where: { $0.health == .replaced }) { return (.wiped, nil) }
    if views.contains(where: { $0.health == .up || $0.health == .slow }) { return (.cutOff, nil) }
    return (.down(sinceMs: views.filter { $0.health == .unreachable }.map(\.sinceMs).max()), nil)
  }

  var isWhole: Bool { rows.allSatisfy { $0.condition == .up } }
}

extension ClusterHealth {
  /// A sentence for each member that is not as it should be, and what will be needed.
  var warnings: [String] { rows.compactMap(warning) }

  private func warning(_ row: Row) -> String? {
    let name = row.member.name
    switch row.condition {
    case .up: return nil
    case .slow: return "\(name) answers its peers late"
    case .draining: return "\(name) is draining and takes nothing new"
    case .down(let sinceMs):
      let since = sinceMs.map { " for \(Units.span(ms: $0))" } ?? ""
      return "\(name) unreachable\(since), intent up"
    case .cutOff: return "\(name) cannot be reached from here at \(row.member.clientAddress), but its peers reach it"
    case .wiped:
      return "\(name) lost its identity: another data directory answers at \(row.member.clientAddress). Restore the "
        + "directory of node \(row.member.id), or have it replaced by a change of the layout"
    }
  }

  /// The last lines of `status`.
  func verdict(_ colour: Colour) -> [String] {
    let settings = layout.settings
    let quorum = "\(Units.plural(belowQuorum, "partition")) below quorum"
    if isWhole {
      return [
        colour.green("OK") + "    \(rows.count) of \(rows.count) nodes up; "
          + "\(Units.plural(settings.partitions, "partition")), N=\(settings.replication) R=\(settings.readQuorum) "
          + "W=\(settings.writeQuorum), layout \(layout.version)"
      ]
    }
    return warnings.enumerated().map { place, warning in
      colour.yellow("WARN") + "  " + warning + (place == warnings.count - 1 ? "; \(quorum)" : "")
    }
  }

  var exit: ShellStatus { isWhole ? .done : belowQuorum > 0 ? .quorumNotReachable : .degraded }
}
