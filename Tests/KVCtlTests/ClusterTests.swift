import KVClient
import KVModel
import Testing

@testable import kvctl

/// A node as it describes itself.
private func description(
  _ place: UInt64, name: String? = nil, cluster: ClusterID = .none, state: NodeDescription.State = .uninitialised,
  settings: ClusterSettings = ClusterSettings(), peers: [NodeDescription.Peer] = []
) -> NodeDescription {
  let member = Member(
    id: NodeID(place), name: name ?? "n\(place)", clientAddress: Address(host: "10.0.0.\(place)", port: 7420),
    peerAddress: Address(host: "10.0.0.\(place)", port: 7421), zone: "", host: "h\(place)")
  return NodeDescription(
    member: member, state: state, cluster: cluster, layoutVersion: cluster == .none ? 0 : 1, settings: settings,
    generation: Generation(number: 1, nonce: 1, predecessor: 0), shards: 1, syncs: true, release: "1", peers: peers)
}

private func layout(_ descriptions: [NodeDescription], _ cluster: UInt64 = 7) -> Layout {
  Layout(
    cluster: ClusterID(cluster), version: 1, settings: ClusterSettings(partitionBits: 4),
    members: descriptions.map(\.member))
}

private func candidates(_ descriptions: [NodeDescription], _ layout: Layout? = nil) -> [Formation.Candidate] {
  descriptions.map {
    .init(
      address: $0.member.clientAddress, description: $0, layout: $0.cluster == .none ? nil : layout)
  }
}

@Suite struct `Forming a cluster` {
  @Test func `fresh nodes form a cluster of all of them`() throws {
    let nodes = [description(1), description(2), description(3)]
    guard case .form(let layout, let missing, false) = try Formation.plan(candidates(nodes), cluster: ClusterID(7))
    else {
      Issue.record("no new cluster")
      return
    }
    #expect(layout.cluster == ClusterID(7))
    #expect(layout.version == 1)
    #expect(layout.members == nodes.map(\.member))
    #expect(missing == nodes.map(\.member.clientAddress))
  }

  @Test func `what was begun is finished with the same layout`() throws {
    let fresh = [description(1), description(2), description(3)]
    let layout = layout(fresh)
    let nodes = [fresh[0], description(2, cluster: ClusterID(7), state: .serving), fresh[2]]
    let plan = try Formation.plan(candidates(nodes, layout), cluster: ClusterID(9))
    #expect(
      plan == .form(layout, missing: [fresh[0], fresh[2]].map(\.member.clientAddress), isFinishing: true))
  }

  @Test func `a formed cluster stays as it is`() throws {
    let nodes = (1...3).map { description($0, cluster: ClusterID(7), state: .serving) }
    let layout = layout(nodes)
    #expect(try Formation.plan(candidates(nodes, layout), cluster: ClusterID(9)) == .formed(layout))
  }

  @Test func `all disagreements are told at once`() throws {
    var others = ClusterSettings()
    others.replication = 5
    others.partitionBits = 12
    let nodes = [description(1), description(2, name: "n1", settings: others), description(3)]
    let objections = #expect(throws: Objections.self) {
      try Formation.plan(candidates(nodes), cluster: ClusterID(7))
    }
    let all = try #require(objections).all
    #expect(all.count == 3)
    #expect(all[0] == "10.0.0.1:7420, 10.0.0.2:7420 are all named n1; give each its own name")
    #expect(all[1].hasPrefix("the nodes disagree on replication (n1: 3, n1: 5, n3: 3)"))
    #expect(all[2].hasPrefix("the nodes disagree on partition bits"))
  }

  @Test func `a node of another cluster, of other members, or in another's place is refused`() throws {
    let nodes = [description(1, cluster: ClusterID(7), state: .serving), description(2)]
    let elsewhere = layout([description(1), description(5), description(6)])
    #expect(throws: Objections.self) { try Formation.plan(candidates(nodes, elsewhere), cluster: ClusterID(9)) }
    let stranger = [description(1), description(2), description(3, state: .stranger)]
    #expect(throws: Objections.self) { try Formation.plan(candidates(stranger), cluster: ClusterID(9)) }
    let two = [
      description(1, cluster: ClusterID(7), state: .serving), description(2, cluster: ClusterID(8), state: .serving),
    ]
    #expect(throws: Objections.self) { try Formation.plan(candidates(two, layout(two)), cluster: ClusterID(9)) }
  }

  @Test func `one node under two endpoints and too few hosts for a quorum are refused`() throws {
    let twice = [description(1), description(1), description(2)]
    #expect(throws: Objections.self) { try Formation.plan(candidates(twice), cluster: ClusterID(9)) }
    #expect(throws: Objections.self) { try Formation.plan(candidates([description(1)]), cluster: ClusterID(9)) }
    #expect(throws: Objections.self) { try Formation.plan([], cluster: ClusterID(9)) }
  }
}

