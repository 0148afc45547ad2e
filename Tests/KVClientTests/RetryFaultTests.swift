import FakeNodes
import KVClient
import KVModel
import Synchronization
import Testing

/// What a call survives, and what it tells when it does not.
@Suite struct `Faults under retries` {
  /// Lets `count` requests meet `reaction`, and answers all later ones.
  private static func first(_ count: Int, _ reaction: @escaping @Sendable () -> FakeNode.Reaction) -> FakeNode.Script {
    let left = Countdown(count)
    return { request, _ in request.key != nil && left.next() ? reaction() : nil }
  }

  @Test func `a node that dies in the middle of a read: another owner answers`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("k", "v")
      let script = Self.first(1) { .close }
      for node in cluster.nodes { node.script(script) }
      #expect(try await client.get("k")?.value == Array("v".utf8))
      #expect(try await client.admin.counters().retries == 1)
    }
    await cluster.stop()
  }

  @Test func `a node that dies in the middle of a write: another owner gets it, marked, under its own id`() async throws
  {
    let cluster = try await FakeCluster.start(3)
    let key = try cluster.key(ownedBy: 0)
    try await connected(cluster) { client in
      cluster.nodes[0].script { request, _ in request.key == nil ? nil : .close }
      let before = cluster.nodes[0].writes.count
      try await client.put(key, "v")
      let first = try #require(cluster.nodes[0].writes.dropFirst(before).first)
      let others = cluster.nodes[1].writes + cluster.nodes[2].writes
      let second = try #require(others.first { $0.isRetry })
      #expect(!first.isRetry)
      #expect(first.requestID == second.requestID)
      #expect(first.payload == second.payload)
    }
    await cluster.stop()
  }

  @Test func `a write that was rejected is tried again without the mark`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script(Self.first(2) { .reply(.failed(Failure(.unavailable))) })
    _ = try await withKVClient(configuration(cluster)) { client in try await client.put("k", "v") }
    #expect(cluster.nodes[0].writes.map(\.isRetry) == [false, false, false])
    #expect(Set(cluster.nodes[0].writes.map(\.requestID)).count == 1)
    await cluster.stop()
  }

  @Test func `once a write may have been applied every later attempt is marked, and it ends unknown`() async throws {
    let cluster = try await FakeCluster.start(1)
    let asked = Countdown(2)
    cluster.nodes[0].script { request, _ in
      guard request.key != nil else { return nil }
      return .reply(.failed(Failure(.unavailable, asked.next() ? .unknown : .rejected, needed: 3, got: 2)))
    }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v") }
      #expect(error?.code == .unavailable)
      #expect(error?.outcome == .unknown)
      #expect(error?.needed == 3 && error?.got == 2)
      #expect(error?.attempts.map(\.code) == [.unavailable, .unavailable, .unavailable, .unavailable])
    }
    #expect(cluster.nodes[0].writes.map(\.isRetry) == [false, true, true, true])
    await cluster.stop()
  }

  @Test func `a write that every node rejects was not applied`() async throws {
    let cluster = try await FakeCluster.start(3)
    for node in cluster.nodes {
      node.script { request, _ in request.key == nil ? nil : .reply(.failed(Failure(.unavailable))) }
    }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v") }
      #expect(error?.outcome == .notApplied)
      #expect(error?.isRetryable == true)
    }
    await cluster.stop()
  }

  @Test func `what a node said is told, not that the others are dead`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await connected(cluster) { client in
      cluster.nodes[0].script { request, _ in
        request.key == nil ? nil : .reply(.failed(Failure(.unavailable, needed: 2, got: 1)))
      }
      for place in [1, 2] { await cluster.nodes[place].stop() }
      let error = await failure { () throws(KVError) in try await client.get("k") }
      #expect(error?.code == .unavailable)
      #expect(error?.needed == 2 && error?.got == 1)
    }
    await cluster.nodes[0].stop()
  }

  @Test func `what the request itself is at fault for is not tried again`() async throws {
    let cluster = try await FakeCluster.start(3)
    for node in cluster.nodes {
      node.script { request, _ in request.key == nil ? nil : .reply(.failed(Failure(.tooManySiblings))) }
    }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v") }
      #expect(error?.code == .tooManySiblings)
      #expect(error?.attempts.count == 1)
    }
    await cluster.stop()
  }

  /// The failure itself, and not `timedOut`: nobody waited for the deadline.
  @Test func `a deadline shorter than a retry ends the call early, with the failure itself`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in
      request.key == nil ? nil : .reply(.failed(Failure(.overloaded, retryAfterMs: 60_000)))
    }
    var configuration = configuration(cluster)
    configuration.deadline = .seconds(60)
    try await withKVClient(configuration) { client in
      let error = try #require(await failure { () throws(KVError) in try await client.put("k", "v") })
      #expect(error.code == .overloaded)
      #expect(error.outcome == .notApplied)
      #expect(error.retryAfter == .seconds(60))
    }
    #expect(cluster.nodes[0].writes.count == 1)
    await cluster.stop()
  }

  @Test func `a task that is cancelled while its call waits for a retry ends at once`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in
      request.key == nil ? nil : .reply(.failed(Failure(.overloaded, .unknown, retryAfterMs: 30_000)))
    }
    try await withKVClient(configuration(cluster)) { client in
      let write = Task { await failure { () throws(KVError) in try await client.put("k", "v") } }
      try await expectEventually { cluster.nodes[0].writes.count == 1 }
      write.cancel()
      let error = await write.value
      #expect(error?.code == .cancelled)
      #expect(error?.outcome == .unknown)
      #expect(error?.attempts.map(\.code) == [.overloaded])
    }
    await cluster.stop()
  }

  @Test func `a half-open connection is found out, and the call goes round it`() async throws {
    let cluster = try await FakeCluster.start(3)
    let key = try cluster.key(ownedBy: 0)
    var configuration = configuration(cluster)
    configuration.pingAfter = .milliseconds(20)
    configuration.silenceMax = .milliseconds(500)
    // On a busy machine the others may be silent for as long.
    configuration.attemptsMax = 100
    try await connected(cluster, configuration) { client in
      cluster.nodes[0].with { $0.isDeaf = true }
      try await client.put(key, "v")
      let counters = try await client.admin.counters()
      #expect(counters.silentLinks >= 1)
      #expect(cluster.nodes[0].with { $0.pings } >= 1)
      #expect(try await client.get(key)?.value == Array("v".utf8))
    }
    await cluster.stop()
  }

  @Test func `a node that is slow but alive keeps its connection`() async throws {
    let cluster = try await FakeCluster.start(1)
    var configuration = once(configuration(cluster))
    configuration.pingAfter = .milliseconds(20)
    try await withKVClient(configuration) { client in
      try await client.put("k", "v")
      cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
      let read = await failure { () throws(KVError) in try await client.get("k", deadline: .milliseconds(400)) }
      #expect(read?.code == .timedOut)
      let counters = try await client.admin.counters()
      #expect(counters.pings >= 1)
      #expect(counters.silentLinks == 0 && counters.connects == 1)
    }
    await cluster.stop()
  }

  @Test func `a write that gets no answer is asked of another owner beside, marked; the first answer counts`()
    async throws
  {
    let cluster = try await FakeCluster.start(3)
    let key = try cluster.key(ownedBy: 0)
    var configuration = configuration(cluster)
    configuration.patience = .milliseconds(100)
    try await connected(cluster, configuration) { client in
      cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
      try await client.put(key, "v")
      let first = try #require(cluster.nodes[0].writes.last)
      let others = (cluster.nodes[1].writes + cluster.nodes[2].writes).filter { $0.requestID == first.requestID }
      #expect(others.map(\.isRetry) == [true])
      let sent = try #require(cluster.nodes[0].requests.last { $0.request.key != nil })
      try await expectEventually { cluster.nodes[0].with { $0.cancelled.last } == sent.header.requestID }
    }
    await cluster.stop()
  }

  @Test func `with its budget spent a client does not retry`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .reply(.failed(Failure(.unavailable))) }
    var configuration = configuration(cluster)
    configuration.retryBurstMax = 2
    configuration.retryBudgetPercent = 0
    try await withKVClient(configuration) { client in
      for _ in 0..<3 { _ = await failure { () throws(KVError) in try await client.get("k") } }
      let counters = try await client.admin.counters()
      #expect(counters.retries == 2)
      #expect(counters.retriesDenied == 3)
    }
    #expect(cluster.nodes[0].keyed.count == 5)
    await cluster.stop()
  }

  @Test func `a node that fails call after call is avoided`() async throws {
    let cluster = try await FakeCluster.start(3)
    let key = try cluster.key(ownedBy: 0)
    try await connected(cluster) { client in
      let before = cluster.nodes[0].writes.count
      cluster.nodes[0].script { request, _ in request.key == nil ? nil : .reply(.failed(Failure(.storageFailed))) }
      for _ in 0..<5 { try await client.put(key, "v") }
      #expect(cluster.nodes[0].writes.count == before + 5)
      #expect(try await client.admin.counters().breakersOpened == 1)
      // And asked again when it is well.
      cluster.nodes[0].script(nil)
      try await expectEventually {
        let before = cluster.nodes[0].writes.count
        try await client.put(key, "v")
        return cluster.nodes[0].writes.count == before + 1
      }
    }
    await cluster.stop()
  }
}

/// True so many times, in whatever order it is asked.
final class Countdown: Sendable {
  private let left: Atomic<Int>

  init(_ count: Int) { left = Atomic(count) }

  func next() -> Bool { left.subtract(1, ordering: .relaxed).newValue >= 0 }
}

/// A client that has learnt the layout and is connected to every node, so that the first owner gets the next write.
func connected(
  _ cluster: FakeCluster, _ configured: KVClientConfiguration? = nil, _ body: (KVClient) async throws -> Void
) async throws {
  try await withKVClient(configured ?? configuration(cluster)) { client in
    _ = try await client.get("first")
    try await learnt(client)
    for place in cluster.nodes.indices {
      let key = try cluster.key(ownedBy: place)
      try await expectEventually {
        _ = try await client.delete(key)
        return cluster.nodes[place].writes.contains { $0.key.userBytes.elementsEqual(key.utf8) }
      }
    }
    try await body(client)
  }
}
