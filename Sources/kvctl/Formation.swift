import KVModel

/// What `kvctl cluster init` is going to do, from what the nodes said of themselves.
enum Formation: Equatable {
  /// Form this layout on all nodes that do not have it; `isFinishing`: some do already.
  case form(Layout, missing: [Address], isFinishing: Bool)
  /// Every node has it.
  case formed(Layout)

  /// What one node said.
  struct Candidate: Equatable {
    var address: Address
    var description: NodeDescription
    /// The layout that it already has.
    var layout: Layout?
  }

  /// Decides, or says everything that stands against it at once.
  ///
  /// `cluster` is the id of a new cluster, drawn by the caller.
  static func plan(_ candidates: [Candidate], cluster: ClusterID) throws(Objections) -> Formation {
    var objections = Objections()
    objections.duplicates(candidates)
    objections.settings(candidates)
    objections.membership(candidates)
    if objections.all.isEmpty { objections.copies(candidates) }
    guard objections.all.isEmpty else { throw objections }
    guard let layout = candidates.compactMap(\.layout).first else {
      return .form(fresh(candidates, cluster), missing: candidates.map(\.address), isFinishing: false)
    }
    let missing = candidates.filter { $0.description.cluster == .none }.map(\.address)
    return missing.isEmpty ? .formed(layout) : .form(layout, missing: missing, isFinishing: true)
  }

  private static func fresh(_ candidates: [Candidate], _ cluster: ClusterID) -> Layout {
    Layout(
      cluster: cluster, version: 1, settings: candidates[0].description.settings,
      members: candidates.map(\.description.member))
  }
}

/// Why no cluster can be formed of these nodes: all reasons, in a fixed order.
struct Objections: Error, Equatable {
  private(set) var all: [String] = []

  typealias Candidate = Formation.Candidate

  /// Two endpoints may lead to one node, two nodes may bear one name or address.
  fileprivate mutating func duplicates(_ candidates: [Candidate]) {
    shared(candidates, by: { $0.description.member.id }) { id, nodes in
      "\(nodes) lead to the same node \(id); name each node once, and copy no data directory"
    }
    shared(distinct(candidates), by: { $0.description.member.name }) { name, nodes in
      "\(nodes) are all named \(name); give each its own name"
    }
    shared(distinct(candidates), by: { $0.description.member.clientAddress }) { address, nodes in
      "\(nodes) all advertise \(address) to clients; advertise each node's own address"
    }
    shared(distinct(candidates), by: { $0.description.member.peerAddress }) { address, nodes in
      "\(nodes) all advertise \(address) to peers; advertise each node's own address"
    }
  }

  private func distinct(_ candidates: [Candidate]) -> [Candidate] {
    var seen: Set<NodeID> = []
    return candidates.filter { seen.insert($0.description.member.id).inserted }
  }

  private mutating func shared<Property: Hashable>(
    _ candidates: [Candidate], by property: (Candidate) -> Property, _ sentence: (Property, String) -> String
  ) {
    var seen: [Property] = []
    for candidate in candidates where !seen.contains(property(candidate)) {
      let value = property(candidate)
      seen.append(value)
      let nodes = candidates.filter { property($0) == value }.map(\.address.description)
      if nodes.count > 1 { all.append(sentence(value, nodes.joined(separator: ", "))) }
    }
  }

  /// What all must agree on, field by field.
  fileprivate mutating func settings(_ candidates: [Candidate]) {
    let fields: [(String, (ClusterSettings) -> String)] = [
      ("cluster name", { $0.name }), ("replication", { "\($0.replication)" }), ("read quorum", { "\($0.readQuorum)" }),
      ("write quorum", { "\($0.writeQuorum)" }), ("partition bits", { "\($0.partitionBits)" }),
      ("virtual nodes", { "\($0.virtualNodes)" }), ("leaf bits", { "\($0.leafBits)" }),
    ]
    for (name, field) in fields {
      let values = candidates.map { field($0.description.settings) }
      guard Set(values).count > 1 else { continue }
      let said = zip(candidates, values).map { "\($0.description.member.name): \($1)" }.joined(separator: ", ")
      all.append("the nodes disagree on \(name) (\(said)); make their configurations agree and restart them")
    }
  }

  /// Nodes that belong somewhere already must belong to one cluster of exactly these members.
  fileprivate mutating func membership(_ candidates: [Candidate]) {
    for candidate in candidates where candidate.description.state == .stranger {
      all.append(
        "\(candidate.description.member.name) stands in the place of node \(candidate.description.expected) of another "
          + "cluster; restore that node's data directory, or take another address")
    }
    let members = candidates.filter { $0.description.cluster != .none && $0.description.state != .stranger }
    guard let first = members.first else { return }
    for candidate in members where candidate.description.cluster != first.description.cluster {
      all.append(
        "\(candidate.description.member.name) belongs to cluster \(candidate.description.cluster), "
          + "\(first.description.member.name) to \(first.description.cluster); a node never changes its cluster")
    }
    let here = Set(candidates.map(\.description.member.id))
    for candidate in members {
      guard let layout = candidate.layout else {
        all.append("\(candidate.description.member.name) belongs to a cluster and did not tell its layout; try again")
        continue
      }
      guard Set(layout.members.map(\.id)) != here else { continue }
      let names = layout.members.map(\.name).sorted().joined(separator: ", ")
      all.append(
        "\(candidate.description.member.name) already belongs to cluster \(layout.cluster) of \(names), not of exactly "
          + "the nodes given")
    }
  }

  /// A quorum needs as many hosts.
  fileprivate mutating func copies(_ candidates: [Candidate]) {
    guard let settings = candidates.first?.description.settings else {
      all.append("no node was given")
      return
    }
    let hosts = Set(candidates.map(\.description.member.host)).count
    let needed = max(settings.readQuorum, settings.writeQuorum)
    if hosts < needed {
      all.append(
        "a quorum is \(needed) copies on distinct hosts, and the nodes given stand on \(hosts); give more nodes, or lower "
          + "the quorums in their configurations")
    }
  }
}
