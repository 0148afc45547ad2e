import FakeNodes
import KVClient
import KVModel
import Testing

@Suite struct `Reads and writes` {
  @Test func `a value of all byte values comes back as it went in`() async throws {
    let cluster = try await FakeCluster.start(3)
    let value = (0..<4_096).map { UInt8($0 & 255) }
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("bytes", value)
      let read = try #require(try await client.get("bytes"))
      #expect(read.value == value)
      #expect(read.versions.count == 1)
    }
    await cluster.stop()
  }

  @Test func `values of 0 bytes and of 1 MiB come back, one byte more is refused here`() async throws {
    let cluster = try await FakeCluster.start(1)
    let longest = [UInt8](repeating: 7, count: Limits.valueBytesMax)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("empty", [UInt8]())
      try await client.put("long", longest)
      #expect(try await client.get("empty")?.value == [])
      #expect(try await client.get("long")?.value == longest)
      let error = await failure { () throws(KVError) in try await client.put("longer", longest + [7]) }
      #expect(error?.code == .valueTooLarge)
      #expect(error?.outcome == .notApplied)
    }
    await cluster.stop()
  }

  @Test func `an absent key has no value and a context that a write can use`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      #expect(try await client.get("absent") == nil)
      let state = try await client.read("absent")
      #expect(state.value == nil && state.versions.isEmpty)
      try await client.put("absent", "now", context: state.context)
      #expect(try await client.get("absent")?.value == Array("now".utf8))
    }
    await cluster.stop()
  }

  @Test func `two writes from one context leave siblings and a write with their context leaves one`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      let before = try await client.read("cart")
      try await client.put("cart", "a", context: before.context)
      try await client.put("cart", "b", context: before.context)
      let both = try await client.read("cart")
      #expect(both.versions.count == 2)
      #expect(both.value == Array("b".utf8))
      try await client.put("cart", "ab", context: both.context)
      #expect(try await client.get("cart")?.versions.count == 1)
    }
    await cluster.stop()
  }

  @Test func `a context survives its text and another key's context is refused`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      let receipt = try await client.put("a", "1")
      let context = try KVContext(text: try #require(receipt.context).text)
      #expect(context == receipt.context)
      let error = await failure { () throws(KVError) in try await client.put("b", "1", context: context) }
      #expect(error?.code == .invalidContext)
      #expect(await failure { () throws(KVError) in try KVContext(text: "no token") }?.code == .invalidContext)
    }
    await cluster.stop()
  }

  @Test func `a deleted key is absent and its tombstone is among the versions`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("gone", "1")
      try await client.delete("gone")
      let state = try await client.read("gone")
      #expect(state.value == nil)
      #expect(state.versions.map(\.value) == [nil])
    }
    await cluster.stop()
  }

  @Test func `a sort key makes another key in the same partition`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put(KVKey("user:1", sortKey: "name"), "Ada")
      try await client.put(KVKey("user:1", sortKey: "born"), "1815")
      #expect(try await client.get(KVKey("user:1", sortKey: "name"))?.value == Array("Ada".utf8))
      #expect(try await client.get("user:1") == nil)
    }
    await cluster.stop()
  }

  @Test(arguments: [0, 257]) func `a key of 0 or 257 bytes is refused before anything is sent`(count: Int) async throws
  {
    let cluster = try await FakeCluster.start(1)
    await withKVClient(configuration(cluster)) { client in
      let key = [UInt8](repeating: 65, count: count)
      let error = await failure { () throws(KVError) in try await client.get(key) }
      #expect(error?.code == .invalidKey)
    }
    #expect(cluster.nodes[0].keyed.isEmpty)
    await cluster.stop()
  }

  @Test(arguments: [Duration.zero, .seconds(-1), .seconds(4_000_000_000)])
  func `a time to live of zero, below it, or above ten years is refused`(ttl: Duration) async throws {
    let cluster = try await FakeCluster.start(1)
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v", ttl: ttl) }
      #expect(error?.code == .invalidTTL)
    }
    await cluster.stop()
  }

  @Test func `more owners than the cluster keeps copies is the server's to refuse`() async throws {
    let cluster = try await FakeCluster.start(3)
    await withKVClient(configuration(cluster)) { client in
      for count in [0, 4, 300] {
        let error = await failure { () throws(KVError) in try await client.get("k", consistency: .owners(count)) }
        #expect(error?.code == .invalidQuorum)
      }
    }
    await cluster.stop()
  }

  @Test func `a value that was damaged on its way is not handed out`() async throws {
    let cluster = try await FakeCluster.start(1)
    let key = try Key(Array("k".utf8))
    let token = ContextToken(cluster: ClusterID(0xfeed), key: key, vector: VersionVector(), stamp: .zero, secret: .none)
    let sibling = ReadAnswer.Sibling(stamp: .zero, expiry: nil, checksum: 1, value: [1, 2, 3])
    cluster.nodes[0].script { request, _ in
      if case .get = request { .reply(.value(ReadAnswer(context: token, siblings: [sibling]))) } else { nil }
    }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.get("k") }
      #expect(error?.code == .checksumMismatch)
      #expect(error?.isRetryable == true)
    }
    await cluster.stop()
  }

  @Test func `each write has its own request id and the checksum of its value`() async throws {
    let cluster = try await FakeCluster.start(1)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("k", "1")
      try await client.put("k", "2")
    }
    let writes: [WriteRequest] = cluster.nodes[0].keyed.compactMap {
      if case .write(let write) = $0 { write } else { nil }
    }
    #expect(writes.count == 2)
    #expect(writes[0].requestID != writes[1].requestID)
    #expect(writes[0].requestID.client == writes[1].requestID.client)
    #expect(writes[0].payload == .put([0x31], checksum: Checksum.of([0x31])))
    await cluster.stop()
  }
}
