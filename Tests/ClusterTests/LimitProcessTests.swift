import Glibc
import KVModel
import Testing

/// What some clients do, others do not notice: each test measures bystanders without and with the bad company, in turns.
///
/// The bounds are loose, since the machine may be busy; `RINGKV_MEASURE=1` prints the figures that README.md has.
extension ProcessTests {
  @Suite struct LimitProcessTests {
    private static let bystanders = 16
    private static let memoryMax = 600 << 20

    /// A cluster whose nodes have these limits, by the file.
    private static func run(_ limits: [String], _ body: (Cluster) async throws -> Void) async throws {
      let path = "\(Guardian.shared.root)/limits-\(UInt32.random(in: 0 ... .max)).yaml"
      let lines = limits.isEmpty ? [] : ["limits:"] + limits.map { "  \($0)" }
      try Files.write(Array((lines.joined(separator: "\n") + "\n").utf8), to: path)
      try await Cluster.run(Cluster.Options(flags: ["--config", path]), body)
    }

    /// Measures bystanders, lets the trouble begin, measures again, ends it, three times over. Fails below a half.
    ///
    /// `begin` answers how to end it.
    private static func expectUnharmed(
      _ what: String, on cluster: Cluster, rounds: Int = 3, begin: () async throws -> @Sendable () async throws -> Void
    ) async throws {
      let others = try await ClosedLoop(on: cluster[1], clients: bystanders)
      let isMeasuring = Programs.environment["RINGKV_MEASURE"] != nil
      let window: Duration = isMeasuring ? .seconds(2) : .milliseconds(700)
      let rounds = isMeasuring ? rounds * 3 : rounds
      var (quiet, troubled) = (0.0, 0.0)
      _ = try await others.rate(over: .milliseconds(500))
      for _ in 0..<rounds {
        quiet += try await others.rate(over: window)
        let end = try await begin()
        try await Task.sleep(for: .milliseconds(200))
        troubled += try await others.rate(over: window)
        try await end()
      }
      try await others.stop()
      let ratio = troubled / quiet
      if isMeasuring {
        print(
          "MEASURED \(what): \(Int(quiet) / rounds)/s without, \(Int(troubled) / rounds)/s with: \(Int(ratio * 100)) %")
      }
      #expect(
        ratio > 0.5, "\(what): \(Int(quiet) / rounds) answers a second without, \(Int(troubled) / rounds) with it")
    }

