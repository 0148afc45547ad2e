import Glibc
import KVModel
import Testing

/// Limits on connections and requests: who is over them is refused and counted, and nobody else is.
extension ProcessTests {
  @Suite struct AdmissionProcessTests {
    private static func run(_ limits: [String], _ body: (Cluster) async throws -> Void) async throws {
      let path = "\(Guardian.shared.root)/admission-\(UInt32.random(in: 0 ... .max)).yaml"
      try Files.write(Array((["limits:"] + limits.map { "  \($0)\n" }).joined(separator: "\n").utf8), to: path)
      try await Cluster.run(Cluster.Options(flags: ["--config", path]), body)
    }

    private static func refused(_ reason: String) -> String {
      #"kvnode_connections_refused_total{reason="\#(reason)"}"#
    }

    /// It used to be held until the refused one hung up, up to a second.
    @Test func `who is refused gives its place back at once, though it never hangs up`() async throws {
      try await Self.run(["connections: 40", "connections_before_hello: 40"]) { cluster in
        // The nodes have no clients of their own: all places but one are taken here.
        var held: [RawConnection] = []
        while held.count < 39 { held.append(try await cluster[1].connect()) }
        var refused: [RawConnection] = []
        for _ in 0..<20 {
          let connection = try RawConnection.open(cluster[1].clientPort)
          try connection.send(RawConnection.frame(FrameHeader(type: .ping, requestID: 1)))
          guard case .frame(let header, _) = try await connection.readFrame() else { throw HarnessError("no word") }
          #expect(header.type == .refused)
          refused.append(connection)
        }
        let newcomer = try await cluster[1].connect()
        #expect(try await newcomer.put("key", "value").isWritten)
        let scrape = try await cluster[1].scrape()
        #expect(scrape[#"kvnode_connections{kind="client"}"#] == 40)
        #expect(scrape[Self.refused("connections")] == 0 && scrape[Self.refused("not_hello")] == 20)
        let beyond = try RawConnection.open(cluster[1].clientPort)
        let refusal = try await beyond.readRefusal()
        #expect(refusal.reason == .tooManyConnections && refusal.retryAfterMs > 0, "\(refusal)")
        #expect(refusal.detail.contains("40 connections"))
        #expect(try await beyond.readToEnd(within: .seconds(5)) != nil, "the 41st is closed")
        try await cluster[1].metric(Self.refused("connections")) { $0 == 1 }
        withExtendedLifetime((held, refused)) {}
      }
    }

