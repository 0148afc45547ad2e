import Glibc
import KVModel
import Testing

/// Whatever arrives on a port, the node lives, others are served, and memory stays within bounds.
extension ProcessTests {
  @Suite struct BadInputProcessTests {
    /// What all of a test's bad input may make a node grow by: some buffers of a connection and of the allocator, and
    /// nothing that a header merely claims.
    static let growthBytesMax = 48 << 20

    /// A well-behaved client of n1, who must not notice anything.
    private struct Bystander {
      let node: NodeProcess
      let connection: RawConnection

      func check(_ what: Comment) async throws {
        let begin = ContinuousClock.now
        let value = try await connection.value("bystander")
        #expect(value == "well", what)
        #expect(begin.duration(to: .now) < .seconds(2), what)
        #expect(node.isRunning, what)
      }
    }

    /// A cluster with a bystander, whose node must not grow, and which serves newcomers afterwards.
    private static func withBystander(_ body: (Cluster, Bystander) async throws -> Void) async throws {
      try await Cluster.run { cluster in
        let node = cluster[1]
        let bystander = Bystander(node: node, connection: try await node.connect())
        #expect(try await bystander.connection.put("bystander", "well").isWritten)
        let before = try node.residentBytes
        try await body(cluster, bystander)
        try await bystander.check("at the end")
        let after = try node.residentBytes
        #expect(after < before + growthBytesMax, "VmRSS went from \(before >> 20) to \(after >> 20) MiB")
        #expect(try await cluster.kvctl("put", "newcomer", "served").status == 0)
      }
    }

    // MARK: Requests that are malformed

    private static func keyBytes(_ count: Int) -> [UInt8] {
      var bytes: [UInt8] = [0, 0]
      bytes.append(integer: UInt16(count))
      bytes.append(integer: UInt16(0))
      return bytes + [UInt8](repeating: UInt8(ascii: "k"), count: count)
    }

    private static func putBody(
      key: [UInt8] = keyBytes(3), w: UInt8 = 254, ttlMs: UInt64 = .max, context: [UInt8]? = nil, valueBytes: Int = 1
    ) -> [UInt8] {
      let value = [UInt8](repeating: 7, count: valueBytes)
      var body = key + [w]
      body.append(integer: UInt64.random(in: 1 ... .max))
      body.append(integer: UInt64(1))
      body.append(bool: false)
      body.append(integer: ttlMs)
      if let context { body.append(blob: context) } else { body.append(integer: UInt32.max) }
      body.append(integer: Checksum.of(value))
      body.append(blob: value)
      return body
    }

    private static let requests: [(name: String, type: FrameType, body: [UInt8], code: Failure.Code)] = [
      ("get of an empty key", .get, [254] + keyBytes(0), .invalidKey),
      ("get of a key of 257 bytes", .get, [254] + keyBytes(257), .invalidKey),
      ("put to an empty key", .put, putBody(key: keyBytes(0)), .invalidKey),
      ("put to a key of 257 bytes", .put, putBody(key: keyBytes(257)), .invalidKey),
      ("a value of 1 MiB and a byte", .put, putBody(valueBytes: (1 << 20) + 1), .valueTooLarge),
      ("a time to live of zero", .put, putBody(ttlMs: 0), .invalidTTL),
      ("a time to live of a thousand years", .put, putBody(ttlMs: 1_000 * 365 * 86_400_000), .invalidTTL),
      ("R of zero", .get, [0] + keyBytes(3), .invalidQuorum),
      ("R above N", .get, [4] + keyBytes(3), .invalidQuorum),
      ("W above N", .put, putBody(w: 4), .invalidQuorum),
      ("a context that is none", .put, putBody(context: [1, 2, 3]), .invalidContext),
      ("a get cut short", .get, [254, 0, 0], .invalidRequest),
      ("a get with more behind it", .get, [254] + keyBytes(3) + [0], .invalidRequest),
      ("an empty put", .put, [], .invalidRequest),
      ("a peer's frame", .replicaRead, [0, 0, 0, 0] + keyBytes(3), .invalidRequest),
      ("a reply", .done, [], .invalidRequest),
      ("a layout of noise", .formCluster, (0..<500).map { UInt8(truncatingIfNeeded: $0 &* 131) }, .invalidRequest),
      ("a reservation for no cluster", .reserveCluster, [0, 0, 0, 0, 0, 0, 0, 0], .invalidRequest),
    ]

