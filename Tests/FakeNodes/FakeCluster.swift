public import KVModel

/// Fake nodes with one store.
public struct FakeCluster: Sendable {
  public let nodes: [FakeNode]
  public let store: FakeStore

  /// Nodes that belong to no cluster yet.
  public static func unformed(_ count: Int) async throws -> FakeCluster {
    let store = FakeStore()
    var nodes: [FakeNode] = []
    for place in 1...count {
      nodes.append(try await FakeNode.start("n\(place)", id: NodeID(UInt64(place)), store: store))
    }
    return FakeCluster(nodes: nodes, store: store)
  }

  /// Nodes of one cluster under layout 1.
  public static func start(_ count: Int) async throws -> FakeCluster {
    let cluster = try await unformed(count)
    let layout = cluster.layout(version: 1)
    for node in cluster.nodes { node.join(layout) }
    return cluster
  }

  public func layout(version: UInt32, of members: Range<Int>? = nil) -> Layout {
    let settings = ClusterSettings(replication: min(3, nodes.count), readQuorum: 1, writeQuorum: 1, partitionBits: 6)
    return Layout(
      cluster: ClusterID(0xfeed), version: version, settings: settings,
      members: nodes[members ?? 0..<nodes.count].map { node in node.with { $0.description.member } })
  }

  /// Partition p belongs to the members p, p+1, … modulo their number.
  public static func table(_ layout: Layout) -> PartitionTable {
    let copies = min(layout.settings.replication, layout.members.count)
    let owners = (0..<layout.settings.partitions).flatMap { partition in
      (0..<copies).map { UInt16((partition + $0) % layout.members.count) }
    }
    return PartitionTable(partitionBits: layout.settings.partitionBits, copies: copies, owners: owners)
  }

  public var endpoints: [String] { nodes.map(\.address.description) }

  /// The nodes that own a key, the first one first.
  public func owners(of key: String) throws -> [FakeNode] {
    let layout = layout(version: 1)
    let table = FakeCluster.table(layout)
    let partition = try Key(Array(key.utf8)).token.partition(bits: table.partitionBits)
    return table[partition].map { nodes[Int($0)] }
  }

  /// A key whose first owner is the node at `place`.
  public func key(ownedBy place: Int) throws -> String {
    for number in 0..<10_000 {
      let key = "key-\(number)"
      if try owners(of: key).first === nodes[place] { return key }
    }
    throw Key.Fault.empty
  }

  public func stop() async { for node in nodes { await node.stop() } }
}
