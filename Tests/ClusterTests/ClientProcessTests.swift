import KVClient
import KVModel
import Testing

/// The client library against nodes that stop, die, and do not hear each other.
extension ProcessTests {
  @Suite struct ClientProcessTests {
    /// A client that soon takes a node for gone, and does not soon give up.
    private static func patient(_ cluster: Cluster) -> KVClientConfiguration {
      var configuration = cluster.configuration(deadline: .seconds(20))
      configuration.pingAfter = .milliseconds(100)
      configuration.silenceMax = .milliseconds(400)
      configuration.attemptsMax = 200
      return configuration
    }

    /// The first owner of a key, from 1: where the client's writes of it go.
    private static func firstOwner(of key: String, _ client: KVClient, _ cluster: Cluster) async throws -> Int {
      let (layout, table) = try await client.admin.fetchLayout()
      let owner = table[try Key(key.utf8).token.partition(bits: table.partitionBits)].first
      let member = layout.members[Int(try #require(owner))]
      return try #require(cluster.nodes.first { "n\($0.number)" == member.name }).number
    }

    /// Writes until the client is connected to the first owner and goes there: no retry was needed.
    private static func warm(_ key: String, _ client: KVClient, _ cluster: Cluster) async throws {
      _ = try await eventually(within: .seconds(10), "the client has learnt the layout") {
        await client.admin.known()?.layoutVersion == 1 ? true : nil
      }
      for _ in 0..<20 { try await client.put(key, "before") }
    }

    /// Every replica comes to hold this version and no other, all under one name.
    private static func expectOnly(_ value: String, _ key: String, _ cluster: Cluster) async throws {
      let connection = try await cluster[1].connect()
      #expect(try await connection.value(key, .all) == value)
      let explain = ClientRequest.explain(try Key(key.utf8))
      // A write is acknowledged by two of three; the third one may be behind for a moment.
      let copies = try await eventually(within: .seconds(5), "the replicas of \(key) agree") {
        guard case .explained(let views) = try await connection.ask(explain) else { return [Version]?.none }
        let copies = try views.compactMap { view in
          if case .record(let encoded) = view.state { try encoded.decoded().versions } else { [Version]?.none }
        }
        return copies.count == 3 && copies.allSatisfy { $0 == copies[0] } ? copies[0] : nil
      }
      #expect(copies.map(\.content) == [.value(Array(value.utf8))], "\(copies)")
    }

    /// The coordinator has minted the write and handed it on, and hears no acknowledgement; then it stops. The client
    /// turns to another owner, which finds the write at all of them once the first one goes on.
    @Test func `a write retried through another coordinator after a timeout is applied once`() async throws {
      try await Cluster.run(Cluster.Options(isRelayed: true)) { cluster in
        let relay = try #require(cluster.relay)
        try await withKVClient(Self.patient(cluster)) { client in
          let first = try await Self.firstOwner(of: "key", client, cluster)
          let others = cluster.everyNumber.filter { $0 != first }
          try await Self.warm("key", client, cluster)
          // Under a context, so that a second version would stay beside the first one and be seen.
          let before = try await client.read("key")
          let retries = try await client.admin.counters().retries
          for other in others { relay.silence(from: other, to: first) }
          async let receipt = client.put("key", "once", context: before.context)
          let witness = try await cluster[others[0]].connect()
          _ = try await eventually(within: .seconds(10), "another owner holds the write") {
            try await witness.value("key", .owners(1)) == "once" ? true : nil
          }
          try await cluster[first].pause()
          relay.heal()
          _ = try await eventually(within: .seconds(10), "the client asks another owner") {
            try await client.admin.counters().retries > retries ? true : nil
          }
          try cluster[first].resume()
          #expect(try await receipt.acknowledgements >= 2)
          try await Self.expectOnly("once", "key", cluster)
          // What replaces it replaces it for good: nothing of the first attempt is still on its way.
          try await client.put("key", "after")
          try await Self.expectOnly("after", "key", cluster)
        }
      }
    }

    /// The first attempt lies unread in the stopped node's socket, and is read after the retry has begun.
    @Test func `a write whose first attempt is read after its retry is applied at most once`() async throws {
      try await Cluster.run { cluster in
        try await withKVClient(Self.patient(cluster)) { client in
          let first = try await Self.firstOwner(of: "key", client, cluster)
          try await Self.warm("key", client, cluster)
          let before = try await client.read("key")
          let retries = try await client.admin.counters().retries
          try await cluster[first].pause()
          async let write = Self.outcome { () throws(KVError) in
            try await client.put("key", "once", context: before.context)
          }
          _ = try await eventually(within: .seconds(10), "the client asks another owner") {
            try await client.admin.counters().retries > retries ? true : nil
          }
          try cluster[first].resume()
          #expect(await write == nil)
          try await Self.expectOnly("once", "key", cluster)
        }
      }
    }

    /// Three clients, each through a coordinator of its own, meet at one key: whoever is told of another one goes on, and
    /// in the end one version of all is left.
    @Test func `updates of one key through every node at once leave one version of all`() async throws {
      try await Cluster.run { cluster in
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in cluster.everyNumber {
            var configuration = cluster.configuration([number], deadline: .seconds(20))
            configuration.followsLayout = false
            group.addTask { [configuration] in
              try await withKVClient(configuration) { client in
                for step in 0..<20 { try await Self.add(UInt8(number * 20 + step), to: "set", client) }
              }
            }
          }
          try await group.waitForAll()
        }
        try await cluster.withClient { client in
          let state = try await client.read("set", consistency: .all)
          #expect(state.versions.count == 1)
          #expect(state.value == Array(20..<80))
        }
      }
    }

    private static func add(_ byte: UInt8, to key: String, _ client: KVClient) async throws {
      while true {
        do throws(KVError) {
          try await client.update(key, deadline: .seconds(60)) { versions in
            .put(Set(versions.compactMap(\.value).joined() + [byte]).sorted())
          }
          return
        } catch { guard error.code == .conflict else { throw error } }
      }
    }

    private static func outcome(_ call: () async throws(KVError) -> KVReceipt) async -> KVError? {
      do throws(KVError) {
        _ = try await call()
        return nil
      } catch { return error }
    }

    @Test func `a node that is killed under load costs no read`() async throws {
      try await Cluster.run { cluster in
        try await cluster.withClient { client in
          for number in 0..<50 { try await client.put("key-\(number)", "value") }
          let reading = Task {
            var failures: [KVError] = []
            while !Task.isCancelled {
              for result in await client.getMany((0..<50).map { "key-\($0)" }) {
                if case .failure(let error) = result, error.code != .cancelled { failures.append(error) }
              }
            }
            return failures
          }
          try await Task.sleep(for: .milliseconds(200))
          try await cluster[2].kill()
          try await Task.sleep(for: .seconds(1))
          reading.cancel()
          let failures = await reading.value
          #expect(failures.isEmpty, "\(failures.count), such as \(failures.prefix(2))")
        }
      }
    }
  }
}
