import FakeNodes
import KVClient
import KVModel
import Testing

@Suite struct Faults {
  @Test func `a call without a running client fails at once`() async throws {
    let client = KVClient(KVClientConfiguration(endpoints: ["127.0.0.1:1"]))
    // Not `timedOut`: it did not wait for its deadline.
    let error = await failure { () throws(KVError) in try await client.get("k", deadline: inVain) }
    #expect(error?.code == .notRunning)
  }

  @Test func `a call beside a run that begins is served, one after its end is not`() async throws {
    let cluster = try await FakeCluster.start(1)
    let client = KVClient(configuration(cluster))
    let running = Task { await client.run() }
    try await client.put("k", "v")
    running.cancel()
    await running.value
    let error = await failure { () throws(KVError) in try await client.get("k") }
    #expect(error?.code == .notRunning)
    await cluster.stop()
  }

  @Test func `an unreachable cluster throws inside the deadline with the last connect error`() async throws {
    let cluster = try await FakeCluster.start(3)
    await cluster.stop()
    try await withKVClient(configuration(cluster)) { client in
      let error = try #require(await failure { () throws(KVError) in try await client.put("k", "v") })
      #expect(error.code == .unreachable)
      #expect(error.outcome == .notApplied)
      #expect(error.isRetryable)
      #expect(error.message.contains("Connection refused"))
      // Each node in each of four rounds.
      #expect(Set(error.attempts.map(\.node)) == Set(cluster.endpoints))
      #expect(error.attempts.count == 12)
    }
  }

  @Test func `a host name that nobody knows is an error that names it`() async throws {
    await withKVClient(KVClientConfiguration(endpoints: ["no-such-host.invalid:7420"])) { client in
      let error = await failure { () throws(KVError) in try await client.get("k", deadline: inVain) }
      #expect(error?.code == .unreachable)
      #expect(error?.message.contains("no-such-host.invalid") == true)
    }
  }

  @Test func `without an endpoint a call says so`() async throws {
    await withKVClient(KVClientConfiguration(endpoints: ["nonsense"])) { client in
      #expect(await failure { () throws(KVError) in try await client.get("k") }?.code == .invalidRequest)
    }
  }