@Suite struct `Health of a cluster` {
  private let members = (1...3).map { description($0, cluster: ClusterID(7), state: .serving) }

  private var table: PartitionTable {
    PartitionTable(partitionBits: 4, copies: 3, owners: (0..<16).flatMap { p in (0..<3).map { UInt16((p + $0) % 3) } })
  }

  private func health(_ answers: [UInt64: Survey.Answer]) -> ClusterHealth {
    let asked = members.map { member in
      let silence = Survey.Answer.failure(KVError(.unreachable, "refused"))
      return (address: member.member.clientAddress, answer: answers[member.member.id.value] ?? silence)
    }
    return ClusterHealth(layout: layout(members), table: table, answers: asked)
  }

  private func seeing(_ place: UInt64, _ health: NodeDescription.Peer.Health, _ sinceMs: UInt64) -> Survey.Answer {
    .success(
      description(
        place, cluster: ClusterID(7), state: .serving,
        peers: [.init(node: NodeID(3), health: health, sinceMs: sinceMs)]))
  }

  @Test func `three nodes that answer are a whole cluster`() {
    let health = health([1: .success(members[0]), 2: .success(members[1]), 3: .success(members[2])])
    #expect(health.isWhole)
    #expect(health.exit == .done)
    #expect(health.verdict(Colour(isOn: false)) == ["OK    3 of 3 nodes up; 16 partitions, N=3 R=2 W=2, layout 1"])
    let lines = StatusDocument.table(health, Colour(isOn: false))
    #expect(lines[0] == "NODE  STATE  ZONE  WEIGHT  RING    DISK  P99 R/W  HINTS  REPAIRED")
    #expect(lines[1] == "n1    up     -     1.0     33.3 %  -     -        0      -")
  }

  @Test func `one dead node degrades, and the verdict says for how long`() {
    let health = health([1: seeing(1, .unreachable, 432_000), 2: seeing(2, .unreachable, 400_000)])
    #expect(health.exit == .degraded)
    #expect(
      health.verdict(Colour(isOn: false))
        == ["WARN  n3 unreachable for 7m12s, intent up; 0 partitions below quorum"])
    #expect(StatusDocument.table(health, Colour(isOn: false))[3].hasPrefix("n3    down!"))
  }

  @Test func `two dead nodes leave no quorum`() {
    let health = health([1: seeing(1, .unreachable, 1_000)])
    #expect(health.exit == .quorumNotReachable)
    #expect(health.belowQuorum == 16)
  }

  @Test func `a node that only its peers reach is cut off from here`() {
    let health = health([1: seeing(1, .up, 1_000), 2: seeing(2, .up, 1_000)])
    #expect(health.rows[2].condition == .cutOff)
    #expect(health.exit == .degraded)
  }

  @Test func `a wiped node is told with what will be needed`() {
    var fresh = description(9)
    fresh.member.clientAddress = members[2].member.clientAddress
    let health = health([1: seeing(1, .replaced, 1), 2: seeing(2, .replaced, 1), 3: .success(fresh)])
    #expect(health.rows[2].condition == .wiped)
    #expect(health.warnings[0].contains("Restore the directory of node 0000000000000003"))
  }

  @Test func `a slow and a draining node are marked`() {
    let slow = health([1: seeing(1, .slow, 1), 2: seeing(2, .slow, 1), 3: .success(members[2])])
    #expect(slow.rows[2].condition == .slow)
    var leaving = members[2]
    leaving.state = .draining
    let draining = health([1: .success(members[0]), 2: .success(members[1]), 3: .success(leaving)])
    #expect(draining.rows[2].condition == .draining)
    #expect(draining.exit == .degraded)
  }
}

