import KVModel
import Testing

@testable import kvctl

/// Feeds bytes to a wire as a lane does.
private func feed(_ wire: some BenchWire, _ bytes: [UInt8], at now: UInt64 = 0) -> BenchIncoming {
  bytes.withUnsafeBytes { wire.next(in: $0, at: now) }
}

private func text(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct `RESP` {
  private let request = BenchRequest(id: 9, key: Array("user1".utf8), deadline: 0)

  private func readyWire() -> RESPWire {
    let wire = RESPWire()
    #expect(feed(wire, text("+PONG\r\n")) == .ready(bytes: 7))
    return wire
  }

  @Test func `requests are arrays of bulk strings`() {
    let wire = RESPWire()
    var output: [UInt8] = []
    wire.greet(at: 0, into: &output)
    #expect(output == text("*1\r\n$4\r\nPING\r\n"))
    output = []
    wire.read(request, into: &output)
    #expect(output == text("*2\r\n$3\r\nGET\r\n$5\r\nuser1\r\n"))
    output = []
    let value = BenchValue(bytes: text("0123456789"), checksum: 0)
    wire.write(request, value, nil, into: &output)
    #expect(output == text("*3\r\n$3\r\nSET\r\n$5\r\nuser1\r\n$10\r\n0123456789\r\n"))
    output = []
    wire.write(request, BenchValue(bytes: [], checksum: 0), nil, into: &output)
    #expect(output == text("*3\r\n$3\r\nSET\r\n$5\r\nuser1\r\n$0\r\n\r\n"))
  }

  @Test func `replies come in the order of the requests`() {
    let wire = readyWire()
    var output: [UInt8] = []
    for id in 1...40 as ClosedRange<UInt64> {
      wire.read(BenchRequest(id: id, key: request.key, deadline: 0), into: &output)
    }
    for id in 1...20 as ClosedRange<UInt64> {
      #expect(feed(wire, text("$2\r\nhi\r\n+")) == .reply(BenchReply(id: id, answer: .found(nil)), bytes: 8))
    }
    for id in 41...60 as ClosedRange<UInt64> {
      wire.write(
        BenchRequest(id: id, key: request.key, deadline: 0), BenchValue(bytes: [], checksum: 0), nil, into: &output)
    }
    for id in 21...40 as ClosedRange<UInt64> {
      #expect(feed(wire, text("$-1\r\n")) == .reply(BenchReply(id: id, answer: .absent(nil)), bytes: 5))
    }
    #expect(feed(wire, text("+OK\r\n")) == .reply(BenchReply(id: 41, answer: .written), bytes: 5))
    let error = "READONLY You can't write against a read only replica."
    #expect(
      feed(wire, text("-\(error)\r\n"))
        == .reply(
          BenchReply(id: 42, answer: .failed(BenchFault("readonly", "the server answered: \(error)"))),
          bytes: error.utf8.count + 3))
  }

  @Test func `a reply that is cut short waits for the rest`() {
    let whole = text("$5\r\n\r\n\r\n!\r\n")
    #expect(whole.withUnsafeBytes(RESPReply.scan) == .reply(.value(bytes: 5), bytes: 11))
    for count in 0..<whole.count {
      let scan = Array(whole[..<count]).withUnsafeBytes(RESPReply.scan)
      #expect(scan == .incomplete(neededBytes: count < 4 ? 0 : 11), "\(count)")
    }
  }

  @Test(arguments: [
    ":1\r\n", "*1\r\n$1\r\na\r\n", "HTTP/1.1 400\r\n", "$x\r\n", "$-2\r\n", "$\r\n", "$99999999999\r\n",
    "$1000000000\r\n",
    "$2\r\nabcd", "\r\n", "$+5\r\n",
  ])
  func `what is no reply ends the connection`(bytes: String) {
    let wire = readyWire()
    var output: [UInt8] = []
    wire.read(request, into: &output)
    guard case .broken(let fault) = feed(wire, text(bytes)) else {
      Issue.record("taken: \(bytes)")
      return
    }
    #expect(fault.code == "protocol_mismatch")
  }

  @Test func `a line without an end is given up`() {
    let long = [UInt8](repeating: UInt8(ascii: "+"), count: RESPReply.lineBytesMax + 1)
    #expect(long.withUnsafeBytes(RESPReply.scan) == .malformed("a line without an end"))
    #expect(Array(long.dropLast()).withUnsafeBytes(RESPReply.scan) == .incomplete(neededBytes: 0))
  }

  @Test func `a reply that nobody asked for ends the connection`() {
    let wire = readyWire()
    #expect(
      feed(wire, text("+OK\r\n"))
        == .broken(BenchFault("protocol_mismatch", "a reply came that nobody had asked for")))
  }

  @Test func `who does not answer PING is no redis`() {
    let wire = RESPWire()
    #expect(
      feed(wire, text("-NOAUTH Authentication required.\r\n"))
        == .broken(BenchFault("refused", "PING was refused: NOAUTH Authentication required.")))
    let other = RESPWire()
    guard case .broken = feed(other, text("+OK\r\n")) else {
      Issue.record("+OK was taken for PONG")
      return
    }
  }

  @Test func `a line of requests keeps its order over many turns`() {
    var line = RequestLine()
    var (next, expected) = (UInt64(0), UInt64(0))
    var random = PRNG(seed: 4)
    for _ in 0..<2_000 {
      if random.chance(11, of: 20) {
        line.append(next)
        next += 1
      } else if let first = line.popFirst() {
        #expect(first == expected)
        expected += 1
      } else {
        #expect(next == expected)
      }
      #expect(line.count == Int(next - expected))
    }
  }
}

