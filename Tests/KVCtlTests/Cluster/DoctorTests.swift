import KVClient
import KVModel
import Testing

@testable import kvctl

/// A cluster of three members, of which each test spoils something.
private struct Patient {
  var nodes: [NodeDescription]
  var silent: Set<Int> = []
  var greetings: [Int: Greeting] = [:]

  init() {
    nodes = (1...3).map { place in
      let others = (1...3).filter { $0 != place }
      let host = "h\(place)"
      let member = Member(
        id: NodeID(UInt64(place)), name: "n\(place)", clientAddress: Address(host: host, port: 7420),
        peerAddress: Address(host: host, port: 7421), zone: "", host: host)
      var measurements = NodeDescription.Measurements()
      (measurements.diskUsedBytes, measurements.diskTotalBytes) = (10, 100)
      return NodeDescription(
        member: member, state: .serving, cluster: ClusterID(7), layoutVersion: 2,
        settings: ClusterSettings(partitionBits: 4), generation: Generation(number: 1, nonce: 1, predecessor: 0),
        shards: 1, syncs: true, release: "1", measurements: measurements,
        peers: others.map { .init(node: NodeID(UInt64($0)), health: .up, sinceMs: 1_000) })
    }
    for place in 0..<3 { greetings[place] = Greeting(wallAheadMs: 5, uncertaintyMs: 1) }
  }

  /// What node `place` says of node `other`.
  mutating func says(_ place: Int, of other: Int, _ health: NodeDescription.Peer.Health, sinceMs: UInt64 = 432_000) {
    nodes[place].peers = nodes[place].peers.map {
      $0.node == nodes[other].member.id ? .init(node: $0.node, health: health, sinceMs: sinceMs) : $0
    }
  }

  /// Node `place` is dead, and all others know.
  mutating func loses(_ place: Int) {
    silent.insert(place)
    for other in 0..<3 where other != place { says(other, of: place, .unreachable) }
  }

  var survey: Survey {
    var survey = Survey()
    survey.answers = nodes.enumerated().map { place, node in
      let silence = Survey.Answer.failure(KVError(.unreachable, "Connection refused"))
      return (address: node.member.clientAddress, answer: silent.contains(place) ? silence : .success(node))
    }
    return survey
  }

  var health: ClusterHealth {
    let layout = Layout(
      cluster: ClusterID(7), version: 2, settings: ClusterSettings(partitionBits: 4), members: nodes.map(\.member))
    let table = PartitionTable(
      partitionBits: 4, copies: 3, owners: (0..<16).flatMap { p in (0..<3).map { UInt16((p + $0) % 3) } })
    return ClusterHealth(layout: layout, table: table, answers: survey.answers)
  }

  var diagnosis: Diagnosis {
    var byAddress: [Address: Greeting] = [:]
    for (place, greeting) in greetings { byAddress[nodes[place].member.clientAddress] = greeting }
    return Diagnosis(survey: survey, health: health, greetings: byAddress, endpoints: [])
  }

  var findings: [Finding] { diagnosis.findings }
  var codes: [String] { findings.map(\.code) }
}

@Suite struct `Links between members` {
  @Test func `a link that is silent one way degrades, and says whom`() {
    var patient = Patient()
    patient.says(0, of: 1, .unreachable)
    let health = patient.health
    #expect(health.rows.map(\.condition) == [.up, .up, .up])
    #expect(!health.isWhole)
    #expect(health.exit == .degraded)
    #expect(
      health.warnings == [
        "n1 has not reached n2 for 7m12s, though n2 reaches n1: the link is silent one way"
      ])
    #expect(health.links.map(\.json.line) == [#"{"from":"n1","to":"n2","both_ways":false,"since_ms":432000}"#])
  }

  @Test func `a link that is cut is told once`() {
    var patient = Patient()
    patient.says(2, of: 1, .unreachable, sinceMs: 1_000)
    patient.says(1, of: 2, .unreachable, sinceMs: 3_000)
    #expect(
      patient.health.warnings == ["n2 and n3 have not reached each other for 3s, though both answer here"])
  }

  @Test func `a node that answers here and that no peer reaches serves nobody`() {
    var patient = Patient()
    for other in 1...2 {
      patient.says(0, of: other, .unreachable)
      patient.says(other, of: 0, .unreachable)
    }
    let health = patient.health
    #expect(health.rows.map(\.condition) == [.isolated, .up, .up])
    #expect(health.warnings == ["n1 answers here, but none of its peers reaches it"])
    #expect(health.exit == .degraded)
    patient.says(1, of: 2, .unreachable)
    patient.says(2, of: 1, .unreachable)
    #expect(patient.health.exit == .quorumNotReachable)
  }

  @Test func `a peer that is down is no broken link`() {
    var patient = Patient()
    patient.loses(2)
    #expect(patient.health.links == [])
    #expect(patient.health.warnings == ["n3 unreachable for 7m12s, intent up"])
  }
}

