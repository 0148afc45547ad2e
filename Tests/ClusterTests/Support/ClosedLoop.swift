import Glibc
import KVModel
import Synchronization

/// Well-behaved clients of one node: each asks, waits for the answer and asks again, on a thread of its own. What they
/// get done is what others leave them. They cost next to no CPU: each sends the same frame over and over.
final class ClosedLoop: Sendable {
  private let isStopped = Atomic(false)
  private let answered = Atomic<Int>(0)
  private let failed = Atomic<Int>(0)
  private let running = Atomic<Int>(0)

  /// `clients` of them, every other one a writer, until `stop`.
  init(on node: NodeProcess, clients: Int) async throws {
    for number in 0..<clients {
      let connection = try await node.connect()
      let key = "closed-loop-\(number)"
      guard try await connection.put(key, "value").isWritten else { throw HarnessError("\(key) was not written") }
      let frame = number.isMultiple(of: 2) ? try ClosedLoop.get(key) : try ClosedLoop.put(key)
      running.add(1, ordering: .relaxed)
      onDetachedThread { self.run(connection, frame) }
    }
  }

  /// How many requests were answered so far.
  var answers: Int { answered.load(ordering: .relaxed) }

  /// Answers a second, over so long; throws when there was a failure.
  func rate(over time: Duration) async throws -> Double {
    let (before, begin) = (answered.load(ordering: .relaxed), ContinuousClock.now)
    try await Task.sleep(for: time)
    let elapsed = begin.duration(to: .now)
    guard failed.load(ordering: .relaxed) == 0 else { throw HarnessError("a bystander's request failed") }
    return Double(answered.load(ordering: .relaxed) - before) / (elapsed / .seconds(1))
  }

  func stop() async throws {
    isStopped.store(true, ordering: .relaxed)
    _ = try await eventually(within: .seconds(10), "the bystanders have stopped") {
      running.load(ordering: .relaxed) == 0 ? true : nil
    }
  }

  private func run(_ connection: RawConnection, _ frame: [UInt8]) {
    defer { running.subtract(1, ordering: .relaxed) }
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while !isStopped.load(ordering: .relaxed) {
      guard let type = connection.exchange(frame, &buffer), type == .value || type == .written else {
        failed.add(1, ordering: .relaxed)
        return
      }
      answered.add(1, ordering: .relaxed)
    }
  }

  static func get(_ key: String, id: UInt64 = 1) throws -> [UInt8] {
    try frame(.get(try Key(key.utf8), .quorum), id: id)
  }

  static func put(_ key: String, id: UInt64 = 1, bytes: Int = 100) throws -> [UInt8] {
    let value = [UInt8](repeating: 7, count: bytes)
    return try frame(
      .write(
        WriteRequest(
          key: try Key(key.utf8), quorum: .quorum, requestID: RequestID(client: .random(in: 1 ... .max), sequence: 1),
          context: nil, payload: .put(value, checksum: Checksum.of(value)))), id: id)
  }

  private static func frame(_ request: ClientRequest, id: UInt64) throws -> [UInt8] {
    var body: [UInt8] = []
    request.encode(into: &body)
    return RawConnection.frame(FrameHeader(type: request.frameType, requestID: id), body)
  }
}

extension RawConnection {
  /// Sends a frame and reads the one that answers it, blocking; its type, or nil when the connection ended. Nothing else
  /// may be under way.
  fileprivate func exchange(_ frame: [UInt8], _ buffer: inout [UInt8]) -> FrameType? {
    guard (try? send(frame)) != nil else { return nil }
    var count = 0
    while true {
      let got = buffer.withUnsafeMutableBytes {
        recv(descriptor, $0.baseAddress.map { $0 + count }, $0.count - count, 0)
      }
      guard got > 0 else { return nil }
      count += got
      let found: FrameType?? = buffer.withUnsafeBytes { bytes in
        switch FrameScan.next(in: UnsafeRawBufferPointer(rebasing: bytes[..<count]), bodyBytesMax: 4_000) {
        case .frame(let header, _, _): .some(header.type)
        case .incomplete: .none
        case .malformed: .some(nil)
        }
      }
      if let found { return found }
    }
  }
}

/// A thread for what blocks for long: Dispatch has too few of them.
func onDetachedThread(_ body: @escaping @Sendable () -> Void) {
  final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
  let carried = Unmanaged.passRetained(Body(body))
  var thread = pthread_t()
  let code = pthread_create(
    &thread, nil,
    { context in
      if let context { Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run() }
      return nil
    }, carried.toOpaque())
  guard code == 0 else { fatalError("no thread: \(code)") }
  pthread_detach(thread)
}