@Suite struct Explaining {
  private func record(_ counters: [UInt64], _ value: String = "v") -> Record {
    let bytes = Array(value.utf8)
    var record = Record()
    for counter in counters {
      let version = Version(
        dot: Dot(actor: Actor(node: NodeID(1), epoch: 1), counter: counter << 8),
        stamp: Stamp(WallTime(milliseconds: 1_795_262_673_042 + counter)),
        requestID: RequestID(client: 1, sequence: counter), checksum: Checksum.of(bytes), content: .value(bytes))
      record.add(version, superseding: record.context)
    }
    return record
  }

  private func explanation(_ states: [ReplicaView.State]) throws -> Explanation {
    let views = states.enumerated().map { ReplicaView(node: NodeID(UInt64($0 + 1)), state: $1) }
    return Explanation(views, of: try Key(Array("k".utf8)))
  }

  private let names = [NodeID(1): "n1", NodeID(2): "n2", NodeID(3): "n3"]

  @Test func `copies that agree are current`() throws {
    let same = ReplicaView.State.record(EncodedRecord(record([1])))
    let report = try explanation([same, same, same]).report(KVKey("k"), names)
    #expect(report.lines.last == "OK    all 3 copies agree")
    #expect(report.lines[0] == "n1  current")
    #expect(report.lines[1].hasPrefix("    value      dot n1.1:1/0  2026-11-21 12:04:33.043Z  1 B  checksum "))
  }

  @Test func `a stale, an empty, a damaged and an absent copy are told apart`() throws {
    let new = EncodedRecord(record([1, 2]))
    var damaged = new.bytes
    damaged[damaged.count - 1] ^= 1
    let report = try explanation([
      .record(new), .record(EncodedRecord(record([1]))), .record(.empty),
      .record(EncodedRecord(unverified: damaged)), .unreachable,
    ]).report(KVKey("k"), names)
    let verdicts = report.lines.filter { !$0.hasPrefix(" ") }
    #expect(verdicts[0] == "n1  current")
    #expect(verdicts[1] == "n2  stale")
    #expect(verdicts[2] == "n3  stale: nothing of it")
    #expect(verdicts[3].contains("damaged"))
    #expect(verdicts[4].contains("unreachable"))
    #expect(verdicts[5].hasPrefix("WARN  1 of 5 copies are current; stale: n2, n3"))
  }

  @Test func `a swept copy is no staler than one that keeps the expired bytes`() throws {
    let bytes = [UInt8(1)]
    func copy(_ content: Version.Content) -> ReplicaView.State {
      let version = Version(
        dot: Dot(actor: Actor(node: NodeID(1), epoch: 1), counter: 1 << 8), stamp: .zero,
        expiry: WallTime(milliseconds: 1), requestID: RequestID(client: 1, sequence: 1),
        checksum: Checksum.of(bytes), content: content)
      return .record(EncodedRecord(Record(context: VersionVector(), versions: [version])))
    }
    let report = try explanation([copy(.value(bytes)), copy(.swept)]).report(KVKey("k"), names)
    #expect(report.lines.last == "OK    all 2 copies agree")
  }

  @Test func `a key that nobody has was never written`() throws {
    let report = try explanation([.record(.empty), .record(.empty)]).report(KVKey("k"), names)
    #expect(report.lines[0] == "n1  never written")
  }
}
