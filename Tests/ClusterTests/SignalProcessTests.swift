import KVClient
import KVModel
import Synchronization
import Testing

extension ProcessTests {
  @Suite struct SignalProcessTests {
    @Test func `SIGTERM under load ends a node in order within five seconds, and nothing acknowledged is lost`()
      async throws
    {
      try await Cluster.run { cluster in
        let journal = try await cluster.withClient { client in
          let load = Load(client, prefix: "load")
          for node in cluster.nodes {
            let before = load.count
            _ = try await eventually(within: .seconds(10), "the load is under way") {
              load.count > before + 150 ? true : nil
            }
            let (end, after) = try await node.terminate()
            #expect(end == .exited(0), "n\(node.number): \(end)\n\(node.logTail)")
            #expect(after < .seconds(5), "n\(node.number) left after \(after)")
            try await cluster.restart([node.number])
          }
          return await load.stop()
        }
        let losses = try await cluster.withClient { try await journal.losses($0) }
        #expect(losses.isEmpty, "of \(journal.acknowledgedCount): \(losses.prefix(5))")
      }
    }

    @Test func `an idle node ends at once, and so does one that belongs to no cluster`() async throws {
      try await Cluster.run { cluster in
        let client = try await cluster[1].connect()
        let (end, after) = try await cluster[1].terminate()
        #expect(end == .exited(0) && after < .seconds(2), "\(end) after \(after)")
        withExtendedLifetime(client) {}
      }
      try await Cluster.run(Cluster.Options(nodes: 1, isFormed: false)) { cluster in
        let (end, after) = try await cluster[1].terminate()
        #expect(end == .exited(0) && after < .seconds(2), "\(end) after \(after)")
      }
    }

    @Test func `a stop in order keeps the epoch, a kill raises it`() async throws {
      try await Cluster.run { cluster in
        let node = cluster[1]
        let first = try await Self.epoch(node)
        #expect(try await node.connect().put("key", "1").isWritten)
        for _ in 0..<2 {
          #expect(try await node.terminate().end == .exited(0))
          try await cluster.restart([1])
          #expect(try await Self.epoch(node) == first)
        }
        for rise in 1...2 {
          try await node.kill()
          try await cluster.restart([1])
          #expect(try await Self.epoch(node) == first + rise)
        }
        #expect(try await node.connect().put("key", "2").isWritten)
        #expect(try await cluster.explain("key").agree(on: 1))
      }
    }

    /// The log is written behind the answers.
    private static func epoch(_ node: NodeProcess) async throws -> Int {
      try await eventually(within: .seconds(5), "n\(node.number) logs its epoch") { node.loggedEpoch }
    }

    @Test func `while a node is stopped the others serve, and reads go round it within a second`() async throws {
      try await Cluster.run { cluster in
        let keys = (0..<200).map { "key-\($0)" }
        try await cluster.withClient { client in for key in keys { try await client.put(key, "value") } }
        for away in [2, 3] {
          let others = [1, 2, 3].filter { $0 != away }
          try await cluster[away].pause()
          let pausedAt = ContinuousClock.now
          for other in others {
            let latencies = try await Self.readAll(keys, at: cluster[other])
            #expect(latencies.max()! < .seconds(1), "n\(other) while n\(away) is stopped: \(latencies.max()!)")
          }
          for other in others { #expect(try await cluster[other].connect().put("key-0", "value").isWritten) }
          // From now on nobody waits for it any more.
          try await Task.sleep(until: pausedAt.advanced(by: .seconds(1)))
          for other in others {
            let latencies = try await Self.readAll(keys, at: cluster[other]).sorted()
            #expect(
              latencies[latencies.count / 2] < .milliseconds(50), "n\(other): median \(latencies[latencies.count / 2])")
            #expect(latencies.max()! < .milliseconds(500), "n\(other): \(latencies.max()!)")
          }
          try cluster[away].resume()
          try await cluster.awaitServing()
          _ = try await eventually(within: .seconds(10), "n\(away) answers") {
            try await cluster[away].connect().value("key-1") == "value" ? true : nil
          }
        }
      }
    }

    /// One after the other; how long each took.
    private static func readAll(_ keys: [String], at node: NodeProcess) async throws -> [Duration] {
      let connection = try await node.connect()
      var latencies: [Duration] = []
      for key in keys {
        let begin = ContinuousClock.now
        let value = try await connection.value(key)
        latencies.append(begin.duration(to: .now))
        guard value == "value" else { throw HarnessError("\(key) is \(value ?? "absent")") }
      }
      return latencies
    }

    @Test func `clients go on while a node is stopped`() async throws {
      try await Cluster.run { cluster in
        let journal = try await cluster.withClient(deadline: .seconds(2)) { client in
          let load = Load(client, prefix: "load")
          _ = try await eventually(within: .seconds(10), "the load is under way") { load.count > 200 ? true : nil }
          try await cluster[2].pause()
          // Calls that the client gives to n2 end as unknown at their deadline, and it does not know better yet
          // (breakers and retries: 3 of 5). The others go on.
          try await Task.sleep(for: .seconds(3))
          let before = load.count
          try await Task.sleep(for: .seconds(3))
          #expect(load.count > before + 24, "\(load.count - before) writes in 3 s around a stopped node")
          try cluster[2].resume()
          return await load.stop()
        }
        #expect(journal.slowest < .seconds(3), "\(journal.slowest)")
        let losses = try await cluster.withClient { try await journal.losses($0) }
        #expect(losses.isEmpty, "of \(journal.acknowledgedCount): \(losses.prefix(5))")
      }
    }
  }

  @Suite struct ShardProcessTests {
    @Test func `a cluster of nodes with two shards each serves, survives kills, and keeps its number of shards`()
      async throws
    {
      try await Cluster.run(Cluster.Options(flags: ["--shards", "2"])) { cluster in
        #expect(Files.names(in: cluster[1].data).filter { $0.hasPrefix("shard-") } == ["shard-0", "shard-1"])
        var all = Journal()
        for round in 1...3 {
          let journal = try await cluster.withClient { client in
            let load = Load(client, prefix: "round-\(round)")
            _ = try await eventually(within: .seconds(10), "the load is under way") { load.count > 400 ? true : nil }
            try await cluster.kill(round == 3 ? cluster.everyNumber : [round])
            return await load.stop()
          }
          try await cluster.restart(cluster.nodes.filter { !$0.isRunning }.map(\.number))
          all.merge(journal)
        }
        let losses = try await cluster.withClient { [all] in try await all.losses($0) }
        #expect(losses.isEmpty, "of \(all.acknowledgedCount): \(losses.prefix(5))")
        // Each node answers for keys of both shards, for itself and for others.
        for node in cluster.nodes {
          let connection = try await node.connect()
          for key in 0..<64 {
            // A node describes itself as soon as its first shard has its links and its start is confirmed.
            _ = try await eventually(within: .seconds(5), "all owners of shard-key-\(key) take part") {
              try await connection.put("shard-key-\(key)", "\(key)", quorum: .all).isWritten ? true : nil
            }
            #expect(try await connection.value("shard-key-\(key)", .all) == "\(key)")
          }
        }
        #expect(try await cluster.explain("shard-key-5").agree(on: 1))
      }
    }
  }
}
