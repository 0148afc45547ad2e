import KVClient
import KVModel

/// What is wrong with a cluster, from what its nodes say. Pure.
struct Diagnosis {
  /// Above this share of its file system a node is warned of, and above this one it is in trouble, percent: compaction
  /// needs room for what it rewrites.
  static let diskPercent = (warning: UInt64(80), trouble: UInt64(92))

  let survey: Survey
  let health: ClusterHealth?
  /// By the address that was greeted.
  let greetings: [Address: Greeting]
  let endpoints: [Address]
  /// Parts of a node's copy that too many owners have lost, of those that have any.
  var lost: [NodeID: Int] = [:]

  /// All findings, the heaviest first.
  var findings: [Finding] {
    let all = membership + reachability + links + clocks + disks + agreement
    return all.enumerated()
      .sorted { ($1.element.weight.rawValue, $0.offset) < ($0.element.weight.rawValue, $1.offset) }
      .map(\.element)
  }

  private var nodes: [(address: Address, description: NodeDescription)] {
    survey.descriptions.map { (address: $0.0, description: $0.1) }
  }

  // MARK: Who is there

  private var membership: [Finding] {
    var findings: [Finding] = []
    if health == nil, !nodes.isEmpty {
      let all = endpoints.map(\.description).joined(separator: ",")
      findings.append(
        Finding(
          .trouble, "no_cluster", nil, "no cluster is formed; nothing can be read or written",
          remedy: "kvctl cluster init --endpoints \(all)"))
    }
    for (address, description) in nodes where description.state == .stranger {
      findings.append(
        Finding(
          .trouble, "wiped", description.member.name,
          "its peers expect node \(description.expected) at \(address), and another data directory is there",
          remedy:
            "restore the data directory of node \(description.expected) on host \(description.member.host), then: "
            + "ssh \(description.member.host) systemctl restart kvnode"))
    }
    for (address, description) in nodes where description.state == .outside {
      findings.append(
        Finding(
          .warning, "outside", description.member.name,
          "the node at \(address) knows cluster \(description.cluster) by its seeds, and no layout lists it",
          remedy: "take \(address) out of --endpoints until the release that can add a node"))
    }
    if health != nil {
      for (address, description) in nodes where description.state == .uninitialised {
        findings.append(
          Finding(
            .warning, "not_member", description.member.name,
            "the node at \(address) belongs to no cluster, and no member of this one is expected there",
            remedy: "take \(address) out of --endpoints"))
      }
    }
    return findings
  }

  private var reachability: [Finding] {
    guard let health else { return unanswered(except: []) }
    var findings: [Finding] = []
    for row in health.rows {
      let (name, host, address) = (row.member.name, row.member.host, row.member.clientAddress)
      switch row.condition {
      case .up: findings += rebuilding(row)
      case .wiped: break
      case .slow:
        findings.append(
          Finding(
            .warning, "slow", name, "its peers wait for its answers longer than they should",
            remedy: "ssh \(host) iostat -x 1 5"))
      case .draining:
        findings.append(
          Finding(.note, "draining", name, "it takes nothing new and will stop", remedy: "nothing, if that is intended")
        )
      case .down(let sinceMs):
        let since = sinceMs.map { " for \(Units.span(ms: $0))" } ?? ""
        findings.append(
          Finding(
            .trouble, "unreachable", name, "nobody reaches it\(since): \(reason(address))",
            remedy: "ssh \(host) systemctl restart kvnode"))
      case .cutOff:
        findings.append(
          Finding(
            .warning, "cut_off", name, "its peers reach it, this machine does not: \(reason(address))",
            remedy: "nc -vz \(address.host) \(address.port)"))
      case .unconfirmed:
        findings.append(
          Finding(
            .warning, "unconfirmed", name, "it has started, and no majority of the nodes has confirmed it",
            remedy: "bring the other nodes up, and look at the links between them"))
      case .wentBack:
        findings.append(
          Finding(
            .trouble, "went_back", name,
            "its data are an old image, or another process of it runs: its peers know of a later start",
            remedy:
              "nothing yet: with enough of its peers up, and no other process of it heard of for 10 s, it begins anew and "
              + "rebuilds its copies; if it stays so, bring its peers up, and look for that process: ssh \(host) pgrep -a kvnode"
          ))
      case .isolated:
        let peer = row.member.peerAddress
        findings.append(
          Finding(
            .trouble, "isolated", name, "it answers here, but none of its peers reaches it at \(peer)",
            remedy: "from the host of another node: nc -vz \(peer.host) \(peer.port)"))
      }
    }
    if health.belowQuorum > 0 {
      findings.append(
        Finding(
          .trouble, "below_quorum", nil,
          "\(Units.plural(health.belowQuorum, "partition")) cannot be read or written at quorum",
          remedy: "bring the nodes above back first"))
    }
    return findings + unanswered(except: Set(health.rows.map(\.member.clientAddress)))
  }

  private func rebuilding(_ row: ClusterHealth.Row) -> [Finding] {
    guard let measured = row.description?.measurements, measured.isRebuilding else { return [] }
    if let parts = lost[row.member.id] {
      return [
        Finding(
          .trouble, "lost_beyond_quorum", row.member.name,
          "\(Units.plural(parts, "part")) of its copy, partitions or keys, were damaged here and on another owner: an "
            + "acknowledged write may have been on these alone, so that reads of them are refused",
          remedy: "bring back an old disk or a backup of one of them, or: kvctl repair accept-loss")
      ]
    }
    let lacking = measured.partitionsOwned - min(measured.partitionsOwned, measured.partitionsWhole)
    let what =
      lacking > 0
      ? "\(lacking) of its \(Units.plural(Int(measured.partitionsOwned), "partition")) are not whole"
      : "\(measured.keysMissing) of its keys are lost"
    return [
      Finding(
        .note, "rebuilding", row.member.name,
        "\(what): it pulls them from the other owners, takes writes, and answers their reads when they are whole",
        remedy: "nothing; kvctl status --watch 2s shows how far it is")
    ]
  }

  /// Endpoints that are silent and that no member listens at.
  private func unanswered(except members: Set<Address>) -> [Finding] {
    survey.answers.compactMap { entry in
      guard case .failure(let error) = entry.answer, !members.contains(entry.address) else { return nil }
      return Finding(
        .warning, "no_answer", entry.address.description, error.message,
        remedy: "start the node there, or take it out of --endpoints")
    }
  }

  private func reason(_ address: Address) -> String {
    for entry in survey.answers where entry.address == address {
      if case .failure(let error) = entry.answer { return error.message }
    }
    return "it was not asked"
  }

  private var links: [Finding] {
    (health?.links ?? []).map { link in
      let peer = link.to.peerAddress
      return Finding(
        .warning, link.isBothWays ? "broken_link" : "one_way_link", "\(link.from.name) → \(link.to.name)", link.warning,
        remedy: "ssh \(link.from.host) nc -vz \(peer.host) \(peer.port)")
    }
  }
}
