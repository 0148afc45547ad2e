import FakeNodes
import KVClient
import KVModel
import Testing

@Suite struct `Hedged reads` {
  /// A client that hedges and has seen enough reads to know when.
  private func hedging(
    _ cluster: FakeCluster, percent: Int = 10, attemptsMax: Int = 4, _ body: (KVClient) async throws -> Void
  ) async throws {
    var configuration = configuration(cluster)
    configuration.hedgeBudgetPercent = percent
    configuration.attemptsMax = attemptsMax
    try await connected(cluster, configuration) { client in
      try await client.put("k", "v")
      for _ in 0..<300 { _ = try await client.get("k") }
      try await body(client)
    }
  }

  @Test func `a read that takes longer than most is asked of a second owner, and the first answer counts`() async throws
  {
    let cluster = try await FakeCluster.start(3)
    // A budget that a busy machine does not spend before it comes to this read.
    try await hedging(cluster, percent: 100) { client in
      let before = try await client.admin.counters()
      // Whoever is asked first says nothing.
      let left = Countdown(1)
      for node in cluster.nodes { node.script { request, _ in request.key != nil && left.next() ? .silence : nil } }
      #expect(try await client.get("k")?.value == Array("v".utf8))
      let after = try await client.admin.counters()
      #expect(after.hedges >= before.hedges + 1)
      #expect(after.hedgesWon >= before.hedgesWon + 1)
      #expect(after.retries == before.retries)
      // And the loser is told that nobody waits for it.
      try await expectEventually { cluster.nodes.contains { node in node.with { !$0.cancelled.isEmpty } } }
    }
    await cluster.stop()
  }

  @Test func `hedges are at most a tenth of the reads and what was saved up`() async throws {
    let cluster = try await FakeCluster.start(3)
    // No retries, which would go to the second owners themselves.
    try await hedging(cluster, attemptsMax: 1) { client in
      let before = try await client.admin.counters().hedges
      for node in cluster.nodes { node.script { request, _ in request.key != nil ? .silence : nil } }
      let reads = (0..<30).map { _ in Task { await failure { () throws(KVError) in try await client.get("k") } } }
      // Three that these reads have earned, and up to ten from before.
      try await expectEventually { try await client.admin.counters().hedges - before >= 3 }
      // The timers of all of them lie before the end of this one's deadline.
      let last = await failure { () throws(KVError) in try await client.get("k", deadline: .milliseconds(300)) }
      #expect(last?.code == .timedOut)
      #expect(try await client.admin.counters().hedges - before <= 13)
      for read in reads { read.cancel() }
      for read in reads { #expect(await read.value?.code == .cancelled) }
    }
    await cluster.stop()
  }

  @Test func `a write is never hedged`() async throws {
    let cluster = try await FakeCluster.start(3)
    try await hedging(cluster) { client in
      let before = try await client.admin.counters().hedges
      for node in cluster.nodes { node.script { request, _ in request.key != nil ? .silence : nil } }
      let error = await failure { () throws(KVError) in try await client.put("k", "v", deadline: .milliseconds(90)) }
      #expect(error?.outcome == .unknown)
      #expect(try await client.admin.counters().hedges == before)
    }
    await cluster.stop()
  }
}
