import KVModel
import Testing

extension ProcessTests {
  @Suite struct CausalityProcessTests {
    /// The context that `--show-context` tells on stderr.
    private static func context(_ ended: Ended) throws -> String {
      guard let line = ended.errors.split(separator: "\n").first(where: { $0.hasPrefix("context ") }) else {
        throw HarnessError("no context: \(ended)")
      }
      return String(line.dropFirst("context ".count))
    }

    @Test
    func `two clients that write from one context leave two siblings on every replica, and their joined context one`()
      async throws
    {
      try await Cluster.run { cluster in
        // Once for a key that is there, once for one that is not: `get` tells a context for both.
        for (key, isThere) in [("cart", true), ("new", false)] {
          if isThere { #expect(try await cluster.kvctl("put", key, "milk").status == 0) }
          let read = try await cluster.kvctl("get", key, "--show-context")
          #expect(read.status == (isThere ? 0 : 5), "\(read)")
          let context = try Self.context(read)
          for (value, node) in [("milk and bread", 1), ("milk and eggs", 2)] {
            let put = try await cluster.kvctl("put", key, value, "--context", context, at: [node])
            #expect(put.status == 0, "\(put)")
          }
          _ = try await eventually(within: .seconds(5), "two siblings of \(key) on every replica") {
            try await cluster.explain(key).agree(on: 2) ? true : nil
          }
          let siblings = try await cluster.kvctl("get", key, "--show-context")
          #expect(siblings.errors.contains("2 concurrent versions"), "\(siblings)")
          let joined = try Self.context(siblings)
          #expect(try await cluster.kvctl("put", key, "milk, bread, eggs", "--context", joined).status == 0)
          _ = try await eventually(within: .seconds(5), "one version of \(key) on every replica") {
            try await cluster.explain(key).agree(on: 1) ? true : nil
          }
          #expect(try await cluster.kvctl("get", key).text == "milk, bread, eggs")
        }
      }
    }

    @Test func `another key's context is refused, and nothing is written`() async throws {
      try await Cluster.run { cluster in
        #expect(try await cluster.kvctl("put", "mine", "1").status == 0)
        let context = try Self.context(try await cluster.kvctl("get", "mine", "--show-context"))
        let put = try await cluster.kvctl("put", "yours", "2", "--context", context)
        #expect(put.status == 2 && put.errors.contains("context"), "\(put)")
        let delete = try await cluster.kvctl("delete", "yours", "--context", context)
        #expect(delete.status == 2, "\(delete)")
        #expect(try await cluster.kvctl("get", "yours").status == 5)
        // A damaged one too.
        let damaged = String(context.dropLast(4)) + "AAAA"
        let forged = try await cluster.kvctl("put", "mine", "3", "--context", damaged)
        #expect(forged.status == 2, "\(forged)")
        #expect(try await cluster.kvctl("get", "mine").text == "1")
      }
    }

    /// The link is cut by a stop in good order, so that the owner comes back under the same epoch.
    @Test func `an overwrite through an owner that was away during the last write replaces it`() async throws {
      try await Cluster.run(Cluster.Options(exchanges: false, settings: ["KVNODE_HINTS_KEYS_MAX": "0"])) { cluster in
        let two = try await cluster[2].connect()
        #expect(try await cluster[1].connect().put("key", "first").isWritten)
        #expect(try await cluster[1].terminate().end == .exited(0))
        _ = try await eventually(within: .seconds(5), "n2 writes without n1") {
          try await two.put("key", "second").isWritten ? true : nil
        }
        try await cluster.restart([1])
        #expect(try await cluster.explain("key").owner(1).stale, "n1 missed the second write")
        #expect(try await cluster[1].connect().put("key", "third").isWritten)
        try await Self.expectOnly("third", cluster)
      }
    }

    /// The link is cut by SIGSTOP: n1 does not even know that it was away, and what was sent to it comes too late.
    @Test func `an overwrite through an owner that was stopped during the last write replaces it`() async throws {
      try await Cluster.run { cluster in
        let (one, two) = (try await cluster[1].connect(), try await cluster[2].connect())
        #expect(try await one.put("key", "first").isWritten)
        try await cluster[1].pause()
        // n1 would take the write from its socket once it is awake, but for its deadline.
        #expect(try await two.put("key", "second", deadline: .milliseconds(300)).isWritten)
        try await Task.sleep(for: .milliseconds(500))
        try cluster[1].resume()
        #expect(try await one.value("key", .owners(1)) == "first", "n1 missed the second write")
        #expect(try await one.put("key", "third").isWritten)
        try await Self.expectOnly("third", cluster)
      }
    }

    @Test func `a client of the first release gets receipts as it knows them`() async throws {
      try await Cluster.run { cluster in
        var hello = Hello(client: "first release")
        for (features, siblings) in [(WireFeatures([]), Receipt.Siblings.unknown), (.read, .absent)] {
          hello.features = features
          let client = try RawConnection.open(cluster[1].clientPort)
          #expect(try await client.greet(hello).features == .read)
          guard case .written(let receipt) = try await client.put("key", "value") else {
            throw HarnessError("no receipt")
          }
          #expect(receipt.siblings == siblings && !receipt.wasFound)
        }
      }
    }

    private static func expectOnly(_ value: String, _ cluster: Cluster) async throws {
      _ = try await eventually(within: .seconds(5), "one version on every replica") {
        try await cluster.explain("key").agree(on: 1) ? true : nil
      }
      for node in cluster.nodes {
        #expect(try await node.connect().value("key") == value)
        #expect(try await node.connect().value("key", .owners(1)) == value)
      }
    }
  }
}
