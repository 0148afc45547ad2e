import KVClient
import KVModel
import Testing

extension ProcessTests {
  @Suite struct DiskProcessTests {
    /// What goes wrong with n1's disk, and what its last words must hold.
    static let faults: [(rule: String, words: [String])] = [
      ("enospc *.log", ["/shard-0/", "o space left"]),
      ("eio-write *.log", ["/shard-0/"]),
      ("eio-sync *.log", ["/shard-0/"]),
      ("short-write *.log once", ["/shard-0/"]),
    ]

    @Test(arguments: faults.indices)
    func `a node whose disk fails names the file, stops, loses nothing, and starts when the cause is gone`(_ place: Int)
      async throws
    {
      let (rule, words) = Self.faults[place]
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        let journal = try await cluster.withClient { client in
          let load = Load(client, prefix: "load", writers: 8)
          _ = try await eventually(within: .seconds(10), "the load is under way") { load.count > 100 ? true : nil }
          try cluster[1].rules(rule)
          let end = try await cluster[1].ended(within: .seconds(10))
          #expect(end == .exited(1), "\(rule)\n\(cluster[1].logTail)")
          for word in words {
            #expect(cluster[1].logSinceStart.contains(word), "\(rule): no \(word)\n\(cluster[1].logTail)")
          }
          let before = load.count
          _ = try await eventually(within: .seconds(10), "the others go on") { load.count > before + 100 ? true : nil }
          return await load.stop()
        }
        // The shim stands for a disk that forgot what it could not sync.
        try await cluster[1].cut()
        try cluster[1].rules()
        try await cluster.restart([1])
        try await Self.expectNoLoss(journal, cluster)
        // n1 counts again: it makes a quorum with either of the others.
        try await cluster[3].kill()
        try await Self.expectNoLoss(journal, cluster)
      }
    }

    private static func expectNoLoss(_ journal: Journal, _ cluster: Cluster) async throws {
      let losses = try await cluster.withClient { try await journal.losses($0) }
      #expect(losses.isEmpty, "of \(journal.acknowledgedCount): \(losses.prefix(5))")
    }

    @Test func `a node whose disk is full does not start, says so, and starts when there is room`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        #expect(try await cluster.kvctl("put", "key", "value").status == 0)
        try await cluster[1].kill()
        try cluster[1].rules("enospc *")
        try cluster[1].launch()
        #expect(try await cluster[1].ended(within: .seconds(10)) == .exited(1))
        #expect(cluster[1].logSinceStart.contains("o space left"), "\(cluster[1].logTail)")
        #expect(cluster[1].logSinceStart.contains(cluster[1].data), "\(cluster[1].logTail)")
        try cluster[1].rules()
        try await cluster.restart([1])
        #expect(try await cluster[1].connect().value("key") == "value")
      }
    }

    @Test func `a node on an old image of its data takes no part, and says why`() async throws {
      try await Cluster.run { cluster in
        #expect(try await cluster[2].terminate().end == .exited(0))
        try await cluster[2].takeImage()
        try await cluster.restart([2])
        #expect(try await cluster.kvctl("put", "key", "value").status == 0)
        // Acknowledged by n2 and n3; an n2 that forgot it must not answer for it.
        try await cluster[1].kill()
        let written = try await cluster.withClient([2, 3]) { try await $0.put("late", "value") }
        #expect(written.acknowledgements == 2)
        try await cluster.restart([1])
        try await cluster[2].kill()
        try await cluster[2].restoreImage()
        try cluster[2].launch()
        _ = try await cluster[2].describe(within: .seconds(15)) { $0.state == .wentBack }
        let refused = try await cluster[2].connect().put("key", "other").failure
        #expect(refused?.code == .notMember && refused?.outcome == .rejected, "\(String(describing: refused))")
        #expect(try await cluster[2].admin("/readyz").status == "503")
        _ = try await eventually(within: .seconds(5), "n2 logs that its data went back in time") {
          cluster[2].logSinceStart.contains("data went back in time") ? true : nil
        }
        for node in [1, 3] {
          for key in ["key", "late"] { #expect(try await cluster[node].connect().value(key) == "value") }
          #expect(try await cluster[node].connect().put("key", "value").isWritten)
        }
        // It stays so.
        try await cluster[2].kill()
        try cluster[2].launch()
        _ = try await cluster[2].describe(within: .seconds(15)) { $0.state == .wentBack }
      }
    }

    @Test func `a wiped node says that it is no member, and what is needed`() async throws {
      try await Cluster.run { cluster in
        #expect(try await cluster.kvctl("put", "key", "value").status == 0)
        try await cluster[2].kill()
        try await cluster[2].wipe()
        try cluster[2].launch()
        _ = try await cluster[2].describe(within: .seconds(15)) { $0.state == .stranger }
        // The log is written behind the answers.
        _ = try await eventually(within: .seconds(5), "n2 logs that it is no member") {
          cluster[2].logSinceStart.contains("this node is not a member") ? true : nil
        }
        #expect(cluster[2].logSinceStart.contains("restore the old data directory"), "\(cluster[2].logTail)")

        // As its peers see it, and as it sees itself.
        let seen = try await cluster.kvctl("status", at: [1])
        #expect(seen.status == 0 && seen.text.contains("wiped!"), "\(seen)")
        #expect(seen.text.contains("Restore") && seen.text.contains("replaced"), "\(seen)")
        let own = try await cluster.kvctl("status", at: [2])
        #expect(own.text.contains("n2 is no member of its cluster"), "\(own)")
        let health = try await cluster.kvctl("health", at: [1])
        #expect(health.status == 9, "\(health)")

        let (alive, ready) = (try await cluster[2].admin("/healthz"), try await cluster[2].admin("/readyz"))
        #expect(alive.status == "200" && ready.status == "503", "\(alive) \(ready)")
        #expect(try await cluster[1].admin("/readyz").status == "200")

        // It takes no part, and cannot be made the seed of another cluster by accident.
        let refused = try await cluster[2].connect().put("key", "other").failure
        #expect(refused?.code == .notMember && refused?.outcome == .rejected, "\(String(describing: refused))")
        let formed = try await cluster.kvctl("cluster", "init", "--yes", at: [2])
        #expect(formed.status != 0, "\(formed)")
        for node in [1, 3] {
          #expect(try await cluster[node].connect().value("key") == "value")
          #expect(try await cluster[node].connect().put("key", "value").isWritten)
        }
      }
    }
  }
}
