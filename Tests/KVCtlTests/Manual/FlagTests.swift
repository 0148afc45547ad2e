import FakeNodes
import KVModel
import Testing

@testable import kvctl

/// What flags do that no other test is about.
@Suite struct `Flags of verbs about keys` {
  private func quorums(_ cluster: FakeCluster) -> [Quorum] {
    cluster.nodes.flatMap(\.keyed).map { request in
      switch request {
      case .get(_, let quorum): quorum
      case .write(let write): write.quorum
      case .explain, .describe, .fetchLayout, .reserveCluster, .formCluster, .repair: .quorum
      }
    }
  }

  @Test func `how many owners a verb waits for reaches the nodes, by word and by number`() async throws {
    let file = try TemporaryFile(Array("k\tv\n".utf8))
    defer { file.remove() }
    let calls: [([String], Quorum)] = [
      (["get", "k"], .quorum), (["get", "k", "--consistency", "all"], .all), (["get", "k", "-r", "2"], .owners(2)),
      (["put", "k", "v", "--consistency", "one"], .owners(1)), (["put", "k", "v", "-w", "3"], .owners(3)),
      (["delete", "k", "--consistency", "all"], .all), (["delete", "k", "-w", "2"], .owners(2)),
      (["import", file.path, "--format", "tsv", "--consistency", "one"], .owners(1)),
      (["import", file.path, "--format", "tsv", "-w", "2"], .owners(2)),
    ]
    let cluster = try await FakeCluster.start(3)
    for (call, quorum) in calls {
      for node in cluster.nodes { node.with { $0.requests = [] } }
      _ = await KvctlInside(endpoints: cluster.endpoints)(call)
      #expect(quorums(cluster) == [quorum], "\(call)")
    }
    // Its lines go to stdout: a process.
    for (call, quorum) in [
      (["export", "--keys", file.path, "--consistency", "all"], Quorum.all),
      (["export", "--keys", file.path, "-r", "2"], .owners(2)),
    ] {
      for node in cluster.nodes { node.with { $0.requests = [] } }
      _ = try await KvctlProcess(endpoints: cluster.endpoints)(call)
      #expect(quorums(cluster) == [quorum], "\(call)")
    }
    await cluster.stop()
  }

  @Test func `hexadecimal goes in as bytes and comes out as digits`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlInside(endpoints: cluster.endpoints)
    #expect(await kvctl("put", "k", "00fF10", "--hex").status == .done)
    #expect(await kvctl("get", "k").report.value == [0, 255, 16])
    #expect(await kvctl("get", "k", "--hex").text == "00ff10\n")
    #expect(await kvctl("put", "k", "0", "--hex").status == .usage)
    await cluster.stop()
  }

  @Test func `a time to live ends with the key`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlInside(endpoints: cluster.endpoints)
    #expect(await kvctl("put", "k", "v", "--ttl", "90m").status == .done)
    let version = try #require(cluster.store[try Key(Array("k".utf8))].versions.first)
    let expiry = try #require(version.expiry)
    // The fake store's stamps count its writes behind its clock.
    #expect((5_399_000...5_401_000).contains(Int64(expiry.milliseconds) - Int64(version.stamp.wall.milliseconds)))
    for node in cluster.nodes { node.with { $0.wallAheadMs = 5_500_000 } }
    #expect(await kvctl("get", "k").status == .notFound)
    await cluster.stop()
  }

  /// The token behind `context` in the notes.
  private func token(_ ended: KvctlInside.Ended) throws -> String {
    String(try #require(ended.report.notes.first { $0.hasPrefix("context ") }).dropFirst(8))
  }

  @Test func `the context of a write is for the next one, and a deletion with a context spares what came since`()
    async throws
  {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlInside(endpoints: cluster.endpoints)
    let empty = try token(await kvctl("get", "k", "--show-context"))
    let written = try token(await kvctl("put", "k", "a", "--show-context"))
    #expect(await kvctl("put", "k", "b", "--context", empty).status == .done)
    #expect(await kvctl("get", "k").notes.contains("2 concurrent versions"))
    #expect(await kvctl("delete", "k", "--context", written).status == .done)
    #expect(await kvctl("get", "k").report.value == Array("b".utf8))
    #expect(await kvctl("delete", "k", "--context", "nonsense").status == .usage)
    await cluster.stop()
  }
}
