import FakeNodes
import KVClient
import KVModel
import Testing

@Suite struct Routing {
  /// Always the same one: blind writes through several coordinators at once do not see each other.
  @Test func `writes go to the first owner of their key, all of them`() async throws {
    let cluster = try await FakeCluster.start(5)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("first")
      try await learnt(client)
      for place in 0..<5 {
        let key = try cluster.key(ownedBy: place)
        // The first call may go to another owner, whose connection is up already.
        try await expectEventually {
          try await client.put(key, "value")
          return cluster.nodes[place].writes.contains { $0.key.userBytes.elementsEqual(key.utf8) }
        }
        let before = cluster.nodes[place].writes.count
        for _ in 0..<10 { try await client.put(key, "value") }
        #expect(cluster.nodes[place].writes.count == before + 10)
      }
    }
    await cluster.stop()
  }

  @Test func `reads go to owners, and to each of them`() async throws {
    let cluster = try await FakeCluster.start(5)
    let key = try cluster.key(ownedBy: 1)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("first")
      try await learnt(client)
      try await expectEventually {
        _ = try await client.get(key)
        return [1, 2, 3].allSatisfy { cluster.nodes[$0].reads(of: key) > 0 }
      }
      // Strangers may have been asked while no owner was connected.
      let strangers = [0, 4].map { cluster.nodes[$0].reads(of: key) }
      for _ in 0..<20 { _ = try await client.get(key) }
      #expect([0, 4].map { cluster.nodes[$0].reads(of: key) } == strangers)
    }
    await cluster.stop()
  }

  @Test func `reads stay in the client's zone while a node of it is well`() async throws {
    let cluster = try await FakeCluster.start(3)
    for (place, node) in cluster.nodes.enumerated() { node.with { $0.description.member.zone = "z\(place)" } }
    let layout = cluster.layout(version: 2)
    for node in cluster.nodes { node.join(layout) }
    var configuration = configuration(cluster)
    configuration.zone = "z2"
    try await withKVClient(configuration) { client in
      _ = try await client.get("first")
      try await learnt(client, version: 2)
      // Once its connection is up.
      try await expectEventually {
        let before = cluster.nodes[2].keyed.count
        for _ in 0..<10 { _ = try await client.get("first") }
        return cluster.nodes[2].keyed.count == before + 10
      }
      cluster.nodes[2].with { $0.manners = .refuses(Refusal(.shuttingDown, "leaving")) }
      await cluster.nodes[2].dropConnections()
      #expect(try await client.get("first") == nil)
    }
    await cluster.stop()
  }

  @Test func `a client that knows one endpoint finds the owners by itself`() async throws {
    let cluster = try await FakeCluster.start(3)
    var configuration = configuration(cluster)
    configuration.endpoints = [cluster.endpoints[0]]
    try await withKVClient(configuration) { client in
      _ = try await client.get("first")
      try await learnt(client)
      let key = try cluster.key(ownedBy: 2)
      try await expectEventually {
        _ = try await client.get(key)
        return !cluster.nodes[2].keyed.isEmpty
      }
    }
    await cluster.stop()
  }

  @Test func `one connection a node, however many calls`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<500 { group.addTask { try await client.put("key-\(number)", "value") } }
        try await group.waitForAll()
      }
    }
    #expect(cluster.store.keys == 500)
    for node in cluster.nodes { #expect(node.with { $0.connections } <= 1) }
    await cluster.stop()
  }

  @Test func `when an owner is dead an unsent call goes to the next one`() async throws {
    let cluster = try await FakeCluster.start(3)
    let key = try cluster.key(ownedBy: 1)
    await cluster.nodes[1].stop()
    var configuration = configuration(cluster)
    configuration.endpoints = [cluster.endpoints[0]]
    try await withKVClient(configuration) { client in
      _ = try await client.get("first")
      try await learnt(client)
      for _ in 0..<3 { try await client.put(key, "value") }
    }
    #expect(cluster.store.keys == 1)
    await cluster.stop()
  }

  @Test func `a lost connection is made anew, though nobody calls`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await connected(cluster) { client in
      let before = cluster.nodes[1].with { $0.connections }
      await cluster.nodes[1].dropConnections()
      try await expectEventually { cluster.nodes[1].with { $0.connections } > before }
    }
    await cluster.stop()
  }

  @Test func `endpoints that are dead are passed over`() async throws {
    let cluster = try await FakeCluster.start(3)
    await cluster.nodes[0].stop()
    await cluster.nodes[2].stop()
    try await withKVClient(configuration(cluster)) { client in
      for number in 0..<10 { try await client.put("key-\(number)", "value") }
    }
    #expect(cluster.store.keys == 10)
    await cluster.stop()
  }

  @Test func `a node that lost its data is passed over, and named when there is no other`() async throws {
    let cluster = try await FakeCluster.start(3)
    let wiped = try await FakeNode.start("n4", id: NodeID(99))
    var configuration = configuration(cluster)
    configuration.endpoints = [wiped.address.description] + cluster.endpoints
    try await withKVClient(configuration) { client in
      for number in 0..<8 { try await client.put("key-\(number)", "value") }
    }
    #expect(wiped.keyed.isEmpty)
    configuration.endpoints = [wiped.address.description]
    let error = await withKVClient(configuration) { client in
      await failure { () throws(KVError) in try await client.get("k") }
    }
    #expect(error?.code == .notMember)
    await wiped.stop()
    await cluster.stop()
  }

  @Test func `a newer layout in a reply is fetched once, in the background`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("first")
      try await learnt(client)
      let newer = cluster.layout(version: 2)
      for node in cluster.nodes { node.join(newer) }
      let before = try await client.admin.counters().layoutFetches
      for _ in 0..<20 { _ = try await client.get("first") }
      try await learnt(client, version: 2)
      #expect(try await client.admin.counters().layoutFetches == before + 1)
    }
    await cluster.stop()
  }

  @Test func `with a stale layout calls are answered, and go to the new owners once it is fetched`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("first")
      try await learnt(client)
      // n3 left the cluster, and still answers whoever comes.
      let newer = cluster.layout(version: 2, of: 0..<2)
      for node in cluster.nodes { node.join(newer) }
      let key = try cluster.key(ownedBy: 2)
      try await client.put(key, "value")
      try await learnt(client, version: 2)
      let before = cluster.nodes[2].keyed.count
      for _ in 0..<10 {
        try await client.put(key, "value")
        _ = try await client.get(key)
      }
      #expect(cluster.nodes[2].keyed.count == before)
      #expect(try await client.admin.counters().layoutFetches == 2)
    }
    await cluster.stop()
  }

  @Test func `a node that leaves gets no new calls`() async throws {
    let cluster = try await FakeCluster.start(3)
    let node = cluster.nodes[0]
    let key = try cluster.key(ownedBy: 0)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("first")
      try await learnt(client)
      try await expectEventually {
        _ = try await client.get(key)
        return !node.keyed.isEmpty
      }
      node.with { $0.manners = .refuses(Refusal(.shuttingDown, "leaving")) }
      node.goAway()
      try await expectEventually {
        let before = node.keyed.count
        _ = try await client.get(key)
        return node.keyed.count == before
      }
      let after = node.keyed.count
      for _ in 0..<10 { _ = try await client.get(key) }
      #expect(node.keyed.count == after)
    }
    await cluster.stop()
  }
}
