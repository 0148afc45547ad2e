import KVClient
import KVModel

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
    /// This machine reaches it, none of its peers does: it coordinates nothing, and counts for no quorum but its own.
    case isolated
    /// Another identity answers at its address: its data is gone.
    case wiped
    /// It has started, and no majority has confirmed yet that its data are the latest.
    case unconfirmed
    /// Its data are an old image of themselves: it takes no part.
    case wentBack

    var serves: Bool {
      switch self {
      case .up, .slow, .cutOff: true
      case .draining, .down, .isolated, .wiped, .unconfirmed, .wentBack: false
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
  /// Links between members that serve, which at least one end reports as broken.
  let links: [BrokenLink]
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
    links = BrokenLink.all(among: self.rows)
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
      switch own.state {
      case .draining: return (.draining, own)
      case .unconfirmed: return (.unconfirmed, own)
      case .wentBack: return (.wentBack, own)
      case .uninitialised, .serving, .stranger, .outside: break
      }
      if !views.isEmpty, views.allSatisfy(\.health.isGone) { return (.isolated, own) }
      return (!views.isEmpty && views.allSatisfy { [.slow, .suspect].contains($0.health) } ? .slow : .up, own)
    }
    let impostor = descriptions.contains { address, description in
      address == member.clientAddress || description.expected == member.id
    }
    if impostor || views.contains(where: { $0.health == .replaced }) { return (.wiped, nil) }
    if views.contains(where: \.health.isReachable) { return (.cutOff, nil) }
    return (.down(sinceMs: views.filter(\.health.isGone).map(\.sinceMs).max()), nil)
  }

  var isWhole: Bool {
    rows.allSatisfy { $0.condition == .up && $0.description?.measurements.isDiskNearlyFull != true } && links.isEmpty
  }
}

extension ClusterHealth {
  /// A sentence for each member and each link that is not as it should be, and what will be needed.
  var warnings: [String] { rows.compactMap(warning) + links.map(\.warning) }

  private func warning(_ row: Row) -> String? {
    let name = row.member.name
    switch row.condition {
    case .up:
      guard let measured = row.description?.measurements, measured.isDiskNearlyFull else { return nil }
      return
        "\(name) refuses new values: its disk is \(Units.percent(measured.diskUsedBytes, of: measured.diskTotalBytes, digits: 0)) full"
    case .slow: return "\(name) answers its peers late"
    case .draining: return "\(name) is draining and takes nothing new"
    case .down(let sinceMs):
      let since = sinceMs.map { " for \(Units.span(ms: $0))" } ?? ""
      return "\(name) unreachable\(since), intent up"
    case .unconfirmed: return "\(name) has started and waits for a majority of the nodes to confirm it"
    case .wentBack:
      return
        "\(name) runs on old data, or another process of it runs: its peers know of a later start. It begins anew and "
        + "rebuilds its copies when no other process of it has been heard of for 10 s"
    case .isolated: return "\(name) answers here, but none of its peers reaches it"
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