  @Test func `a silent node lets a read time out, and a write end unknown`() async throws {
    let cluster = try await FakeCluster.start(1)
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("k")
      cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
      let read = await failure { () throws(KVError) in try await client.get("k", deadline: .milliseconds(50)) }
      #expect(read?.code == .timedOut)
      #expect(read?.outcome == .notApplied)
      #expect(read?.attempts.map(\.code) == [.timedOut])
      let write = await failure { () throws(KVError) in try await client.put("k", "v", deadline: .milliseconds(50)) }
      #expect(write?.code == .timedOut)
      #expect(write?.outcome == .unknown)
      #expect(write?.isRetryable == false)
    }
    await cluster.stop()
  }

  @Test func `a node that accepts and never greets ends within the deadline, not applied`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].with { $0.manners = .mute }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v", deadline: .milliseconds(100)) }
      #expect(error?.code == .timedOut)
      #expect(error?.outcome == .notApplied)
    }
    await cluster.stop()
  }

  @Test func `when one endpoint never greets, the connect timeout moves the call to the next`() async throws {
    let cluster = try await FakeCluster.start(2)
    var configuration = configuration(cluster)
    configuration.connectTimeout = .milliseconds(200)
    // On a busy machine the other one may be late as well.
    configuration.attemptsMax = 100
    for mute in cluster.nodes {
      for node in cluster.nodes { node.with { $0.manners = node === mute ? .mute : .greets } }
      _ = try await withKVClient(configuration) { client in try await client.put("k", "v") }
    }
    await cluster.stop()
  }

  @Test func `the deadline travels on the node's clock, an hour off or not`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    node.with { $0.clockAheadMs = 3_600_000 }
    try await withKVClient(configuration(cluster)) { client in
      _ = try await client.get("k", deadline: .seconds(10_000))
      _ = try await client.get("k", deadline: .seconds(1_000))
    }
    let deadlines = node.requests.filter { $0.request.key != nil }.map(\.header.deadlineMs)
    #expect(deadlines.count == 2)
    // 9,000 s lie between the deadlines, whatever the clock; the time between the calls adds little.
    #expect(deadlines[0] > 3_600_000 + 9_999_000)
    #expect((8_500_000...9_000_000).contains(deadlines[0] - deadlines[1]))
    await cluster.stop()
  }

  @Test func `a cancelled call ends promptly, a sent write unknown, and the node is told`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    node.script { request, _ in request.key == nil ? nil : .silence }
    try await withKVClient(configuration(cluster)) { client in
      let write = Task { await failure { () throws(KVError) in try await client.put("k", "v") } }
      try await expectEventually { node.keyed.count == 1 }
      write.cancel()
      let error = await write.value
      #expect(error?.code == .cancelled)
      #expect(error?.outcome == .unknown)
      try await expectEventually { node.with { $0.cancelled.count } == 1 }
      let sent = node.requests.first { $0.request.key != nil }
      #expect(node.with { $0.cancelled } == [sent?.header.requestID])
    }
    await cluster.stop()
  }

  @Test func `a write that is cancelled before it is sent is not applied`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].with { $0.manners = .mute }
    try await withKVClient(configuration(cluster)) { client in
      let write = Task { await failure { () throws(KVError) in try await client.put("k", "v") } }
      try await expectEventually { cluster.nodes[0].with { $0.connections } == 1 }
      write.cancel()
      let error = await write.value
      #expect(error?.code == .cancelled)
      #expect(error?.outcome == .notApplied)
      let early = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return await failure { () throws(KVError) in try await client.put("k", "v") }
      }
      #expect(await early.value?.outcome == .notApplied)
    }
    await cluster.stop()
  }

  @Test func `a connection that breaks leaves writes unknown and reads to be repeated`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    node.script { request, _ in request.key == nil ? nil : .silence }
    try await withKVClient(once(configuration(cluster))) { client in
      async let write = failure { () throws(KVError) in try await client.put("k", "v") }
      async let read = failure { () throws(KVError) in try await client.get("k") }
      try await expectEventually { node.keyed.count == 2 }
      await node.dropConnections()
      let (lostWrite, lostRead) = (await write, await read)
      #expect(lostWrite?.code == .connectionLost && lostWrite?.outcome == .unknown)
      #expect(lostRead?.code == .connectionLost && lostRead?.outcome == .notApplied)
      #expect(lostRead?.isRetryable == true && lostWrite?.isRetryable == false)
      node.script(nil)
      try await client.put("k", "v")
    }
    await cluster.stop()
  }

  @Test func `a malformed reply closes that connection, is counted, and harms no later call`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    let garbage = [UInt8](repeating: 0xff, count: 64)
    try await withKVClient(configuration(cluster)) { client in
      try await client.put("k", "v")
      node.script { request, _ in
        switch request {
        case .get: .bytes(garbage)
        case .write: .silence
        default: nil
        }
      }
      async let write = failure { () throws(KVError) in try await client.put("k", "w") }
      try await expectEventually { node.keyed.count == 2 }
      let read = await failure { () throws(KVError) in try await client.get("k") }
      #expect(read?.code == .protocolMismatch)
      #expect(await write?.outcome == .unknown)
      #expect(try await client.admin.counters().malformedReplies == 1)
      node.script(nil)
      #expect(try await client.get("k")?.value == Array("v".utf8))
    }
    await cluster.stop()
  }

  @Test func `a reply of the wrong kind is an error of that call alone`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .reply(.done) }
    await withKVClient(configuration(cluster)) { client in
      #expect(await failure { () throws(KVError) in try await client.get("k") }?.code == .protocolMismatch)
      let write = await failure { () throws(KVError) in try await client.put("k", "v") }
      #expect(write?.outcome == .unknown)
    }
    await cluster.stop()
  }

  @Test func `the reply to a call that ended is not taken for the next one's`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    node.script { request, _ in request.key == nil ? nil : .silence }
    try await withKVClient(once(configuration(cluster))) { client in
      let late = Task { await failure { () throws(KVError) in try await client.get("old") } }
      try await expectEventually { node.keyed.count == 1 }
      late.cancel()
      #expect(await late.value?.code == .cancelled)
      let old = try #require(node.requests.first { $0.request.key != nil })
      node.script { request, header in
        guard request.key != nil else { return nil }
        // The old call's answer arrives first, then ours.
        var bytes: [UInt8] = []
        let late = ClientResponse.failed(Failure(.unavailable))
        FrameHeader(type: .failed, requestID: old.header.requestID).appendFrame(to: &bytes) { late.encode(into: &$0) }
        let ours = ClientResponse.failed(Failure(.clockSkew))
        FrameHeader(type: .failed, requestID: header.requestID).appendFrame(to: &bytes) { ours.encode(into: &$0) }
        return .bytes(bytes)
      }
      #expect(await failure { () throws(KVError) in try await client.get("new") }?.code == .clockSkew)
      #expect(try await client.admin.counters().lateReplies == 1)
    }
    await cluster.stop()
  }

  @Test func `a server that speaks HTTP is named as one that does not speak our protocol`() async throws {
    let server = try await FakeNode.start("http", id: NodeID(1))
    for answer in ["HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html></html>", "HTTP/1.1"] {
      server.with { $0.manners = .says(Array(answer.utf8)) }
      await withKVClient(KVClientConfiguration(endpoints: [server.address.description])) { client in
        let error = await failure { () throws(KVError) in try await client.put("k", "v", deadline: inVain) }
        #expect(error?.code == .protocolMismatch)
        #expect(error?.outcome == .notApplied)
        #expect(error?.message.contains("RingKV's protocol") == true)
      }
    }
    await server.stop()
  }

  @Test(arguments: [
    (Refusal.Reason.tooManyConnections, KVError.Code.overloaded), (.shuttingDown, .shuttingDown),
    (.unknownRevision, .protocolMismatch), (.otherCluster, .otherCluster),
  ])
  func `a refusal says why`(reason: Refusal.Reason, code: KVError.Code) async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].with { $0.manners = .refuses(Refusal(reason, "the reason")) }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("k", "v") }
      #expect(error?.code == code)
      #expect(error?.outcome == .notApplied)
      #expect(error?.message.contains("the reason") == true)
    }
    await cluster.stop()
  }

  @Test func `a node's failure keeps its numbers`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in
      guard request.key != nil else { return nil }
      return .reply(.failed(Failure(.unavailable, .unknown, needed: 2, got: 1, retryAfterMs: 250)))
    }
    await withKVClient(configuration(cluster)) { client in
      let error = await failure { () throws(KVError) in try await client.put("secret-key", "secret-value") }
      #expect(error?.code == .unavailable)
      #expect(error?.outcome == .unknown)
      #expect(error?.needed == 2 && error?.got == 1)
      #expect(error?.retryAfter == .milliseconds(250))
      #expect(error.map { "\($0)".contains("secret") } == false)
    }
    await cluster.stop()
  }

  @Test func `beyond its limit of calls the client says overloaded`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
    var configuration = configuration(cluster)
    configuration.callsInFlightMax = 4
    try await withKVClient(configuration) { client in
      let held = (0..<3).map { _ in Task { await failure { () throws(KVError) in try await client.get("k") } } }
      try await expectEventually { cluster.nodes[0].keyed.count == 3 }
      try await learnt(client)
      let more = Task { await failure { () throws(KVError) in try await client.get("k") } }
      try await expectEventually { cluster.nodes[0].keyed.count == 4 }
      let error = await failure { () throws(KVError) in try await client.get("k") }
      #expect(error?.code == .overloaded)
      #expect(error?.isRetryable == true)
      for task in held + [more] { task.cancel() }
      for task in held + [more] { #expect(await task.value?.code == .cancelled) }
    }
    await cluster.stop()
  }

  @Test func `stopping the client ends what is open`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
    let client = KVClient(configuration(cluster))
    let running = Task { await client.run() }
    let write = Task { await failure { () throws(KVError) in try await client.put("k", "v") } }
    try await expectEventually { cluster.nodes[0].keyed.count == 1 }
    running.cancel()
    await running.value
    let error = await write.value
    #expect(error?.code == .notRunning)
    #expect(error?.outcome == .unknown)
    await cluster.stop()
  }
}