@Suite struct `RingKV's protocol in the bench` {
  private let cluster = ClusterID(0xfeed)
  private let request = BenchRequest(id: 5, key: Array("user1".utf8), deadline: 9_000_000_000)

  private func wire(keepsContexts: Bool = true) -> RingKVWire {
    RingKVWire(
      .init(
        quorum: .quorum, cluster: cluster, layoutVersion: 3, partitionBits: 6, client: 77,
        keepsContexts: keepsContexts))
  }

  private func frame(_ type: FrameType, id: UInt64 = 0, _ body: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
    var bytes: [UInt8] = []
    FrameHeader(type: type, requestID: id).appendFrame(to: &bytes, body: body)
    return bytes
  }

  private func welcome(cluster: ClusterID, clockMs: UInt64) -> [UInt8] {
    let now = Now(instant: Instant(nanoseconds: clockMs * 1_000_000), wall: WallTime(milliseconds: 1))
    let welcome = Welcome(
      cluster: cluster, node: NodeID(1), generation: Generation(number: 1, nonce: 1, predecessor: 0), shards: 1,
      layoutVersion: 3, now: now, agent: "test")
    return frame(.welcome) { welcome.encode(into: &$0) }
  }

  /// Decodes the one frame that was written.
  private func decoded(_ bytes: [UInt8]) throws -> (FrameHeader, ClientRequest) {
    try bytes.withUnsafeBytes { bytes in
      guard case .frame(let header, let body, bytes.count) = FrameScan.next(in: bytes, bodyBytesMax: 1 << 20) else {
        throw BenchFault("test", "not a frame")
      }
      return (header, try ClientRequest(header.type, body))
    }
  }

