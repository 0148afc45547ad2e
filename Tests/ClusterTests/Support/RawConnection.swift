import Glibc
import KVModel
import Synchronization

/// A connection to one node that sends whatever bytes a test wants. It goes to that node and to no other, unlike
/// `KVClient`, which chooses.
final class RawConnection: Sendable {
  private struct State {
    var input: [UInt8] = []
    var nextRequest: UInt64 = 0
    /// What is added to this machine's monotonic milliseconds to get the node's.
    var clockOffsetMs: Int64 = 0
  }

  let descriptor: Int32
  private let state = Mutex(State())

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { Glibc.close(descriptor) }

  static func open(_ port: UInt16) throws -> RawConnection {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw systemError("socket") }
    let connection = RawConnection(descriptor)
    var address = Loopback.address(port)
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw systemError("connect to \(port)") }
    return connection
  }

  // MARK: Bytes

  func send(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { throw systemError("send") }
      rest = rest.dropFirst(count)
    }
  }

  /// Nothing more will be sent; the other side can still speak.
  func endOutput() { shutdown(descriptor, Int32(SHUT_WR)) }

  enum Arrival { case bytes, end, nothing }

  /// Waits for more bytes, blocking.
  private func receive(until end: ContinuousClock.Instant) throws -> Arrival {
    let left = max(0, ContinuousClock.now.duration(to: end).milliseconds)
    var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&poller, 1, Int32(left)) > 0 else { return .nothing }
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    let count = recv(descriptor, &chunk, chunk.count, 0)
    // A reset is an end too: the node closed while bytes of ours were on their way.
    if count <= 0 { return .end }
    state.withLock { $0.input += chunk[..<count] }
    return .bytes
  }

  /// Everything until the other side closes; nil when it does not within the time.
  func readToEnd(within limit: Duration) async throws -> [UInt8]? {
    try await onThread { [self] in
      let end = ContinuousClock.now.advanced(by: limit)
      while true {
        switch try receive(until: end) {
        case .bytes: continue
        case .end: return state.withLock { $0.input }
        case .nothing: return nil
        }
      }
    }
  }

  // MARK: Frames

  enum Reply: Sendable {
    case frame(FrameHeader, [UInt8])
    case closed
  }

  func readFrame(within limit: Duration = .seconds(10)) async throws -> Reply {
    try await onThread { [self] in
      let end = ContinuousClock.now.advanced(by: limit)
      while true {
        if let frame = try nextFrame() { return frame }
        switch try receive(until: end) {
        case .bytes: continue
        case .end: return .closed
        case .nothing: throw HarnessError("no frame within \(limit)")
        }
      }
    }
  }

  private func nextFrame() throws -> Reply? {
    try state.withLock { state in
      let scanned: (FrameHeader, [UInt8], Int)? = try state.input.withUnsafeBytes { bytes in
        switch FrameScan.next(in: bytes, bodyBytesMax: Limits.recordBytesMax) {
        case .frame(let header, let body, let count): return (header, Array(body), count)
        case .incomplete: return nil
        case .malformed(let error): throw HarnessError("the node sent a malformed frame: \(error)")
        }
      }
      guard let (header, body, count) = scanned else { return nil }
      state.input.removeFirst(count)
      return .frame(header, body)
    }
  }

  static func frame(_ header: FrameHeader, _ body: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    header.appendFrame(to: &bytes) { $0 += body }
    return bytes
  }

  static func frame(_ hello: Hello) -> [UInt8] {
    var body: [UInt8] = []
    hello.encode(into: &body)
    return frame(FrameHeader(type: .hello, requestID: 0), body)
  }

  // MARK: As a client

  /// HELLO and WELCOME.
  @discardableResult
  func greet(_ hello: Hello = Hello(client: "test")) async throws -> Welcome {
    try send(RawConnection.frame(hello))
    guard case .frame(let header, let body) = try await readFrame(), header.type == .welcome else {
      throw HarnessError("no WELCOME")
    }
    let welcome = try body.withUnsafeBytes { try Welcome($0) }
    state.withLock { $0.clockOffsetMs = Int64(welcome.clockMs) - RawConnection.nowMs }
    return welcome
  }

  private static var nowMs: Int64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Int64(now.tv_sec) * 1_000 + Int64(now.tv_nsec) / 1_000_000
  }

  func nextRequestID() -> UInt64 {
    state.withLock { state in
      state.nextRequest += 1
      return state.nextRequest
    }
  }

  func ask(_ request: ClientRequest, deadline: Duration = .seconds(5)) async throws -> ClientResponse {
    var body: [UInt8] = []
    request.encode(into: &body)
    return try await ask(request.frameType, body, deadline: deadline)
  }

  /// A request with any body: the answer, which is its own and within its deadline and a second.
  func ask(_ type: FrameType, _ body: [UInt8], deadline: Duration = .seconds(5)) async throws -> ClientResponse {
    let id = nextRequestID()
    let offset = state.withLock { $0.clockOffsetMs }
    let header = FrameHeader(
      type: type, requestID: id, deadlineMs: UInt64(RawConnection.nowMs + offset + Int64(deadline.milliseconds)))
    try send(RawConnection.frame(header, body))
    while true {
      let reply = try await readFrame(within: deadline + .seconds(3))
      guard case .frame(let answer, let bytes) = reply else { throw HarnessError("closed instead of an answer") }
      guard answer.requestID == id else { continue }
      return try bytes.withUnsafeBytes { try ClientResponse(answer.type, $0) }
    }
  }
}

extension NodeProcess {
  /// A greeted connection to this node.
  func connect() async throws -> RawConnection {
    let connection = try RawConnection.open(clientPort)
    try await connection.greet()
    return connection
  }
}

extension RawConnection {
  func put(
    _ key: String, _ value: String, quorum: Quorum = .quorum, context: ContextToken? = nil,
    deadline: Duration = .seconds(5)
  ) async throws -> ClientResponse {
    let bytes = Array(value.utf8)
    let write = WriteRequest(
      key: try Key(key.utf8), quorum: quorum,
      requestID: RequestID(client: .random(in: 1 ... .max), sequence: nextRequestID()), context: context,
      payload: .put(bytes, checksum: Checksum.of(bytes)))
    return try await ask(.write(write), deadline: deadline)
  }

  func get(_ key: String, _ quorum: Quorum = .quorum, deadline: Duration = .seconds(5)) async throws -> ClientResponse {
    try await ask(.get(try Key(key.utf8), quorum), deadline: deadline)
  }

  /// The value as text; nil when the key is absent. Throws when the answer is none.
  func value(_ key: String, _ quorum: Quorum = .quorum) async throws -> String? {
    guard case .value(let answer) = try await get(key, quorum) else { throw HarnessError("no value") }
    return answer.value.map { String(decoding: $0, as: UTF8.self) }
  }
}

extension ClientResponse {
  var isWritten: Bool { if case .written = self { true } else { false } }

  var failure: Failure? { if case .failed(let failure) = self { failure } else { nil } }
}
