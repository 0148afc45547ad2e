import Testing

@testable import KVModel

@Suite struct LayoutTests {
  private func sample(partitionBits: Int = 4, replication: Int = 2, members: UInt64 = 3) -> Layout {
    var random = PRNG(seed: 60)
    let settings = ClusterSettings(
      replication: replication, readQuorum: 1, writeQuorum: 1, partitionBits: partitionBits)
    return Layout(
      cluster: ClusterID(1), version: 1, settings: settings, members: (1...members).map { random.member($0) })
  }

  private func received(_ layout: Layout, _ table: PartitionTable) throws(DecodeError) -> ClientResponse {
    var bytes: [UInt8] = []
    ClientResponse.layout(layout, table).encode(into: &bytes)
    return try bytes.decode { (body) throws(DecodeError) in try ClientResponse(.layout, body) }
  }

  /// A client indexes the table by the partitions of the layout: one of fewer partitions would be a remote crash.
  @Test func `a partition table that does not fit its layout is refused`() {
    let table = PartitionTable(partitionBits: 4, copies: 2, owners: (0..<16).flatMap { _ in [0, 1] as [UInt16] })
    #expect(throws: Never.self) { try received(sample(), table) }
    #expect(throws: DecodeError.outOfBounds) { try received(sample(partitionBits: 5), table) }
    #expect(throws: DecodeError.outOfBounds) { try received(sample(replication: 1), table) }
    #expect(throws: DecodeError.outOfBounds) { try received(sample(members: 1), table) }
  }

  @Test func `a partition table that names an owner twice for a partition is refused`() {
    var owners = (0..<16).flatMap { _ in [0, 1] as [UInt16] }
    owners[7] = owners[6]
    let table = PartitionTable(partitionBits: 4, copies: 2, owners: owners)
    #expect(throws: DecodeError.notCanonical) { try received(sample(), table) }
  }

  @Test func `two members of one name or one id are refused`() {
    for clash in [\Member.name] as [WritableKeyPath<Member, String>] {
      var members = sample().members
      members[2][keyPath: clash] = members[0][keyPath: clash]
      let layout = Layout(cluster: ClusterID(1), version: 1, settings: sample().settings, members: members)
      #expect(throws: DecodeError.outOfBounds) { try decoded(layout) }
    }
    var members = sample().members
    members[2].id = members[0].id
    let layout = Layout(cluster: ClusterID(1), version: 1, settings: sample().settings, members: members)
    #expect(throws: DecodeError.notCanonical) { try decoded(layout) }
  }

  private func decoded(_ layout: Layout) throws(DecodeError) -> Layout {
    var bytes: [UInt8] = []
    layout.encode(into: &bytes)
    return try bytes.decode { (body) throws(DecodeError) in
      var reader = ByteReader(body)
      return try Layout(from: &reader)
    }
  }

  /// An operator's typing error once trapped in `UInt8(replication)`.
  @Test func `settings that fit no field are refused at the other end, and do not trap at this one`() {
    for change in [
      { $0.replication = 300 }, { $0.partitionBits = -1 }, { $0.virtualNodes = 1 << 20 }, { $0.leafBits = 256 },
      { $0.readQuorum = 0 }, { $0.writeQuorum = 3 },
    ] as [(inout ClusterSettings) -> Void] {
      var settings = sample().settings
      change(&settings)
      let layout = Layout(cluster: ClusterID(1), version: 1, settings: settings, members: sample().members)
      #expect(throws: DecodeError.outOfBounds) { try decoded(layout) }
    }
  }

  @Test func `members are found by id, whatever the order in which they were given`() {
    let layout = sample(members: 9)
    let reversed = Layout(
      cluster: layout.cluster, version: 1, settings: layout.settings, members: layout.members.reversed())
    #expect(reversed == layout)
    for (place, member) in layout.members.enumerated() {
      #expect(layout.index(of: member.id) == place && layout.member(member.id) == member)
    }
    #expect(layout.index(of: NodeID(0)) == nil && layout.member(NodeID(99)) == nil)
  }

  @Test func `a description's peers are ascending, and one that is not is refused`() throws {
    var random = PRNG(seed: 61)
    var description = random.description()
    description.peers = [9, 3, 3].map { NodeDescription.Peer(node: NodeID($0), health: .up, sinceMs: 0) }
    var bytes: [UInt8] = []
    description.encode(into: &bytes)
    #expect(throws: DecodeError.notCanonical) {
      try bytes.decode { (body) throws(DecodeError) in try ClientResponse(.described, body) }
    }
  }
}
