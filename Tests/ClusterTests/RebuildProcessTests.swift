import KVClient
import KVModel
import Testing

extension ProcessTests {
  @Suite struct RebuildProcessTests {
    private static let keys = (0..<400).map { "record-\($0)" }
    private static let bound = Duration.seconds(60)

    private static func value(_ key: String) -> [UInt8] { Array((key + String(repeating: "·", count: 300)).utf8) }

    private static func expectAll(_ cluster: Cluster, at nodes: [Int]) async throws {
      try await cluster.withClient(nodes) { client in
        for key in keys {
          let read = try await client.get(key)?.value
          #expect(read == value(key), "\(key)")
        }
      }
    }

    /// The largest table file of n2's one shard.
    private static func table(of node: NodeProcess) async throws -> String {
      let names = node.data + ".tables"
      try await Files.run("/bin/sh", "-c", "ls -S \(node.data)/shard-0/*.sst > \(names)")
      guard let first = try Files.text(names).split(separator: "\n").first else {
        throw HarnessError("n2 has no table file")
      }
      return String(first)
    }

    @Test func `hazard 42: a node with a flipped block starts, all is served, and its copy mends by itself`()
      async throws
    {
      try await Cluster.run { cluster in
        try await cluster.withClient { client in
          for key in Self.keys { try await client.put(key, Self.value(key)) }
        }
        // What a killed node has in its log lies in table files after its next start.
        try await cluster[2].kill()
        try await cluster.restart([2])
        #expect(try await cluster[2].terminate().end == .exited(0))
        let table = try await Self.table(of: cluster[2])
        var bytes = try Files.read(table)
        bytes[bytes.count / 3] ^= 1
        try Files.write(bytes, to: table)

        try await cluster.restart([2])
        try await Self.expectAll(cluster, at: [1, 2, 3])
        try await cluster[2].metric("kvnode_rebuild_files_dropped_total", within: Self.bound) { $0 >= 1 }
        try await cluster[2].metric("kvnode_rebuild_ratio", within: Self.bound) { $0 == 1 }
        #expect(try await cluster[2].scrape()["kvnode_rebuild_records_total"].map { $0 > 0 } == true)
        _ = try await cluster[2].describe(within: Self.bound) { $0.state == .serving && !$0.measurements.isRebuilding }
        // It counts again: what it lost is read from it and one other.
        try await cluster[1].kill()
        try await Self.expectAll(cluster, at: [2, 3])
      }
    }

    @Test func `hazard 07: a node on an old image of its data rebuilds itself, and serves`() async throws {
      try await Cluster.run { cluster in
        #expect(try await cluster[2].terminate().end == .exited(0))
        try await cluster[2].takeImage()
        try await cluster.restart([2])
        try await cluster.withClient { client in
          for key in Self.keys { try await client.put(key, Self.value(key)) }
        }
        try await cluster[2].kill()
        try await cluster[2].restoreImage()
        try cluster[2].launch()
        // At first it takes no part: another process of it could be the right one.
        _ = try await cluster[2].describe(within: Self.bound) { $0.state == .wentBack }
        try await Self.expectAll(cluster, at: [1, 3])
        _ = try await cluster[2].describe(within: Self.bound) {
          $0.state == .serving && $0.measurements.partitionsOwned == $0.measurements.partitionsWhole
        }
        try await cluster[2].metric("kvnode_rebuild_ratio", within: Self.bound) { $0 == 1 }
        #expect(cluster[2].logSinceStart.contains("the copy is whole again"), "\(cluster[2].logTail)")
        try await cluster[1].kill()
        try await Self.expectAll(cluster, at: [2, 3])
        try await cluster.withClient([2, 3]) { client in
          for key in Self.keys.prefix(40) { try await client.put(key, Self.value(key)) }
        }
      }
    }
  }
}
