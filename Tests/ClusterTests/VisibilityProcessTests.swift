import KVModel
import Testing

/// DESIGN.md §4: only synced state is visible. Otherwise a read returns a write that one power cut takes back.
extension ProcessTests {
  @Suite struct VisibilityProcessTests {
    @Test func `no replica shows a version before its own sync`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        let clients = try await Self.clients(cluster)
        #expect(try await clients[0].put("key", "old", quorum: .all).isWritten)
        for node in cluster.nodes { try node.rules("hold-sync *.log") }
        let writer = try await cluster[1].connect()
        async let put = writer.put("key", "new", deadline: .seconds(20))
        _ = try await eventually(within: .seconds(5), "every node holds a sync") {
          cluster.nodes.allSatisfy { $0.shimLog.contains("hold-sync") } ? true : nil
        }
        for _ in 0..<20 {
          for client in clients {
            #expect(try await client.value("key", .owners(1)) == "old")
            #expect(try await client.value("key", .all) == "old")
          }
        }
        for node in cluster.nodes { try node.rules() }
        #expect(try await put.isWritten)
        for client in clients { #expect(try await client.value("key") == "new") }
      }
    }

    @Test func `a replica whose sync is late shows the old version, and its peers the new one`() async throws {
      try await Cluster.run(Cluster.Options(underFaultShim: true)) { cluster in
        let clients = try await Self.clients(cluster)
        #expect(try await clients[0].put("key", "old", quorum: .all).isWritten)
        try cluster[1].rules("hold-sync *.log")
        // Both as its coordinator and as the replica of another.
        for (coordinator, value) in [(0, "new"), (1, "newer")] {
          #expect(try await clients[coordinator].put("key", value, deadline: .seconds(10)).isWritten)
          for _ in 0..<10 {
            #expect(try await clients[0].value("key", .owners(1)) == "old")
            #expect(try await clients[1].value("key", .quorum) == value, "what was acknowledged is read at quorum")
          }
        }
        try cluster[1].rules()
        _ = try await eventually(within: .seconds(5), "n1 shows what it synced") {
          try await clients[0].value("key", .owners(1)) == "newer" ? true : nil
        }
      }
    }

    private static func clients(_ cluster: Cluster) async throws -> [RawConnection] {
      var clients: [RawConnection] = []
      for node in cluster.nodes { clients.append(try await node.connect()) }
      return clients
    }
  }
}
