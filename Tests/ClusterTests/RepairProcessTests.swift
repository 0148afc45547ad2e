import KVClient
import Testing

extension ProcessTests {
  @Suite struct RepairProcessTests {
    private struct Verified: Decodable {
      var equal: Bool
      var partitions: Int
      var records: Int
    }

    /// HAZARDS.md row 13, from outside; and what was swept stays equal.
    @Test func `all copies agree, their trees with their data, and what expired is swept`() async throws {
      let settings = ["KVNODE_EXPIRY_SWEEP_MARGIN": "1s"]
      try await Cluster.run(Cluster.Options(settings: settings)) { cluster in
        try await cluster.withClient { client in
          for number in 0..<150 { _ = try await client.put("kept-\(number)", "value") }
          for number in 0..<50 { _ = try await client.delete("kept-\(number)") }
          for number in 0..<50 { _ = try await client.put("short-\(number)", "value", ttl: .milliseconds(200)) }
        }
        _ = try await eventually(within: .seconds(60), "what expired is swept on all nodes") {
          let counted = try await cluster.kvctl("tombstones", "stats", "--all", "--rate", "1GiB")
          guard counted.status == 0 else { return nil as Bool? }
          let rows = counted.text.split(separator: "\n").dropFirst().map { $0.split(whereSeparator: \.isWhitespace) }
          return rows.count == 3 && rows.allSatisfy { $0[1] == "50" && $0.contains("50") && $0[4] == "50" } ? true : nil
        }
        let verified = try await cluster.kvctl("repair", "verify", "--rate", "1GiB", "--json", limit: .seconds(60))
        #expect(verified.status == 0, "\(verified)")
        let document = try verified.json(Verified.self)
        #expect(document.equal && document.records == 3 * 200)
        let run = try await cluster.kvctl("repair", "run", "--node", "n1", "--partition", "3", limit: .seconds(60))
        #expect(run.status == 0, "\(run)")
        let status = try await cluster.kvctl("repair", "status")
        #expect(status.status == 0 && status.text.contains("n1"), "\(status)")
        // What was swept can be written anew.
        try await cluster.withClient { client in
          _ = try await client.put("short-7", "again")
          #expect(try await client.get("short-7")?.value == Array("again".utf8))
        }
      }
    }
  }
}