    @Test func `the peer port has limits of its own, and the links of the peers stay`() async throws {
      try await Self.run(["peer_connections: 24", "connections_before_hello: 16"]) { cluster in
        var strangers: [RawConnection] = []
        for _ in 0..<60 { strangers.append(try RawConnection.open(cluster[1].peerPort)) }
        try await cluster[1].metric(Self.refused("connections_before_hello")) { $0 >= 60 - 16 }
        let links = try await cluster[1].scrape()
        #expect(links["kvnode_peers_up"] == 2)
        #expect(try await cluster[1].connect().put("key", "value", quorum: .all).isWritten)
        #expect(try await strangers[59].readRefusal().reason == .tooManyConnections)
        for stranger in strangers { #expect(try await stranger.readToEnd(within: .seconds(10)) != nil) }
        try await cluster[1].metric(#"kvnode_connections_greeting{kind="peer"}"#) { $0 == 0 }
      }
    }

    @Test func `an address has its limit, and another one is served`() async throws {
      try await Self.run(["connections_per_address: 3"]) { cluster in
        var held: [RawConnection] = []
        while held.count < 3 { held.append(try await cluster[1].connect()) }
        let refusal = try await RawConnection.open(cluster[1].clientPort).readRefusal()
        #expect(refusal.reason == .tooManyConnections && refusal.detail.contains("3 connections of 127.0.0.1"))
        try await cluster[1].metric(Self.refused("connections_per_address")) { $0 == 1 }
        // What people see: cause and node, not a broken connection.
        let told = try await cluster.kvctl("get", "key", "--timeout", "1s", at: [1])
        #expect(told.status != 0 && told.errors.contains("its limit for one address"))
        held.removeLast()
        try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 == 2 }
        #expect(try await cluster[1].connect().put("key", "value").isWritten)
      }
    }

    @Test func `requests beyond the limit are told when to come again, and counted`() async throws {
      try await Self.run(["requests_in_flight_per_connection: 4", "default_deadline: 2s"]) { cluster in
        #expect(try await cluster[1].connect().put("key", "value", quorum: .all).isWritten)
        let connection = try await cluster[1].connect()
        for other in [2, 3] { try await cluster[other].pause() }
        try connection.send(try (1...10).reduce(into: [UInt8]()) { $0 += try ClosedLoop.put("key", id: UInt64($1)) })
        var overloaded = 0
        for _ in 0..<6 {
          guard case .frame(let header, let body) = try await connection.readFrame() else {
            throw HarnessError("closed")
          }
          let failure = try body.withUnsafeBytes { try ClientResponse(header.type, $0) }.failure
          if failure?.code == .overloaded, failure?.outcome == .rejected, (failure?.retryAfterMs ?? 0) > 0 {
            overloaded += 1
          }
        }
        for other in [2, 3] { try cluster[other].resume() }
        #expect(overloaded == 6)
        let scrape = try await cluster[1].scrape()
        #expect(scrape[#"kvnode_requests_overloaded_total{limit="connection_requests"}"#] == 6)
        #expect(scrape[#"kvnode_failures_total{code="overloaded"}"#] == 6)
      }
    }

    /// The client's machine is gone: no FIN, no RST. A socket in repair mode closes without either (root only).
    @Test func `a client that is gone without a word is noticed`() async throws {
      try await Self.run(["idle_probe: 1s"]) { cluster in
        let series = #"kvnode_connections{kind="client"}"#
        let connection = try await cluster[1].connect()
        #expect(try await connection.put("key", "value").isWritten)
        let (ours, theirs) = (connection.localPort, cluster[1].clientPort)
        // The node's end has a keep-alive timer of no more than the probe's second.
        _ = try await eventually(within: .seconds(10), "the node's end waits to ask") { () throws -> Double? in
          guard let timer = try TCPTable.timer(local: theirs, remote: ours) else { return nil }
          return timer.kind == TCPTable.keepAlive && timer.seconds <= 1.5 ? timer.seconds : nil
        }
        let before = try #require(try await cluster[1].scrape()[series])
        guard connection.vanish() else { return }
        try await cluster[1].metric(series, within: .seconds(20)) { $0 < before }
      }
    }
  }
}

extension RawConnection {
  fileprivate func readRefusal() async throws -> Refusal {
    guard case .frame(let header, let body) = try await readFrame(), header.type == .refused else {
      throw HarnessError("no refusal")
    }
    return try body.withUnsafeBytes { try Refusal($0) }
  }

  fileprivate var localPort: UInt16 {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
    }
    return UInt16(bigEndian: address.sin_port)
  }

  /// Closes the connection without telling the other side; false when that is not allowed here.
  fileprivate func vanish() -> Bool {
    var on: Int32 = 1
    let tcpRepair: Int32 = 19
    guard setsockopt(descriptor, Int32(IPPROTO_TCP), tcpRepair, &on, 4) == 0 else { return false }
    // The descriptor stays this object's to close; /dev/null takes the socket's place.
    let null = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { Glibc.close(null) }
    return dup2(null, descriptor) >= 0
  }
}

/// The kernel's own table of connections.
private enum TCPTable {
  static let keepAlive = 2

  /// Kind and time of a connection's timer; nil when there is no such connection.
  static func timer(local: UInt16, remote: UInt16) throws -> (kind: Int, seconds: Double)? {
    for line in try Files.text("/proc/net/tcp").split(separator: "\n").dropFirst() {
      let fields = line.split(separator: " ")
      guard fields.count > 5, port(fields[1]) == local, port(fields[2]) == remote else { continue }
      let timer = fields[5].split(separator: ":")
      guard timer.count == 2, let kind = Int(timer[0], radix: 16), let ticks = Int(timer[1], radix: 16) else {
        continue
      }
      return (kind, Double(ticks) / 100)
    }
    return nil
  }

  private static func port(_ address: Substring) -> UInt16? {
    address.split(separator: ":").last.flatMap { UInt16($0, radix: 16) }
  }
}