    @Test func `a request that is malformed is answered with what is wrong, and the connection goes on`() async throws {
      try await Self.withBystander { cluster, bystander in
        let connection = try await cluster[1].connect()
        for (name, type, body, code) in Self.requests {
          let answer = try await connection.ask(type, body)
          #expect(answer.failure?.code == code, "\(name): \(answer)")
          #expect(answer.failure?.outcome == .rejected, "\(name)")
          #expect(answer.failure?.detail.isEmpty == false, "\(name)")
          try await bystander.check("\(name)")
        }
        #expect(try await connection.value("kkk") == nil, "nothing of it was written")
        #expect(try await connection.put("kkk", "fine").isWritten)
      }
    }

    @Test func `kvctl refuses bad input with exit code 2 and says what is wrong`() async throws {
      try await Cluster.run { cluster in
        let long = String(repeating: "k", count: 257)
        let tooLarge = [UInt8](repeating: 1, count: (1 << 20) + 1)
        let cases: [(arguments: [String], input: [UInt8], word: String)] = [
          (["put", "", "v"], [], "empty"), (["get", ""], [], "empty"),
          (["put", long, "v"], [], "257"), (["get", long], [], "257"), (["explain", long], [], "257"),
          (["put", "k", "-"], tooLarge, "1048576 bytes"),
          (["put", "k", "v", "--ttl", "0s"], [], "ttl"),
          (["get", "k", "-r", "4"], [], "4"), (["put", "k", "v", "-w", "4"], [], "4"),
          (["get", "k", "-r", "0"], [], "-r"), (["put", "k", "v", "-w", "99"], [], "-w"),
          (["get", "k", "--consistency", "most"], [], "most"),
          (["put", "k", "v", "--context", "nonsense"], [], "context"),
        ]
        for (arguments, input, word) in cases {
          let ended = try await cluster.kvctl(arguments, input: input)
          #expect(ended.status == 2, "\(arguments.prefix(2)): \(ended)")
          #expect(ended.errors.contains(word), "\(arguments.prefix(2)): no \(word) in \(ended)")
          #expect(ended.output.isEmpty)
        }
        let past = try await cluster.kvctl("put", "k", "v", "--ttl", "-5s")
        #expect(past.status == 2, "\(past)")
        #expect(try await cluster.kvctl("get", "k").status == 5, "nothing of it was written")
      }
    }

