import CoreMetrics
import FakeNodes
import InMemoryTracing
import KVClient
import KVModel
import Logging
import MetricsTestKit
import ServiceLifecycle
import Testing
import Tracing

@Suite struct `What operators see of a client` {
  @Test func `one span a call, with an event for each attempt`() async throws {
    let cluster = try await FakeCluster.start(1)
    let tracer = InMemoryTracer()
    let failures = Countdown(2)
    cluster.nodes[0].script { request, _ in
      request.key != nil && failures.next() ? .reply(.failed(Failure(.unavailable))) : nil
    }
    try await withTracer(tracer) {
      try await withKVClient(configuration(cluster)) { client in
        _ = try await client.put("secret-key", "secret-value")
        _ = await failure { () throws(KVError) in try await client.put("k", "v", ttl: .milliseconds(-1)) }
      }
    }
    let span = try #require(tracer.finishedSpans.first)
    #expect(tracer.finishedSpans.count == 1, "what is refused here is no call")
    #expect(span.operationName == "ringkv put")
    #expect(span.errors.isEmpty)
    let codes = span.events.map { $0.attributes.get("ringkv.attempt.code") }
    #expect(codes == [.string("unavailable"), .string("unavailable"), .string("ok")])
    let kinds = span.events.map { $0.attributes.get("ringkv.attempt.kind") }
    #expect(kinds == [.string("first"), .string("retry"), .string("retry")])
    #expect(!"\(span.events.map(\.attributes)) \(span.attributes)".contains("secret"))
    await cluster.stop()
  }

  @Test func `a call that fails marks its span, by its code`() async throws {
    let cluster = try await FakeCluster.start(1)
    let tracer = InMemoryTracer()
    cluster.nodes[0].script { request, _ in
      request.key == nil ? nil : .reply(.failed(Failure(.invalidQuorum)))
    }
    await withTracer(tracer) {
      await withKVClient(configuration(cluster)) { client in
        _ = await failure { () throws(KVError) in try await client.get("k") }
      }
    }
    let span = try #require(tracer.finishedSpans.first)
    #expect(span.status?.code == .error)
    #expect(span.attributes.get("error.type") == .string("invalid_quorum"))
    await cluster.stop()
  }

  @Test func `calls, failures by outcome, retries and connections are counted`() async throws {
    let cluster = try await FakeCluster.start(1)
    let metrics = TestMetrics()
    let failures = Countdown(1)
    cluster.nodes[0].script { request, _ in
      switch request {
      case .write: .reply(.failed(Failure(.tooManySiblings, .unknown)))
      case .get: failures.next() ? .reply(.failed(Failure(.unavailable))) : nil
      default: nil
      }
    }
    let client = KVClient(configuration(cluster), metricsFactory: metrics)
    let running = Task { await client.run() }
    _ = try await client.get("k", deadline: .seconds(60))
    _ = await failure { () throws(KVError) in try await client.put("k", "v", deadline: .seconds(60)) }
    running.cancel()
    await running.value
    #expect(try metrics.expectTimer("kvclient_call_seconds", [("kind", "get")]).values.count == 1)
    #expect(try metrics.expectTimer("kvclient_call_seconds", [("kind", "put")]).values.count == 1)
    #expect(try metrics.expectCounter("kvclient_retries_total").totalValue == 1)
    #expect(try metrics.expectCounter("kvclient_connects_total").totalValue >= 1)
    let failed = try metrics.expectCounter("kvclient_calls_failed_total", [("kind", "put"), ("outcome", "unknown")])
    #expect(failed.totalValue == 1)
    await cluster.stop()
  }

  @Test func `as a service it runs until the group is told to shut down, and lets open calls end`() async throws {
    let cluster = try await FakeCluster.start(1)
    let client = KVClient(configuration(cluster))
    let group = ServiceGroup(configuration: .init(services: [.init(service: client)], logger: .init(label: "test")))
    let running = Task { try await group.run() }
    try await client.put("k", "v")
    await group.triggerGracefulShutdown()
    try await running.value
    #expect(await failure { () throws(KVError) in try await client.get("k") }?.code == .notRunning)
    await cluster.stop()
  }
}

@Suite struct `Two clients` {
  /// One node's clocks are an hour ahead, and each client goes to a node of its own: what replaces what is decided by
  /// what was read, not by a clock.
  @Test func `and one clock an hour off: a later write replaces what it has read, and siblings are kept`() async throws
  {
    let cluster = try await FakeCluster.start(2)
    cluster.nodes[0].with { state in
      state.clockAheadMs = 3_600_000
      state.wallAheadMs = 3_600_000
    }
    try await with(cluster, 0) { ahead in
      try await with(cluster, 1) { behind in
        try await ahead.put("k", "from the future")
        let read = try #require(try await behind.get("k"))
        #expect(read.value == Array("from the future".utf8))
        try await behind.put("k", "after it", context: read.context)
        let state = try await ahead.read("k")
        #expect(state.versions.map(\.value) == [Array("after it".utf8)])
        try await behind.put("k", "one", context: state.context)
        try await ahead.put("k", "two", context: state.context)
        let both = try await behind.read("k")
        #expect(Set(both.versions.map(\.value)) == [Array("one".utf8), Array("two".utf8)])
        try await behind.put("k", "merged", context: both.context)
        #expect(try await ahead.read("k").versions.map(\.value) == [Array("merged".utf8)])
        try await ahead.delete("k")
        #expect(try await behind.get("k") == nil)
      }
    }
    await cluster.stop()
  }

  private func with(_ cluster: FakeCluster, _ place: Int, _ body: (KVClient) async throws -> Void) async throws {
    var configuration = configuration(cluster)
    configuration.endpoints = [cluster.endpoints[place]]
    configuration.followsLayout = false
    try await withKVClient(configuration, body)
  }
}
