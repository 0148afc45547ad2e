import KVModel
import Testing

/// Links that are cut while both their ends live: unlike a node that is dead or stopped, the one that is cut off goes on
/// to talk to its clients.
extension ProcessTests {
  @Suite struct LinkProcessTests {
    private static func run(_ body: (Cluster, LinkRelay) async throws -> Void) async throws {
      try await Cluster.run(Cluster.Options(isRelayed: true, exchanges: false)) { cluster in
        let relay = try #require(cluster.relay)
        try await awaitLinks(cluster)
        for (one, other) in [(1, 2), (1, 3), (2, 3)] {
          try #require(relay.dials(between: one, and: other) > 0, "the link n\(one)–n\(other) is none of the relay's")
        }
        try await body(cluster, relay)
      }
    }

    // MARK: Overwrites

    /// The links of n3 are closed, so it knows that it is alone.
    @Test func `an overwrite through an owner that was cut off during the last write replaces it`() async throws {
      try await Self.run { cluster, relay in
        let (one, three) = (try await cluster[1].connect(), try await cluster[3].connect())
        #expect(try await one.put("key", "first", quorum: .all).isWritten)
        for other in [1, 2] { relay.cut(between: other, and: 3, .closing) }
        for other in [1, 2] {
          try await Self.awaitHealth([.unreachable, .dead], of: 3, at: other, cluster)
          try await Self.awaitHealth([.unreachable, .dead], of: other, at: 3, cluster)
        }
        #expect(try await one.put("key", "second").isWritten)
        let alone = try await three.put("key", "never")
        #expect(alone.failure?.outcome == .rejected, "\(alone)")
        #expect(try await three.value("key", .owners(1)) == "first", "n3 missed the second write")
        relay.heal()
        try await Self.awaitLinks(cluster)
        #expect(try await three.put("key", "third").isWritten)
        try await Self.expectOnly("third", cluster)
      }
    }