    @Test func `2,000 idle connections cost the others nothing, and little memory`() async throws {
      try await Self.run([]) { cluster in
        let before = try cluster[1].residentBytes
        try await Self.expectUnharmed("2,000 idle connections", on: cluster, rounds: 2) {
          var idle: [RawConnection] = []
          for _ in 0..<2_000 { idle.append(try await cluster[1].connect()) }
          let held = idle
          try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 >= 2_000 }
          let grown = try cluster[1].residentBytes - before
          #expect(grown < 2_000 * (32 << 10) + (64 << 20), "grown by \(grown >> 20) MiB")
          return { withExtendedLifetime(held) {} }
        }
      }
    }

    @Test func `readers that read nothing are not read from, and what they hold is bounded`() async throws {
      try await Self.run(["bytes_in_flight_per_connection: 4MiB", "bytes_in_flight_total: 64MiB"]) { cluster in
        let value = String(repeating: "v", count: 256 << 10)
        #expect(try await cluster[1].connect().put("large", value).isWritten)
        let requests = try (1...400).reduce(into: [UInt8]()) { $0 += try ClosedLoop.get("large", id: UInt64($1)) }
        try await Self.expectUnharmed("readers that read nothing", on: cluster, rounds: 2) {
          var readers: [RawConnection] = []
          // A debug build takes seconds to fill the sockets of 64.
          for _ in 0..<(Programs.environment["RINGKV_MEASURE"] == nil ? 16 : 64) {
            let reader = try await cluster[1].connect()
            try reader.send(requests)
            readers.append(reader)
          }
          let held = readers
          try await Self.awaitFullSockets(of: cluster[1])
          return {
            let unsent = try await cluster[1].scrape()[#"kvnode_network_unsent_bytes{kind="client"}"#] ?? 0
            #expect(unsent < 80e6, "\(unsent) bytes wait for their readers")
            withExtendedLifetime(held) {}
          }
        }
        let resident = try cluster[1].residentBytes
        #expect(resident < Self.memoryMax, "VmRSS is \(resident >> 20) MiB")
        // Whoever is cut off or slowed down, one who reads gets all that it asks for.
        #expect(try await cluster[1].connect().value("large") == value)
      }
    }

    /// Until the node sends no more than the bystanders ask for: whoever does not read has its socket full.
    private static func awaitFullSockets(of node: NodeProcess) async throws {
      let series = #"kvnode_network_sent_bytes_total{kind="client"}"#
      _ = try await eventually(within: .seconds(20), "the readers' sockets are full") {
        let before = try await node.scrape()[series] ?? 0
        try await Task.sleep(for: .milliseconds(200))
        return try await node.scrape()[series].flatMap { $0 - before < 2e6 ? true : nil }
      }
    }

    @Test func `writers of a byte a second are cut off in time, and counted`() async throws {
      try await Self.run(["frame_timeout: 2s"]) { cluster in
        let frame = try ClosedLoop.put("slow", bytes: 1 << 20)
        let refused = #"kvnode_connections_refused_total{reason="frame_timeout"}"#
        try await Self.expectUnharmed("200 writers of a byte a second", on: cluster, rounds: 1) {
          let before = try #require(try await cluster[1].scrape()[refused])
          var writers: [RawConnection] = []
          for _ in 0..<200 {
            let writer = try await cluster[1].connect()
            try writer.send(Array(frame[..<100]))
            writers.append(writer)
          }
          let held = writers
          return {
            for byte in frame[100..<105] {
              for writer in held { try? writer.send([byte]) }
              try await Task.sleep(for: .seconds(1))
            }
            try await cluster[1].metric(refused) { $0 == before + 200 }
            for writer in held.prefix(3) { #expect(try await writer.readToEnd(within: .seconds(5)) != nil) }
          }
        }
        try await cluster[1].metric(#"kvnode_network_unfinished_bytes{kind="client"}"#) { $0 == 0 }
        // A frame that is slow, but not that slow, arrives.
        let patient = try await cluster[1].connect()
        let small = RawConnection.frame(FrameHeader(type: .ping, requestID: 9))
        for byte in small.prefix(8) {
          try patient.send([byte])
          try await Task.sleep(for: .milliseconds(50))
        }
        try patient.send(Array(small.dropFirst(8)))
        guard case .frame(let header, _) = try await patient.readFrame() else { throw HarnessError("no PONG") }
        #expect(header.type == .pong)
      }
    }

    private static func flood(_ node: NodeProcess) async throws -> RawConnection {
      #expect(try await node.connect().put("flood", "value").isWritten)
      let flood = try (1...65_536).reduce(into: [UInt8]()) { $0 += try ClosedLoop.get("flood", id: UInt64($1)) }
      let connection = try await node.connect()
      onDetachedThread { while (try? connection.send(flood)) != nil {} }
      onDetachedThread { connection.drain() }
      return connection
    }

    @Test func `a flood from one client leaves the others their share`() async throws {
      try await Self.run([]) { cluster in
        try await Self.expectUnharmed("a flood from one client", on: cluster) {
          let connection = try await Self.flood(cluster[1])
          return { connection.hangUp() }
        }
      }
    }

    /// Counted in frames, which no other work on this machine changes: of what the loop handles while both ask, the
    /// bystanders have nine tenths and more. What the flood has while they ask nothing costs them nothing.
    @Test func `while a client floods, nine frames of ten are the others'`() async throws {
      try await Self.run([]) { cluster in
        let others = try await ClosedLoop(on: cluster[1], clients: Self.bystanders)
        let connection = try await Self.flood(cluster[1])
        try await cluster[1].metric(FloodCount.shared) { $0 > 0 }
        let before = try await FloodCount(cluster[1], others)
        let end = others.answers + 20_000
        _ = try await eventually(within: .seconds(120), "the bystanders are served") {
          others.answers >= end ? true : nil
        }
        let after = try await FloodCount(cluster[1], others)
        connection.hangUp()
        try await others.stop()
        let answered = Double(after.answersBefore - before.answersAfter)
        #expect(after.shared - before.shared <= answered / 9, "\(before) \(after)")
        // And the flood's frames came by no other way, but for moments in which it did not flood.
        let all = after.requests - before.requests - answered
        let told = after.shared + after.free - before.shared - before.free
        #expect(all - told <= answered / 4, "\(before) \(after)")
      }
    }

    /// What a node says of a flood, and what bystanders had of it just before and after it said so.
    private struct FloodCount {
      static let shared = #"kvnode_flood_frames_total{turn="shared"}"#
      let answersBefore: Int
      let shared: Double
      let free: Double
      let requests: Double
      let answersAfter: Int

      init(_ node: NodeProcess, _ others: ClosedLoop) async throws {
        answersBefore = others.answers
        let scrape = try await node.scrape()
        shared = try #require(scrape[FloodCount.shared])
        free = try #require(scrape[#"kvnode_flood_frames_total{turn="free"}"#])
        requests = ["get", "put"].reduce(0) {
          $0 + (scrape["kvnode_requests_total{kind=\"\($1)\",outcome=\"ok\"}"] ?? 0)
        }
        answersAfter = others.answers
      }
    }
  }
}

extension RawConnection {
  /// Reads and throws away, until the end.
  fileprivate func drain() {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while recv(descriptor, &chunk, chunk.count, 0) > 0 {}
  }

  /// Ends it for the threads that use it, too.
  fileprivate func hangUp() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