@Suite struct `The doctor` {
  @Test func `finds nothing where nothing is wrong`() {
    let report = DoctorDocument.report(Patient().diagnosis, Colour(isOn: false))
    #expect(report.exit == .done)
    #expect(report.lines == ["OK       3 nodes looked at, nothing is wrong"])
  }

  @Test func `names a dead node and the command that starts it`() {
    var patient = Patient()
    patient.loses(1)
    #expect(
      patient.findings == [
        Finding(
          .trouble, "unreachable", "n2", "nobody reaches it for 7m12s: Connection refused",
          remedy: "ssh h2 systemctl restart kvnode")
      ])
    #expect(DoctorDocument.report(patient.diagnosis, Colour(isOn: false)).exit == .degraded)
    patient.loses(2)
    #expect(patient.codes.contains("below_quorum"))
    #expect(DoctorDocument.report(patient.diagnosis, Colour(isOn: false)).exit == .quorumNotReachable)
  }

  @Test func `names a wiped node and what to restore`() throws {
    var patient = Patient()
    patient.nodes[2].state = .stranger
    patient.nodes[2].expected = NodeID(0xabc)
    let finding = try #require(patient.findings.first)
    #expect(finding.code == "wiped")
    #expect(finding.remedy.hasPrefix("restore the data directory of node 0000000000000abc on host h3"))
  }

  @Test func `names a node on an old image, and one that waits to be confirmed`() throws {
    var patient = Patient()
    patient.nodes[2].state = .wentBack
    #expect(patient.health.rows.map(\.condition) == [.up, .up, .wentBack])
    #expect(patient.health.exit == .degraded)
    #expect(patient.codes == ["went_back"])
    // It goes on by itself: nobody shall stop it meanwhile, or put anything back under it.
    #expect(patient.findings.first?.remedy.contains("it begins anew and rebuilds its copies") == true)
    #expect(patient.findings.first?.remedy.hasSuffix("ssh h3 pgrep -a kvnode") == true)
    #expect(patient.health.warnings.first?.contains("It begins anew and rebuilds its copies") == true)
    patient.nodes[1].state = .unconfirmed
    #expect(patient.health.exit == .quorumNotReachable)
    #expect(patient.codes.contains("unconfirmed"))
  }

  @Test func `notes a node that rebuilds, which needs nobody`() {
    var patient = Patient()
    (patient.nodes[1].measurements.partitionsOwned, patient.nodes[1].measurements.partitionsWhole) = (16, 13)
    #expect(patient.codes == ["rebuilding"])
    #expect(patient.findings.first?.cause.hasPrefix("3 of its 16 partitions are not whole") == true)
    patient.nodes[1].measurements.partitionsWhole = 16
    patient.nodes[1].measurements.keysMissing = 2
    #expect(patient.findings.first?.cause.hasPrefix("2 of its keys are lost") == true)
    #expect(DoctorDocument.report(patient.diagnosis, Colour(isOn: false)).exit == .done)
  }

  @Test func `names what two owners have lost, and the verb that accepts it`() throws {
    var patient = Patient()
    patient.nodes[1].measurements.keysMissing = 2
    var diagnosis = patient.diagnosis
    diagnosis.lost = [patient.nodes[1].member.id: 2]
    let finding = try #require(diagnosis.findings.first)
    #expect(finding.code == "lost_beyond_quorum" && finding.weight == .trouble && finding.subject == "n2")
    #expect(finding.cause.hasPrefix("2 parts of its copy") && finding.remedy.hasSuffix("kvctl repair accept-loss"))
    #expect(DoctorDocument.report(diagnosis, Colour(isOn: false)).exit == .degraded)
  }

  @Test func `tells a wrong clock of a node from one of this machine`() {
    var patient = Patient()
    patient.greetings[1] = Greeting(wallAheadMs: 3_600_005, uncertaintyMs: 2)
    #expect(patient.codes == ["clock_skew"])
    #expect(patient.findings.first?.subject == "n2")
    #expect(patient.findings.first?.weight == .trouble)
    #expect(patient.findings.first?.remedy == "ssh h2 chronyc makestep")
    patient.greetings[1] = Greeting(wallAheadMs: 155, uncertaintyMs: 2)
    #expect(patient.findings.first?.weight == .warning)
    // Within the time that the answer took nothing is known.
    patient.greetings[1] = Greeting(wallAheadMs: 155, uncertaintyMs: 60)
    #expect(patient.findings == [])
    for place in 0..<3 { patient.greetings[place] = Greeting(wallAheadMs: -7_200_000, uncertaintyMs: 1) }
    #expect(patient.codes == ["clock_here"])
    #expect(DoctorDocument.report(patient.diagnosis, Colour(isOn: false)).exit == .done)
  }

  @Test func `a greeting is read in the middle of the time that it took`() {
    let welcome = Welcome(
      cluster: .none, node: NodeID(1), generation: Generation(number: 1, nonce: 1, predecessor: 0), shards: 1,
      layoutVersion: 0, now: Now(instant: Instant(nanoseconds: 0), wall: WallTime(milliseconds: 10_150)), agent: "")
    #expect(
      Greeting(welcome, asked: 10_000, heard: 10_100) == Greeting(wallAheadMs: 100, uncertaintyMs: 50))
  }

  @Test(
    arguments: [(79, nil), (80, .warning), (91, .warning), (92, .trouble), (100, .trouble)]
      as [(UInt64, Finding.Weight?)])
  func `warns of a disk that fills up`(percent: UInt64, weight: Finding.Weight?) {
    var patient = Patient()
    patient.nodes[0].measurements.diskUsedBytes = percent
    #expect(patient.findings.first?.weight == weight)
    if weight != nil { #expect(patient.codes == ["disk_nearly_full"]) }
  }

  @Test func `a node that refuses new values is trouble, whatever its disk's size, and status says so`() {
    var patient = Patient()
    patient.nodes[0].measurements.diskUsedBytes = 61
    patient.nodes[0].measurements.isDiskNearlyFull = true
    #expect(patient.codes == ["disk_nearly_full"] && patient.findings.first?.weight == .trouble)
    #expect(patient.findings.first?.cause.contains("refuses new values") == true)
    let health = patient.health
    #expect(!health.isWhole && health.exit == .degraded)
    #expect(health.warnings == ["n1 refuses new values: its disk is 61 % full"])
    let lines = StatusDocument.table(health, Colour(isOn: false))
    #expect(lines[1].contains("  61 %!  ") && lines[2].contains("  10 %  "))
  }

  @Test func `names a link that is silent one way`() {
    var patient = Patient()
    patient.says(0, of: 1, .unreachable)
    #expect(patient.codes == ["one_way_link"])
    #expect(patient.findings.first?.remedy == "ssh h1 nc -vz h2 7421")
  }

  @Test func `names who is behind in the layout, who does not sync, and who runs what`() {
    var patient = Patient()
    patient.nodes[0].layoutVersion = 1
    patient.nodes[1].syncs = false
    patient.nodes[2].release = "2"
    #expect(patient.codes == ["layout_disagreement", "durability_differs", "releases_differ"])
    patient = Patient()
    patient.nodes[1].cluster = ClusterID(9)
    #expect(patient.codes == ["other_cluster"])
  }

  @Test func `without a cluster it says how to form one`() throws {
    let patient = Patient()
    let diagnosis = Diagnosis(
      survey: patient.survey, health: nil, greetings: [:], endpoints: patient.nodes.map(\.member.clientAddress))
    #expect(diagnosis.findings.map(\.remedy) == ["kvctl cluster init --endpoints h1:7420,h2:7420,h3:7420"])
  }
}

