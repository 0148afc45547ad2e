import KVClient
import KVModel
import Testing

/// What a running node exports.
extension ProcessTests {
  @Suite struct MetricsProcessTests {
    @Test func `bytes are counted while the connection is open, and every answer once`() async throws {
      try await Cluster.run { cluster in
        let before = try await cluster[1].scrape()
        let connection = try await cluster[1].connect()
        let value = String(repeating: "v", count: 100_000)
        #expect(try await connection.put("key", value, quorum: .all).isWritten)
        #expect(try await connection.value("key") == value)
        #expect(try await connection.value("absent") == nil)
        #expect(try await connection.get("key", .owners(9)).failure?.code == .invalidQuorum)
        let after = try await cluster[1].scrape()
        func grown(_ series: String) throws -> Double { try #require(after[series]) - #require(before[series]) }
        #expect(try grown(#"kvnode_network_received_bytes_total{kind="client"}"#) > 100_000)
        #expect(try grown(#"kvnode_network_sent_bytes_total{kind="client"}"#) > 100_000)
        #expect(try grown(#"kvnode_network_sent_bytes_total{kind="peer"}"#) > 200_000, "to two replicas")
        #expect(try grown(#"kvnode_connections{kind="client"}"#) == 1)
        #expect(try grown(#"kvnode_requests_total{kind="put",outcome="ok"}"#) == 1)
        #expect(try grown(#"kvnode_requests_total{kind="get",outcome="ok"}"#) == 2)
        #expect(try grown(#"kvnode_requests_total{kind="get",outcome="rejected"}"#) == 1)
        #expect(try grown(#"kvnode_failures_total{code="invalid_quorum"}"#) == 1)
        #expect(try grown(#"kvnode_request_duration_seconds_count{kind="get"}"#) == 3)
        #expect(try grown("kvnode_storage_write_duration_seconds_count") >= 1)
        #expect(try grown("kvnode_storage_batch_size_bytes_sum") > 100_000)
        #expect(try grown(#"kvnode_shard_requests_total{shard="0"}"#) == 4)
        #expect(try grown(#"kvnode_shard_busy_seconds_total{shard="0"}"#) > 0)
        // Two nodes that dial each other at once have two links for a while.
        #expect(try #require(after[#"kvnode_connections{kind="peer"}"#]) >= 2 && after["kvnode_peers_up"] == 2)
        #expect(try #require(after["kvnode_disk_free_bytes"]) > 0)
        #expect(after.seriesCount < 2_000)
        withExtendedLifetime(connection) {}
      }
    }

    @Test func `every metric that the dashboard names is exported`() async throws {
      try await Cluster.run { cluster in
        #expect(try await cluster[1].connect().put("key", "value").isWritten)
        // The shares of the ring are measured a second after the start.
        try await cluster[1].metric(#"kvnode_share_size_bytes{share="00"}"#) { $0 >= 0 }
        // Hints are told of once there are any.
        try await cluster[3].kill()
        #expect(try await cluster[1].connect().put("key", "missed").isWritten)
        _ = try await eventually(within: .seconds(20), "n1 has a hint for n3") {
          try await cluster[1].scrape().names.contains("kvnode_hints_waiting") ? true : nil
        }
        let names = try await cluster[1].scrape().names
        let dashboard = try Files.text(Programs.repository + "/Config/grafana/ringkv.json")
        let used = Set(dashboard.matches(of: /kvnode_[a-z_]+/).map { String($0.output) })
        #expect(used.count > 40)
        for name in used {
          let family = ["_bucket", "_sum", "_count"].first { name.hasSuffix($0) }.map {
            String(name.dropLast($0.count))
          }
          #expect(names.contains(name) || family.map(names.contains) == true, "\(name) is not exported")
        }
      }
    }

    /// README.md has the measured figure: `RINGKV_MEASURE=1` prints it.
    @Test func `a scrape under load is quick`() async throws {
      try await Cluster.run { cluster in
        let load = try await ClosedLoop(on: cluster[1], clients: 32)
        var taken: [Duration] = []
        for _ in 0..<40 {
          let begin = ContinuousClock.now
          _ = try await cluster[1].admin("/metrics")
          taken.append(begin.duration(to: .now))
          try await Task.sleep(for: .milliseconds(20))
        }
        try await load.stop()
        taken.sort()
        if Programs.environment["RINGKV_MEASURE"] != nil {
          print("MEASURED a scrape under load: median \(taken[20]), the slowest of 40 \(taken[39])")
        }
        // 50 ms is the promise; a machine that is busy with other things as well may take longer.
        #expect(taken[20] < .milliseconds(250), "\(taken)")
      }
    }
  }
}
