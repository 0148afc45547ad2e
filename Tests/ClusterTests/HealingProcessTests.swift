import KVClient
import Testing

extension ProcessTests {
  /// Without a read, without an operator, and without room for hints.
  @Suite struct HealingProcessTests {
    @Test func `a node that was away gets what it missed`() async throws {
      try await Cluster.run(Cluster.Options(settings: ["KVNODE_HINTS_KEYS_MAX": "0"])) { cluster in
        try await cluster.withClient { client in
          for number in 0..<200 { _ = try await client.put("before-\(number)", "value") }
        }
        try await cluster[2].kill()
        try await cluster.withClient([1, 3]) { client in
          for number in 0..<200 { _ = try await client.put("away-\(number)", "value") }
          for number in 0..<50 { _ = try await client.delete("before-\(number)") }
          for number in 50..<100 { _ = try await client.put("before-\(number)", "newer") }
        }
        try await cluster.restart([2])
        // Each replica's own copy, which `explain` only looks at.
        for key in ["away-0", "away-199", "before-0", "before-49", "before-50", "before-99", "before-199"] {
          _ = try await eventually(within: .seconds(60), "\(key) is equal on all replicas") {
            let explained = try await cluster.explain(key)
            return explained.agree(on: 1) ? true : nil
          }
        }
        _ = try await eventually(within: .seconds(30), "n2 counts what it mended") {
          let metrics = try await cluster[2].admin("/metrics").body
          let mended = metrics.split(separator: "\n").first { $0.hasPrefix("kvnode_keys_mended_total ") }
          return mended.map { !$0.hasSuffix(" 0") } == true ? true : nil
        }
      }
    }
  }
}
