import Foundation
import KVClient
import Testing

extension ProcessTests {
  /// Without exchanges: what heals here are hints alone.
  @Suite struct HandoffProcessTests {
    private struct Hints: Decodable {
      struct Row: Decodable {
        var holder: String
        var `for`: String?
        var keys: Int
        var leaves: Int
      }

      var hints: [Row]
      var keys: Int { hints.reduce(0) { $0 + $1.keys } }
    }

    private static func hints(_ cluster: Cluster, _ numbers: [Int]) async throws -> Hints {
      let ended = try await cluster.kvctl("hints", "list", "--json", at: numbers)
      guard ended.status == 0 || ended.status == 9 else { throw HarnessError("hints list: \(ended)") }
      return try ended.json(Hints.self)
    }

    private static func write(_ prefix: String, _ count: Int, _ cluster: Cluster, _ numbers: [Int]) async throws {
      let lines = (0..<count).map { "\(prefix)-\($0)\tvalue \($0)\n" }.joined()
      let file = cluster.root + "/\(prefix).tsv"
      try Data(lines.utf8).write(to: URL(filePath: file))
      let ended = try await cluster.kvctl("import", file, at: numbers, limit: .seconds(120))
      guard ended.status == 0 else { throw HarnessError("import: \(ended)") }
    }

    @Test func `hazard 18: what a node missed is handed to it when it is back, also by a holder that was restarted`()
      async throws
    {
      var options = Cluster.Options()
      options.exchanges = false
      let count = 5_000
      try await Cluster.run(options) { cluster in
        try await Self.write("before", 200, cluster, [1, 2, 3])
        try await cluster[3].kill()
        try await Self.write("away", count, cluster, [1, 2])
        try await cluster.withClient([1, 2]) { client in
          for number in 0..<100 { _ = try await client.delete("before-\(number)") }
        }
        let waiting = try await eventually(within: .seconds(10), "all of it is noted") {
          let hints = try await Self.hints(cluster, [1, 2])
          return hints.keys >= count + 100 ? hints : nil
        }
        #expect(waiting.hints.allSatisfy { $0.for == "n3" && $0.leaves == 0 } && !waiting.hints.isEmpty)
        let status = try await cluster.kvctl("status", at: [1, 2])
        #expect(status.text.contains("HINTS"), "\(status)")
        // Both holders once more: one by a crash, one in order.
        try await cluster[1].kill()
        try await cluster.restart([1])
        try await cluster[2].terminate()
        try await cluster.restart([2])
        // A node says what it measured within the last second: of a start just now, nothing yet.
        _ = try await eventually(within: .seconds(10), "they outlast a restart") {
          try await Self.hints(cluster, [1, 2]).keys >= count + 100 ? true : nil
        }

        let begin = ContinuousClock.now
        try await cluster.restart([3])
        _ = try await eventually(within: .seconds(60), "no hints are left") {
          try await Self.hints(cluster, [1, 2, 3]).hints.isEmpty ? true : nil
        }
        print("measured: \(count + 100) keys handed over \(begin.duration(to: .now).milliseconds) ms after the start")
        for key in ["away-0", "away-\(count / 2)", "away-\(count - 1)", "before-0", "before-99", "before-199"] {
          #expect(try await cluster.explain(key).agree(on: 1), "\(key)")
        }
        let metrics = try await cluster[1].admin("/metrics").body
        #expect(metrics.contains("kvnode_hints_delivered_total"))
        #expect(!metrics.contains("kvnode_hints_waiting{"), "none is waiting")
      }
    }

    @Test func `hazard 16: without room for hints leaves are marked, and exchanges give the node what it missed`()
      async throws
    {
      var options = Cluster.Options()
      options.settings = ["KVNODE_HINTS_KEYS_MAX": "50"]
      try await Cluster.run(options) { cluster in
        try await cluster[3].kill()
        try await Self.write("away", 500, cluster, [1, 2])
        let waiting = try await eventually(within: .seconds(10), "it is noted") {
          let hints = try await Self.hints(cluster, [1, 2])
          return hints.hints.contains { $0.leaves > 0 } ? hints : nil
        }
        #expect(waiting.hints.allSatisfy { $0.keys <= 50 })
        try await cluster.restart([3])
        _ = try await eventually(within: .seconds(60), "no hints and no marks are left") {
          try await Self.hints(cluster, [1, 2, 3]).hints.isEmpty ? true : nil
        }
        for key in ["away-0", "away-499"] { #expect(try await cluster.explain(key).agree(on: 1)) }
      }
    }

    @Test func `hints list tells of nodes that it cannot ask`() async throws {
      try await Cluster.run { cluster in
        let calm = try await cluster.kvctl("hints", "list")
        #expect(calm.status == 0 && calm.text == "no hints are waiting\n", "\(calm)")
        try await cluster[3].kill()
        try await cluster.withClient([1, 2]) { client in _ = try await client.put("a", "value") }
        _ = try await eventually(within: .seconds(10), "a row for n3") {
          let listed = try await cluster.kvctl("hints", "list", at: [1, 2])
          #expect(listed.status == 9, "\(listed)")
          return listed.text.contains("HOLDER") && listed.text.contains("n3") ? true : nil
        }
        #expect(try await cluster.kvctl("hints", "list", "--no-such").status == 2)
      }
    }
  }
}