    /// n2 links n1 and n3, which do not see each other: it acknowledges what n3 writes and reports what n1 wrote.
    @Test func `an overwrite replaces what was written beyond a link that is still cut`() async throws {
      try await Self.run { cluster, relay in
        let clients = try await Self.clients(cluster)
        #expect(try await clients[0].put("key", "first", quorum: .all).isWritten)
        relay.cut(between: 1, and: 3, .closing)
        try await Self.awaitHealth([.unreachable, .dead], of: 3, at: 1, cluster)
        try await Self.awaitHealth([.unreachable, .dead], of: 1, at: 3, cluster)
        for (writer, client) in clients.enumerated() {
          #expect(try await client.put("served", "by n\(writer + 1)").isWritten)
          for reader in clients { #expect(try await reader.siblings("served") == ["by n\(writer + 1)"]) }
        }
        for (near, far) in [(0, 2), (2, 0)] {
          #expect(try await clients[near].put("key", "beyond \(near)").isWritten)
          #expect(try await clients[far].value("key", .owners(1)) != "beyond \(near)", "n\(far + 1) missed it")
          #expect(try await clients[far].put("key", "last, by \(far)").isWritten)
          for client in clients { #expect(try await client.siblings("key") == ["last, by \(far)"]) }
          let copies = try await clients[1].copies("key")
          #expect(copies.count == 3 && copies.allSatisfy { $0 == copies[0] && $0?.versions.count == 1 }, "\(copies)")
        }
        relay.heal()
        try await Self.awaitLinks(cluster)
        try await Self.expectOnly("last, by 0", cluster)
      }
    }

    // MARK: Half-open links

    /// The other side's kernel acknowledges every byte: only the answers that do not come tell.
    @Test func `hazard 49: requests go round a silent link, and it is of use again once it is heard`() async throws {
      try await Self.run { cluster, relay in
        let clients = try await Self.filled(cluster)
        for other in [1, 2] { relay.cut(between: other, and: 3, .silent) }
        try await Self.expectInTime(cluster)
        for other in [1, 2] {
          try await Self.awaitHealth([.slow, .suspect, .unreachable, .dead], of: 3, at: other, cluster)
          try await Self.awaitHealth([.slow, .suspect, .unreachable, .dead], of: other, at: 3, cluster)
        }
        try await Self.expectRound(clients)
        relay.heal()
        try await Self.awaitLinks(cluster)
        try await Self.expectWhole(cluster)
      }
    }

    /// Nothing is acknowledged any more, and nothing says so either: a cable was pulled, a switch is gone.
    @Test func `hazard 49: a link that loses every packet is given up, and made anew once packets pass`() async throws {
      try await Self.run { cluster, relay in
        let clients = try await Self.filled(cluster)
        let dials = [1, 2].map { relay.dials(between: $0, and: 3) }
        for other in [1, 2] { relay.cut(between: other, and: 3, .losing) }
        try await Self.expectInTime(cluster)
        // TCP_USER_TIMEOUT is three seconds. The kernel's own patience is fifteen minutes.
        for other in [1, 2] {
          try await Self.awaitHealth([.unreachable, .dead], of: 3, at: other, cluster)
          try await Self.awaitHealth([.unreachable, .dead], of: other, at: 3, cluster)
        }
        try await Self.expectRound(clients)
        relay.heal()
        try await Self.awaitLinks(cluster)
        for (other, before) in zip([1, 2], dials) { #expect(relay.dials(between: other, and: 3) > before) }
        try await Self.expectWhole(cluster)
      }
    }

    // MARK: One way

    @Test func `with a link that is silent one way everything is served at quorum, and nothing is lost`() async throws {
      try await Self.run { cluster, relay in
        let clients = try await Self.filled(cluster)
        var all = Journal()
        for (mute, deaf) in [(1, 3), (3, 1)] {
          let journal = try await cluster.withClient { client in
            let load = Load(client, prefix: "\(mute)-to-\(deaf)")
            _ = try await eventually(within: .seconds(10), "the load is under way") { load.count > 100 ? true : nil }
            relay.silence(from: mute, to: deaf)
            try await Self.awaitHealth([.slow, .suspect, .unreachable, .dead], of: mute, at: deaf, cluster)
            for (place, client) in clients.enumerated() {
              let latencies = try await Self.readAll(client)
              #expect(latencies.max()! < .seconds(1), "n\(place + 1), n\(mute) mute to n\(deaf): \(latencies)")
              #expect(try await client.put("own", "by n\(place + 1)").isWritten)
              for reader in clients { #expect(try await reader.siblings("own") == ["by n\(place + 1)"]) }
            }
            let before = load.count
            _ = try await eventually(within: .seconds(10), "the load goes on") {
              load.count > before + 300 ? true : nil
            }
            return await load.stop()
          }
          #expect(journal.failures.isEmpty, "\(journal.failures)")
          relay.heal()
          try await Self.awaitLinks(cluster)
          all.merge(journal)
        }
        let losses = try await cluster.withClient { [all] in try await all.losses($0) }
        #expect(losses.isEmpty, "of \(all.acknowledgedCount): \(losses.prefix(5))")
        try await Self.expectWhole(cluster)
      }
    }

    // MARK: What is waited for and expected

    private static let keys = (0..<64).map { "key-\($0)" }

    private static func clients(_ cluster: Cluster) async throws -> [RawConnection] {
      var clients: [RawConnection] = []
      for node in cluster.nodes { clients.append(try await node.connect()) }
      return clients
    }

    /// Clients of all nodes, once every node holds every key.
    private static func filled(_ cluster: Cluster) async throws -> [RawConnection] {
      let clients = try await clients(cluster)
      for key in keys { #expect(try await clients[0].put(key, "value", quorum: .all).isWritten) }
      return clients
    }

    /// One after the other; how long each took.
    private static func readAll(_ client: RawConnection) async throws -> [Duration] {
      var latencies: [Duration] = []
      for key in keys {
        let begin = ContinuousClock.now
        let value = try await client.value(key)
        latencies.append(begin.duration(to: .now))
        guard value == "value" else { throw HarnessError("\(key) is \(value ?? "absent")") }
      }
      return latencies
    }

    /// Until each node hears every other one.
    private static func awaitLinks(_ cluster: Cluster) async throws {
      for node in cluster.nodes {
        _ = try await node.describe(within: .seconds(20)) { $0.peers.count { $0.health == .up } == 2 }
      }
    }

    private static func awaitHealth(
      _ healths: [NodeDescription.Peer.Health], of peer: Int, at number: Int, _ cluster: Cluster
    ) async throws {
      let id = try #require(cluster.relay?.id(of: peer))
      _ = try await cluster[number].describe(within: .seconds(10)) { description in
        description.peers.contains { $0.node == id && healths.contains($0.health) }
      }
    }

    /// From the moment of the cut: reads that can do without n3 are answered, and what cannot ends at its deadline. Soon
    /// n1 and n2 know of the silence, and refuse at once what they would otherwise begin in vain.
    private static func expectInTime(_ cluster: Cluster) async throws {
      async let failures: Void = expectFailures(cluster)
      for node in [cluster[1], cluster[2]] {
        let latencies = try await readAll(try await node.connect())
        #expect(latencies.max()! < .seconds(1), "n\(node.number): \(latencies.max()!)")
      }
      for node in [cluster[1], cluster[2]] {
        let client = try await node.connect()
        _ = try await eventually(within: .seconds(2), "n\(node.number) knows that n3 is silent") {
          let answer = try await client.put("probe", "value", quorum: .all, deadline: .milliseconds(100))
          return answer.failure?.outcome == .rejected ? true : nil
        }
      }
      try await failures
    }

    private static func expectFailures(_ cluster: Cluster) async throws {
      let deadline = Duration.milliseconds(400)
      for (number, quorum) in [(3, Quorum.quorum), (1, .all), (2, .all)] {
        let client = try await cluster[number].connect()
        for isWrite in [true, false] {
          let begin = ContinuousClock.now
          let answer =
            isWrite
            ? try await client.put("failing", "value", quorum: quorum, deadline: deadline)
            : try await client.get("key-1", quorum, deadline: deadline)
          let elapsed = begin.duration(to: .now)
          #expect(answer.failure != nil && elapsed < deadline + .milliseconds(500), "n\(number): \(answer), \(elapsed)")
        }
      }
    }

    /// When the nodes know that n3 is silent, n1 and n2 serve without waiting for it, and n3 refuses what it cannot do.
    private static func expectRound(_ clients: [RawConnection]) async throws {
      for client in clients.dropLast() {
        let latencies = try await readAll(client).sorted()
        #expect(latencies[latencies.count / 2] < .milliseconds(50), "median \(latencies[latencies.count / 2])")
        #expect(latencies.last! < .milliseconds(500), "\(latencies.last!)")
        #expect(try await client.put("round", "value").isWritten)
      }
      let alone = try await clients[2].put("round", "never")
      #expect(alone.failure?.outcome == .rejected, "\(alone)")
    }

    /// Every node reads and writes with all others.
    private static func expectWhole(_ cluster: Cluster) async throws {
      for node in cluster.nodes {
        let client = try await node.connect()
        for key in keys {
          #expect(try await client.value(key, .all) == "value")
          #expect(try await client.put("whole", key, quorum: .all).isWritten)
          #expect(try await client.siblings("whole") == [key])
        }
      }
      #expect(try await cluster.explain("whole").agree(on: 1))
    }

    private static func expectOnly(_ value: String, _ cluster: Cluster) async throws {
      _ = try await eventually(within: .seconds(5), "one version on every replica") {
        try await cluster.explain("key").agree(on: 1) ? true : nil
      }
      for node in cluster.nodes {
        #expect(try await node.connect().siblings("key") == [value])
        #expect(try await node.connect().value("key", .owners(1)) == value)
      }
    }
  }
}

extension RawConnection {
  /// The values of all concurrent versions at quorum.
  fileprivate func siblings(_ key: String) async throws -> [String] {
    guard case .value(let answer) = try await get(key) else { throw HarnessError("no value") }
    return answer.siblings.map { sibling in sibling.value.map { String(decoding: $0, as: UTF8.self) } ?? "deleted" }
  }

  /// What each owner holds, as this node sees it; nil for one that it does not reach.
  fileprivate func copies(_ key: String) async throws -> [Record?] {
    guard case .explained(let views) = try await ask(.explain(try Key(key.utf8))) else {
      throw HarnessError("no explanation")
    }
    return try views.map { view in
      if case .record(let record) = view.state { try record.decoded() } else { nil }
    }
  }
}
