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

    /// Large values under new keys, for as long as n2 runs.
    private static func fill(_ cluster: Cluster, _ numbers: Range<Int>) async throws {
      let value = [UInt8](repeating: 7, count: 60_000)
      try await cluster.withClient([1, 3]) { client in
        for number in numbers {
          if !cluster[2].isRunning { break }
          // What is under way when n2 ends may have happened or not.
          _ = try? await client.put("filler-\(number)", value)
        }
      }
    }

    /// Nothing reads the block but compactions, which new keys bring about.
    @Test func `hazard 42: a compaction that meets a flipped block stops a node once; then it mends by itself`()
      async throws
    {
      let settings = ["KVNODE_STORAGE_WRITE_BUFFER": "1MiB", "KVNODE_REBUILD_SCRUB_RATE": "0"]
      try await Cluster.run(Cluster.Options(exchanges: false, settings: settings)) { cluster in
        try await cluster.withClient { client in
          for key in Self.keys { try await client.put(key, Self.value(key)) }
        }
        try await cluster.damage([2])
        try await cluster.restart([2])
        try await Self.fill(cluster, 0..<600)
        #expect(try await cluster[2].ended(within: Self.bound) == .exited(1))
        #expect(cluster[2].logSinceStart.contains("the next start gives this file up"), "\(cluster[2].logTail)")
        // A supervisor does this.
        try await cluster.restart([2])
        #expect(cluster[2].logSinceStart.contains("table files with damaged blocks were given up"))
        try await Self.expectAll(cluster, at: [1, 2, 3])
        try await cluster[2].metric("kvnode_rebuild_files_dropped_total", within: Self.bound) { $0 >= 1 }
        try await cluster[2].metric("kvnode_rebuild_ratio", within: .seconds(150)) { $0 == 1 }
        // No compaction meets it again.
        try await Self.fill(cluster, 600..<1_000)
        #expect(cluster[2].isRunning)
        try await cluster[1].kill()
        try await Self.expectAll(cluster, at: [2, 3])
      }
    }

    @Test func `hazard 41: what two of three nodes have lost is refused and named, until somebody accepts the loss`()
      async throws
    {
      try await Cluster.run { cluster in
        try await cluster.withClient { client in
          for key in Self.keys { try await client.put(key, Self.value(key)) }
        }
        // Each loses its file while nobody else runs, so that nothing is pulled before.
        try await cluster.damage([2, 3])
        try await cluster[1].kill()
        for node in [2, 3] {
          try cluster[node].launch()
          _ = try await cluster[node].describe(within: Self.bound) { _ in true }
          try await cluster[node].metric("kvnode_rebuild_files_dropped_total", within: Self.bound) { $0 >= 1 }
          try await cluster[node].terminate()
        }
        try await cluster.restart([1, 2, 3])
        for node in [2, 3] {
          try await cluster[node].metric("kvnode_rebuild_beyond_quorum", within: Self.bound) { $0 > 0 }
        }
        let refused = try await cluster.kvctl("get", Self.keys[0], "--timeout", "2s")
        #expect(refused.status != 0 && refused.status != 5, "neither served nor taken for absent: \(refused.status)")
        _ = try await cluster[2].describe(within: Self.bound) { $0.measurements.isRebuilding }
        let doctor = try await cluster.kvctl("doctor")
        #expect(doctor.status == 9 && doctor.text.contains("kvctl repair accept-loss"), "\(doctor.text)")
        // What is still being pulled comes to light after the first one.
        _ = try await eventually(within: Self.bound, "all losses are accepted") {
          let accepted = try await cluster.kvctl("repair", "accept-loss", "--yes")
          return accepted.status == 0 ? true : nil
        }
        for node in [2, 3] {
          try await cluster[node].metric("kvnode_rebuild_ratio", within: Self.bound) { $0 == 1 }
          try await cluster[node].metric("kvnode_rebuild_beyond_quorum", within: Self.bound) { $0 == 0 }
        }
        // The third node had everything.
        try await Self.expectAll(cluster, at: [1, 2, 3])
        #expect(try await cluster.kvctl("repair", "accept-loss").status == 0)
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
