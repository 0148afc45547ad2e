import KVClient
import Testing

extension ProcessTests {
  @Suite struct CrashProcessTests {
    /// The check of every test here: a load, all nodes killed in its middle, `mishap`, all started again. What of the
    /// acknowledged writes is not there.
    private static func crash(
      _ cluster: Cluster, round: Int, _ mishap: () async throws -> Void = {}
    ) async throws -> (journal: Journal, losses: [String]) {
      let journal = try await cluster.withClient(deadline: .seconds(1)) { client in
        let load = Load(client, prefix: "round-\(round)")
        // A different moment of the load each time.
        let wanted = 100 + round * 13
        _ = try await eventually(within: .seconds(10), "\(wanted) writes", every: .milliseconds(1)) {
          load.count >= wanted ? true : nil
        }
        try await cluster.kill(cluster.everyNumber)
        return await load.stop()
      }
      try await mishap()
      try await cluster.restart(cluster.everyNumber)
      let losses = try await cluster.withClient { try await journal.losses($0) }
      return (journal, losses)
    }

    @Test(.timeLimit(.minutes(5)))
    func `every acknowledged write is there after all nodes were killed in the middle of a load, twenty times`()
      async throws
    {
      try await Cluster.run { cluster in
        var all = Journal()
        for round in 1...20 {
          let (journal, losses) = try await Self.crash(cluster, round: round)
          #expect(losses.isEmpty, "round \(round), of \(journal.acknowledgedCount): \(losses.prefix(5))")
          all.merge(journal)
        }
        let losses = try await cluster.withClient { [all] in try await all.losses($0) }
        #expect(losses.isEmpty, "after all rounds, of \(all.acknowledgedCount): \(losses.prefix(5))")
        #expect(all.acknowledgedCount > 20 * 50)
      }
    }

    @Test(arguments: [false, true])
    func `every acknowledged write is there after power cuts that take what was not synced`(namesToo: Bool) async throws
    {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        for round in 1...5 {
          let (journal, losses) = try await Self.crash(cluster, round: round) {
            for node in cluster.nodes { try await node.cut(names: namesToo) }
          }
          #expect(losses.isEmpty, "round \(round), of \(journal.acknowledgedCount): \(losses.prefix(5))")
          #expect(journal.acknowledgedCount > 50)
        }
      }
    }

    @Test func `power cuts in the middle of the recovery from a power cut lose nothing`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        for round in 1...4 {
          let (journal, losses) = try await Self.crash(cluster, round: round) {
            for node in cluster.nodes { try await node.cut() }
            for pause in [3, 10, 20, 40, 80, 160] {
              for node in cluster.nodes { try node.launch() }
              try await Task.sleep(for: .milliseconds(pause * round / 2))
              try await cluster.kill(cluster.everyNumber)
              for node in cluster.nodes { try await node.cut() }
            }
          }
          #expect(losses.isEmpty, "round \(round), of \(journal.acknowledgedCount): \(losses.prefix(5))")
        }
      }
    }

    @Test func `one load goes on while each node in turn loses its power`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        let journal = try await cluster.withClient(deadline: .seconds(2)) { client in
          let load = Load(client, prefix: "load")
          for turn in 0..<6 {
            let node = cluster[turn % 3 + 1]
            var before = load.count
            _ = try await eventually(within: .seconds(10), "writes with all nodes") {
              load.count > before + 80 ? true : nil
            }
            try await node.kill()
            try await node.cut()
            before = load.count
            _ = try await eventually(within: .seconds(10), "writes without n\(node.number)") {
              load.count > before + 80 ? true : nil
            }
            try await cluster.restart([node.number])
          }
          return await load.stop()
        }
        #expect(journal.oddFailures.isEmpty, "\(journal.oddFailures.prefix(3))")
        let losses = try await cluster.withClient { try await journal.losses($0) }
        #expect(losses.isEmpty, "of \(journal.acknowledgedCount): \(losses.prefix(5))")
        // Each in turn is without the others' help for what it missed: any two still have everything.
        for away in cluster.everyNumber {
          try await cluster[away].kill()
          let losses = try await cluster.withClient { try await journal.losses($0) }
          #expect(losses.isEmpty, "without n\(away), of \(journal.acknowledgedCount): \(losses.prefix(5))")
          try await cluster.restart([away])
        }
      }
    }

    /// The planted bug that the test above must be able to catch.
    @Test func `the power cut test sees the loss when writes are acknowledged before their sync`() async throws {
      try await Cluster.run(Cluster.Options(flags: ["--durability", "os"], underFaultShim: true)) { cluster in
        var lost = 0
        for round in 1...3 where lost == 0 {
          let (_, losses) = try await Self.crash(cluster, round: round) {
            for node in cluster.nodes { try await node.cut() }
          }
          lost += losses.count
        }
        #expect(lost > 0)
      }
    }

    @Test func `what is acknowledged before its sync survives the death of processes`() async throws {
      try await Cluster.run(Cluster.Options(flags: ["--durability", "os"])) { cluster in
        for round in 1...3 {
          let (journal, losses) = try await Self.crash(cluster, round: round)
          #expect(losses.isEmpty, "round \(round), of \(journal.acknowledgedCount): \(losses.prefix(5))")
        }
      }
    }
  }
}
