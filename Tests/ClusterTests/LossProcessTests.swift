import KVClient
import KVModel
import Synchronization
import Testing

extension ProcessTests {
  @Suite struct LossProcessTests {
    private static let keys = (0..<3_000).map { "record-\($0)" }

    /// Runs `body` for every key, some at a time; what failed, with the key.
    private static func forEach(
      _ keys: [String] = keys, _ body: @escaping @Sendable (String) async throws -> Void
    ) async -> [String] {
      await withTaskGroup(of: [String].self) { group in
        for lane in 0..<48 {
          group.addTask {
            var failures: [String] = []
            for place in stride(from: lane, to: keys.count, by: 48) {
              do { try await body(keys[place]) } catch { failures.append("\(keys[place]): \(error)") }
            }
            return failures
          }
        }
        return await group.reduce(into: []) { $0 += $1 }
      }
    }

    @Test func `with one node dead every key is read and written through the others, and with two none is`()
      async throws
    {
      try await Cluster.run(Cluster.Options(exchanges: false, settings: ["KVNODE_HINTS_KEYS_MAX": "0"])) { cluster in
        let loaded = try await cluster.withClient { client in
          await Self.forEach { try await client.put($0, NumberedValue.make($0, 1)) }
        }
        try #require(loaded.isEmpty, "\(loaded.prefix(3))")

        try await cluster[2].kill()
        try await cluster.withClient([1, 3]) { client in
          let read = await Self.forEach { key in
            let value = try await client.get(key)?.value
            guard value == NumberedValue.make(key, 1) else { throw HarnessError("another value") }
          }
          #expect(read.isEmpty, "\(read.count) reads with n2 dead, such as \(read.prefix(3))")
          let written = await Self.forEach { try await client.put($0, NumberedValue.make($0, 2)) }
          #expect(written.isEmpty, "\(written.count) writes with n2 dead, such as \(written.prefix(3))")
        }
        let degraded = try await cluster.kvctl("health", at: [1, 3])
        #expect(degraded.status == 9, "\(degraded)")

        try await cluster[3].kill()
        try await Self.expectNoQuorum(cluster)

        try await cluster.restart([2, 3])
        try await Self.expectMended(cluster)
      }
    }

    private static func expectNoQuorum(_ cluster: Cluster) async throws {
      let slowest = Mutex(Duration.zero)
      try await cluster.withClient([1], deadline: .seconds(2)) { client in
        for isWrite in [false, true] {
          let answered = await forEach(Array(keys.prefix(600))) { key in
            let begin = ContinuousClock.now
            defer { slowest.withLock { $0 = max($0, begin.duration(to: .now)) } }
            do throws(KVError) {
              if isWrite {
                try await client.put(key, NumberedValue.make(key, 3))
              } else {
                _ = try await client.get(key)
              }
            } catch {
              if error.code == .unavailable, error.outcome == .notApplied { return }
              throw HarnessError("\(error)")
            }
            throw HarnessError("it succeeded")
          }
          #expect(answered.isEmpty, "\(isWrite ? "writes" : "reads") without a quorum: \(answered.prefix(3))")
        }
      }
      #expect(slowest.withLock { $0 } < .seconds(2.5))
      for key in ["record-0", "record-1234"] {
        let get = try await cluster.kvctl("get", key, "--timeout", "2s")
        #expect(get.status == 7 && get.elapsed < .seconds(5), "\(get)")
        let put = try await cluster.kvctl("put", key, "x", "--timeout", "2s")
        #expect(put.status == 7 && put.elapsed < .seconds(5), "\(put)")
        let delete = try await cluster.kvctl("delete", key, "--timeout", "2s")
        #expect(delete.status == 7, "\(delete)")
      }
    }

    /// n2 missed the second round of writes, and says so until it is mended.
    private static func expectMended(_ cluster: Cluster) async throws {
      for key in ["record-7", "record-77", "record-777"] {
        let before = try await cluster.explain(key)
        #expect(try before.owner(2).stale, "n2 missed a write of \(key)")
        for node in [1, 3] { #expect(try !before.owner(node).stale) }
        let again = try await cluster.explain(key)
        #expect(try again.owner(2).stale, "explain repairs nothing")
        let get = try await cluster.kvctl("get", key, "--consistency", "all")
        #expect(get.status == 0 && get.output == NumberedValue.make(key, 2), "\(get)")
        let after = try await cluster.explain(key)
        #expect(after.agree(on: 1), "\(after)")
      }
      let failures = try await cluster.withClient { client in
        await forEach { key in
          let value = try await client.get(key)?.value
          guard value == NumberedValue.make(key, 2) else { throw HarnessError("another value") }
        }
      }
      #expect(failures.isEmpty, "\(failures.prefix(3))")
    }

    @Test func `a write that is under way when two nodes die ends as unknown, a later one is refused`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        let before = try await cluster.kvctl("put", "held", "before")
        try #require(before.status == 0, "\(before)")
        // n2 and n3 get the write and cannot sync it: it is under way for certain when they die.
        for node in [2, 3] { try cluster[node].rules("hold-sync *.log") }
        async let put = cluster.kvctl("put", "held", "after", "--timeout", "4s", at: [1])
        _ = try await eventually(within: .seconds(4), "n2 and n3 hold a sync") {
          [2, 3].allSatisfy { cluster[$0].shimLog.contains("hold-sync") } ? true : nil
        }
        try await cluster.kill([2, 3])
        let ended = try await put
        #expect(ended.status == 8 && ended.elapsed < .seconds(6), "\(ended)")
        let later = try await cluster.kvctl("put", "held", "later", "--timeout", "2s", at: [1])
        #expect(later.status == 7, "\(later)")

        for node in [2, 3] { try cluster[node].rules() }
        try await cluster.restart([2, 3])
        let value = try await cluster.kvctl("get", "held", "--consistency", "all")
        #expect(["before", "after"].contains(value.text), "\(value)")
      }
    }

    @Test func `while two nodes are killed under load each write ends as done, refused or unknown, in time`()
      async throws
    {
      try await Cluster.run { cluster in
        let journal = try await cluster.withClient([1], deadline: .seconds(2)) { client in
          let load = Load(client, prefix: "load")
          _ = try await eventually(within: .seconds(10), "the load is under way") { load.count > 200 ? true : nil }
          try await cluster.kill([2, 3])
          try await Task.sleep(for: .milliseconds(500))
          return await load.stop()
        }
        #expect(journal.failures["unavailable/notApplied", default: 0] > 0, "refused: \(journal.failures)")
        // A connection to a node that died is lost while a write is under way on it: that one is unknown too.
        #expect(journal.oddFailures.isEmpty, "\(journal.oddFailures.prefix(3))")
        #expect(journal.slowest < .seconds(3))
        try await cluster.restart([2, 3])
        let losses = try await cluster.withClient { try await journal.losses($0) }
        #expect(losses.isEmpty, "\(losses.count) of \(journal.acknowledgedCount): \(losses.prefix(5))")
      }
    }
  }
}