    @Test func `an import with broken lines names them, writes the others, and exits with 1`() async throws {
      try await Cluster.run { cluster in
        let lines = [
          #"{"key":"a","value":"1"}"#, "no json", #"{"key":"b","value":"2"}"#, #"{"value":"no key"}"#,
          #"{"key":"","value":"empty"}"#, #"{"key":"c","value":{"base64":"!!"}}"#,
          #"{"key":"d","value":"4","ttl_ms":0}"#,
          #"{"key":"e","value":"5"}"#, #"{"key":"f","#,
        ]
        let path = cluster.root + "/broken.jsonl"
        try Files.write(Array(lines.joined(separator: "\n").utf8), to: path)
        let ended = try await cluster.kvctl("import", path)
        #expect(ended.status == 1, "\(ended)")
        for line in [2, 4, 5, 6, 7, 9] { #expect(ended.errors.contains("line \(line):"), "line \(line) in \(ended)") }
        for line in [1, 3, 8] { #expect(!ended.errors.contains("line \(line):"), "line \(line) in \(ended)") }
        #expect(ended.text.contains("3 keys written"), "\(ended)")
        #expect(ended.text.contains("6 broken lines"), "\(ended)")
        for (key, value) in [("a", "1"), ("b", "2"), ("e", "5")] {
          #expect(try await cluster.kvctl("get", key).text == value)
        }
      }
    }

    // MARK: Bytes that are no frames

    private static let noise = (0..<100_000).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }

    /// A good frame with the byte at `offset` of its header changed, and its checksum as it was.
    private static func ping(changing offset: Int? = nil, to value: UInt8 = 0) -> [UInt8] {
      var frame = RawConnection.frame(FrameHeader(type: .ping, requestID: 1))
      if let offset { frame[offset] = value }
      return frame
    }

    private static func header(claiming bytes: UInt32) -> [UInt8] {
      var header = RawConnection.frame(FrameHeader(type: .put, requestID: 1))
      header.patch(bytes, at: 0)
      return header
    }

    private static func hello(_ change: (inout Hello) -> Void) -> [UInt8] {
      var hello = Hello(client: "test")
      change(&hello)
      return RawConnection.frame(hello)
    }

    private static func peerHello(_ change: (inout Hello) -> Void = { _ in }) -> [UInt8] {
      var hello = Hello(
        role: .peer, cluster: ClusterID(77), node: NodeID(78), expected: NodeID(79),
        generation: Generation(number: 1, nonce: 2, predecessor: 0), shard: 0, shards: 1, clockMs: 1, agent: "test")
      change(&hello)
      return RawConnection.frame(hello)
    }

    /// Sends the bytes; the connection must be closed by the node. What it said before.
    private static func refusal(_ bytes: [UInt8], port: UInt16, greeted: Bool, within limit: Duration = .seconds(3))
      async throws -> (words: [UInt8], reason: Refusal.Reason?)
    {
      let connection = try RawConnection.open(port)
      if greeted { try await connection.greet() }
      // The node may close before all is sent.
      try? connection.send(bytes)
      guard let answer = try await connection.readToEnd(within: limit) else { throw HarnessError("not closed") }
      return (answer, reason(answer))
    }

    private static func reason(_ bytes: [UInt8]) -> Refusal.Reason? {
      bytes.withUnsafeBytes { bytes in
        guard case .frame(let header, let body, _) = FrameScan.next(in: bytes, bodyBytesMax: 4_096) else { return nil }
        return header.type == .refused ? (try? Refusal(body))?.reason : nil
      }
    }

    private static let greetings: [(name: String, bytes: [UInt8], reason: Refusal.Reason?)] = [
      ("noise", noise, nil),
      ("a request before HELLO", ping(), .notHello),
      ("an oversized HELLO", header(claiming: 16_385), .frameTooLarge),
      ("a frame of 4 GiB", header(claiming: .max), .frameTooLarge),
      ("a frame of revision 9", ping(changing: 5, to: 9), .unknownRevision),
      ("a HELLO for revisions 2 to 3", hello { ($0.lowestRevision, $0.highestRevision) = (2, 3) }, .unknownRevision),
      ("a HELLO for another cluster", hello { $0.cluster = ClusterID(4_711) }, .otherCluster),
      ("a peer's HELLO", peerHello(), .notHello),
      (
        "a HELLO of noise", RawConnection.frame(FrameHeader(type: .hello, requestID: 0), Array(noise[..<200])),
        .notHello
      ),
      ("TLS", [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03] + noise[..<506], nil),
    ]

    private static let frames: [(name: String, bytes: [UInt8], reason: Refusal.Reason)] = [
      ("noise", noise, .malformedFrame),
      ("a wrong checksum", ping(changing: 33, to: 0xee), .malformedFrame),
      ("an unknown type", ping(changing: 4, to: 0xee), .malformedFrame),
      ("flags that mean nothing yet", ping(changing: 6, to: 1), .malformedFrame),
      ("another revision", ping(changing: 5, to: 2), .unknownRevision),
      ("a body above the limit", header(claiming: UInt32(Limits.requestBytesMax) + 1), .frameTooLarge),
      ("a frame of 4 GiB", header(claiming: .max), .frameTooLarge),
    ]

    @Test func `what is no frame closes its connection with a word why, and harms nobody`() async throws {
      try await Self.withBystander { cluster, bystander in
        for (name, bytes, reason) in Self.greetings {
          let refusal = try await Self.refusal(bytes, port: cluster[1].clientPort, greeted: false)
          if let reason { #expect(refusal.reason == reason, "\(name)") }
          try await bystander.check("\(name)")
        }
        for (name, bytes, reason) in Self.frames {
          let refusal = try await Self.refusal(bytes, port: cluster[1].clientPort, greeted: true)
          #expect(refusal.reason == reason, "\(name), greeted")
          try await bystander.check("\(name), greeted")
        }
      }
    }

    @Test func `an HTTP client is told where HTTP is`() async throws {
      try await Self.withBystander { cluster, bystander in
        for line in ["GET / HTTP/1.1", "POST /v1/kv HTTP/1.1", "HEAD / HTTP/1.0"] {
          let request = Array("\(line)\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n".utf8)
          let answer = try await Self.refusal(request, port: cluster[1].clientPort, greeted: false).words
          let text = String(decoding: answer, as: UTF8.self)
          #expect(text.hasPrefix("HTTP/1.1 400 "), "\(line): \(text)")
          #expect(text.contains("admin port"), "\(line): \(text)")
          try await bystander.check("\(line)")
        }
      }
    }

    @Test func `garbage on the peer port closes its connection, and the links of the peers stay`() async throws {
      try await Self.withBystander { cluster, bystander in
        // Two nodes that dial each other at once keep one of the two links: wait until that is settled.
        let own = try await cluster[1].describe(within: .seconds(5)) { $0.peers.allSatisfy { $0.sinceMs > 300 } }
        let begin = ContinuousClock.now
        let (id, formed) = (own.member.id, own.cluster)
        let cases: [(name: String, bytes: [UInt8], reason: Refusal.Reason?)] = [
          ("noise", Self.noise, nil),
          ("a frame of 4 GiB", Self.header(claiming: .max), nil),
          ("a client's HELLO", Self.hello { _ in }, .notHello),
          ("HTTP", Array("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".utf8), nil),
          ("a HELLO for another node", Self.peerHello(), .otherNode),
          ("a HELLO of another cluster", Self.peerHello { $0.expected = id }, .otherCluster),
          (
            "a HELLO of no member",
            Self.peerHello {
              $0.expected = id
              $0.cluster = formed
            }, .notMember
          ),
          (
            "a HELLO of the node itself",
            Self.peerHello {
              $0.expected = id
              $0.cluster = formed
              $0.node = id
            }, .duplicateNode
          ),
          ("a HELLO of no shards", Self.peerHello { $0.shards = 0 }, .notHello),
          ("a request without HELLO", RawConnection.frame(FrameHeader(type: .replicaRead, requestID: 1)), .notHello),
        ]
        for (name, bytes, reason) in cases {
          let refusal = try await Self.refusal(bytes, port: cluster[1].peerPort, greeted: false)
          if let reason { #expect(refusal.reason == reason, "\(name)") }
          try await bystander.check("\(name)")
        }
        let elapsedMs = begin.duration(to: .now).milliseconds
        let links = try await cluster[1].describe(within: .seconds(5)) { _ in true }.peers
        #expect(links.allSatisfy { $0.health == .up && $0.sinceMs > elapsedMs }, "\(links) after \(elapsedMs) ms")
      }
    }

    @Test func `clients that end in the middle of a frame leave nothing behind`() async throws {
      try await Self.withBystander { cluster, bystander in
        let frame = RawConnection.frame(FrameHeader(type: .put, requestID: 5), Self.putBody(valueBytes: 100_000))
        for count in [1, 39, 40, 41, 5_000, frame.count - 1] {
          for isGreeted in [false, true] {
            let connection = try RawConnection.open(cluster[1].clientPort)
            if isGreeted { try await connection.greet() }
            try? connection.send(Array(frame[..<count]))
            connection.endOutput()
            _ = try await connection.readToEnd(within: .seconds(7))
          }
          try await bystander.check("\(count) bytes and the end")
        }
        #expect(try await cluster[1].connect().value("kkk") == nil)
      }
    }

    /// A header claims 1 MiB, and nothing follows. 150 of them may not cost 150 MiB.
    @Test func `memory is not taken for what a header merely claims`() async throws {
      try await Self.withBystander { cluster, bystander in
        var connections: [RawConnection] = []
        for _ in 0..<150 {
          let connection = try await cluster[1].connect()
          try connection.send(Self.header(claiming: UInt32(Limits.requestBytesMax)))
          connections.append(connection)
        }
        try await bystander.check("150 headers without bodies")
        let before = try cluster[1].residentBytes
        #expect(before < 400 << 20, "VmRSS is \(before >> 20) MiB")
        withExtendedLifetime(connections) {}
      }
    }

    @Test func `connections that do not greet are closed in time, beyond a bound at once, and harm nobody`()
      async throws
    {
      try await Self.withBystander { cluster, bystander in
        var silent: [RawConnection] = []
        for _ in 0..<300 { silent.append(try RawConnection.open(cluster[1].clientPort)) }
        // One more on the peer port, and one that greets a byte at a time.
        let peer = try RawConnection.open(cluster[1].peerPort)
        let first = silent.removeFirst()
        async let slow = Self.greetSlowly(first)
        try await bystander.check("300 connections without HELLO")
        // At once: long before the 5 s that a HELLO may take.
        var early: Set<Int> = []
        let inTime = ContinuousClock.now.advanced(by: .seconds(2))
        while early.count < 300 - 256, ContinuousClock.now < inTime {
          for (index, connection) in silent.enumerated() where !early.contains(index) {
            if try await connection.readToEnd(within: .milliseconds(1)) != nil { early.insert(index) }
          }
        }
        #expect(early.count >= 300 - 256, "\(early.count) closed at once")
        try await bystander.check("300 connections without HELLO, a little later")
        #expect(try await slow, "a slow HELLO is closed too")
        for connection in silent {
          #expect(try await connection.readToEnd(within: .seconds(8)) != nil, "closed without a HELLO")
        }
        #expect(try await peer.readToEnd(within: .seconds(5)) != nil, "closed on the peer port")
        // A connection that was told why may take a second to read it; then its place is free.
        let newcomer = try await eventually(within: .seconds(3), "there is room again") {
          try? await cluster[1].connect()
        }
        #expect(try await newcomer.value("bystander") == "well")
      }
    }

    /// Whether the node closed the connection while a HELLO of it dripped in.
    private static func greetSlowly(_ connection: RawConnection) async throws -> Bool {
      let hello = RawConnection.frame(Hello(client: "slow"))
      for byte in hello.prefix(hello.count - 1) {
        do { try connection.send([byte]) } catch { return true }
        if try await connection.readToEnd(within: .milliseconds(200)) != nil { return true }
      }
      return false
    }
  }
}