  @Test func `requests carry key, quorum, partition and a deadline on the node's clock`() throws {
    let wire = wire()
    var output: [UInt8] = []
    wire.greet(at: 2_000_000_000, into: &output)
    let hello = welcome(cluster: cluster, clockMs: 102_000)
    #expect(feed(wire, hello, at: 2_000_000_000) == .ready(bytes: hello.count))
    output = []
    wire.read(request, into: &output)
    let (header, get) = try decoded(output)
    let key = try Key(request.key)
    #expect(get == .get(key, .quorum))
    #expect(header.requestID == 5)
    #expect(header.layoutVersion == 3)
    #expect(header.partition == key.token.partition(bits: 6))
    // The node's clock is 100 s ahead of ours.
    #expect(header.deadlineMs == 109_000)
    output = []
    let value = BenchValue(bytes: [1, 2, 3], checksum: Checksum.of([1, 2, 3]))
    wire.write(request, value, nil, into: &output)
    #expect(
      try decoded(output).1
        == .write(
          WriteRequest(
            key: key, requestID: RequestID(client: 77, sequence: 5),
            payload: .put([1, 2, 3], checksum: value.checksum))))
  }

  @Test func `a write behind a read carries its context`() throws {
    let key = try Key(request.key)
    let token = ContextToken(
      cluster: cluster, key: key, vector: VersionVector(), stamp: .zero, secret: ClusterSecret(low: 1, high: 2))
    let answer = ReadAnswer(
      context: token, siblings: [.init(stamp: .zero, expiry: nil, checksum: 0, value: [1])])
    #expect(RingKVWire.answer(.value(answer)) == .found(token))
    #expect(RingKVWire.answer(.value(ReadAnswer(context: token, siblings: []))) == .absent(token))
    let wire = wire()
    var output: [UInt8] = []
    wire.write(request, BenchValue(bytes: [], checksum: Checksum.of([])), token, into: &output)
    guard case .write(let write) = try decoded(output).1 else {
      Issue.record("not a write")
      return
    }
    #expect(write.context == token)
  }

  @Test func `a read tells found from absent, with and without contexts`() throws {
    let token = ContextToken(
      cluster: cluster, key: try Key(request.key), vector: VersionVector(), stamp: .zero, secret: .none)
    let dead = ReadAnswer.Sibling(stamp: .zero, expiry: nil, checksum: 0, value: nil)
    let alive = ReadAnswer.Sibling(stamp: .zero, expiry: nil, checksum: 0, value: [1, 2])
    for (siblings, isFound) in [([], false), ([dead], false), ([dead, alive], true)] {
      let reply = frame(.value, id: 3) {
        ClientResponse.value(ReadAnswer(context: token, siblings: siblings)).encode(into: &$0)
      }
      for keepsContexts in [false, true] {
        let wire = wire(keepsContexts: keepsContexts)
        _ = feed(wire, welcome(cluster: cluster, clockMs: 0))
        let context = keepsContexts ? token : nil
        let answer: BenchAnswer = isFound ? .found(context) : .absent(context)
        #expect(feed(wire, reply) == .reply(BenchReply(id: 3, answer: answer), bytes: reply.count))
      }
    }
    let wire = wire(keepsContexts: false)
    _ = feed(wire, welcome(cluster: cluster, clockMs: 0))
    guard case .broken = feed(wire, frame(.value) { $0 += [1, 0, 0, 0] }) else {
      Issue.record("a value that ends too early was taken")
      return
    }
  }

  @Test func `failures keep the codes of the client library`() {
    let unavailable = Failure(.unavailable, needed: 2, got: 1, detail: "two owners are away")
    #expect(
      RingKVWire.answer(.failed(unavailable))
        == .failed(BenchFault("unavailable", "two owners are away (1 of 2 owners)")))
    #expect(BenchFault(Failure(.tooManySiblings)).code == "too_many_siblings")
    #expect(BenchFault(Failure(.invalidTTL)).code == "invalid_ttl")
    #expect(BenchFault(Failure(.timedOut)) == BenchFault("timed_out", "timed_out"))
  }

  @Test func `pings are answered, and a node that leaves says so`() {
    let wire = wire()
    let hello = welcome(cluster: cluster, clockMs: 0)
    _ = feed(wire, hello)
    let ping = frame(.ping, id: 8)
    #expect(feed(wire, ping) == .aside(answer: frame(.pong, id: 8), bytes: ping.count))
    let goAway = frame(.goAway)
    #expect(feed(wire, goAway) == .leaving(bytes: goAway.count))
    let done = frame(.written, id: 3) {
      let receipt = Receipt(context: nil, stamp: .zero, acknowledgements: 2, hints: 0, siblings: .absent)
      ClientResponse.written(receipt).encode(into: &$0)
    }
    #expect(feed(wire, done) == .reply(BenchReply(id: 3, answer: .written), bytes: done.count))
    #expect(feed(wire, Array(done.prefix(50))) == .incomplete(neededBytes: done.count))
  }

  @Test func `strangers and damaged bytes end the connection`() {
    let outsider = wire()
    guard case .broken(let fault) = feed(outsider, welcome(cluster: .none, clockMs: 0)) else {
      Issue.record("a stranger was taken")
      return
    }
    #expect(fault.code == "not_member")
    let refused = wire()
    let refusal = frame(.refused) { Refusal(.tooManyConnections, "full").encode(into: &$0) }
    #expect(feed(refused, refusal) == .broken(BenchFault("refused", "a node refused the connection: full")))
    let damaged = wire()
    var bytes = welcome(cluster: cluster, clockMs: 0)
    bytes[60] ^= 1
    guard case .broken(let mismatch) = feed(damaged, bytes) else {
      Issue.record("damaged bytes were taken")
      return
    }
    #expect(mismatch.code == "protocol_mismatch")
  }
}