@Suite struct `Top and config` {
  @Test func `top shows what grew since it looked before`() {
    var patient = Patient()
    for place in 0..<3 {
      patient.nodes[place].measurements.uptimeMs = 10_000
      patient.nodes[place].measurements.keys = 1_000
    }
    let before = patient.nodes
    patient.nodes[0].measurements.uptimeMs = 12_000
    patient.nodes[0].measurements.keys = 1_500
    patient.nodes[0].measurements.reads = 3_000
    patient.nodes[0].measurements.writes = 7
    patient.nodes[0].measurements.readP99Us = 2_100
    patient.nodes[1].measurements.uptimeMs = 50
    patient.loses(2)
    let report = TopDocument.report(patient.health, before: before, colour: Colour(isOn: false))
    #expect(report.lines[1] == "n1    up     1500     4         2.1/- ms  1,500  250     0 B   10 %")
    #expect(report.lines[2] == "n2    up     -        -         -         1,000  -       0 B   10 %")
    #expect(report.lines[3] == "n3    down!  -        -         -         -      -       -     -")
    #expect(report.jsonLines.first?.contains(#""keys_per_s":250.0,"reads_per_s":1500.0,"writes_per_s":3.5"#) == true)
  }

  @Test func `config shows what all agree on and what is each node's own`() {
    let patient = Patient()
    let report = ConfigDocument.report(patient.health.layout, patient.nodes)
    #expect(report.lines.contains("replication    3"))
    #expect(report.lines.contains("n2    -     h2    1.0     1       sync        h2:7420     h2:7421"))
    #expect(ConfigDocument.report(nil, patient.nodes).notes.count == 1)
  }
}
