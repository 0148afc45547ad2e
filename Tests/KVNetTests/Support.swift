import CLinux
import Dispatch
import Glibc
import Testing

@testable import KVNet

/// What the tests of this module share: a loop that stops itself, a gate to wait at, a plain blocking peer, and a small
/// framed echo. Nothing sleeps; whoever waits too long fails.

/// A semaphore that gives up after two minutes, long after anything here should have happened, however busy the machine.
final class Gate: Sendable {
  private let semaphore = DispatchSemaphore(value: 0)

  func open() { semaphore.signal() }

  func wait(_ what: Comment = "gate", sourceLocation: SourceLocation = #_sourceLocation) throws {
    try #require(semaphore.wait(timeout: .now() + 120) == .success, what, sourceLocation: sourceLocation)
  }
}

/// A value that a loop fills in and a test reads while the loop waits: synchronised by gates and `onLoop`.
final class Box<Value>: @unchecked Sendable {
  var value: Value
  init(_ value: Value) { self.value = value }
}

extension EventLoop {
  /// Runs `body` on the loop and waits for it.
  func sync<Result>(_ body: @escaping () throws -> Result) throws -> Result {
    let gate = Gate()
    let work = Box(body)
    let result = Box<Swift.Result<Result, any Error>?>(nil)
    execute {
      result.value = Swift.Result { try work.value() }
      gate.open()
    }
    try gate.wait("the loop answers")
    return try #require(result.value).get()
  }

  func stopAndWait() {
    let gate = Gate()
    stop { gate.open() }
    try? gate.wait("the loop stops")
  }
}

/// Runs `body` with a fresh loop that is stopped afterwards.
func withLoop<Result>(_ label: String = "test", _ body: (EventLoop) throws -> Result) throws -> Result {
  let loop = try EventLoop(label: label)
  defer { loop.stopAndWait() }
  return try body(loop)
}

/// SplitMix64: seeded, so that a failure repeats.
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// A blocking socket: the other side, byte by byte.
final class RawPeer {
  let descriptor: Int32

  init(port: UInt16, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    if let receiveBuffer { try Posix.set(descriptor, level: SOL_SOCKET, SO_RCVBUF, receiveBuffer) }
    var limit = timeval(tv_sec: 120, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    try #require(try Posix.connect(descriptor, to: .loopback(port: port)))
    try Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_NODELAY, 1)
  }

  deinit { Posix.close(descriptor) }

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let result = bytes.withUnsafeBytes { Posix.send(descriptor, $0.baseAddress! + sent, bytes.count - sent) }
      guard case .bytes(let count) = result else { throw SystemError(call: "send", errno: errno) }
      sent += count
    }
  }

  /// Exactly `count` bytes, or fewer when the peer ends first.
  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var got = 0
    while got < count {
      let result = bytes.withUnsafeMutableBytes { Posix.receive(descriptor, into: $0.baseAddress! + got, count - got) }
      guard case .bytes(let more) = result else { throw SystemError(call: "recv", errno: errno) }
      if more == 0 { break }
      got += more
    }
    return Array(bytes[..<got])
  }

  func finishSending() { Posix.finishSending(descriptor) }
}

/// `[length, 4 bytes][body]`
func frame(_ body: [UInt8]) -> [UInt8] {
  withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) } + body
}

/// Takes whole frames apart; what a real protocol does in its own way.
final class Framed: ConnectionHandler {
  var onFrame: (UnsafeRawBufferPointer, Connection) -> Void
  var calls = 0
  var closeReason: CloseReason?
  var writableCalls = 0
  var connectedCalls = 0
  let closedGate = Gate()
  let writableGate = Gate()

  init(_ onFrame: @escaping (UnsafeRawBufferPointer, Connection) -> Void) { self.onFrame = onFrame }

  /// Sends each frame back as it came.
  static func echo() -> Framed {
    Framed { bytes, connection in connection.write(bytes) }
  }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    calls += 1
    var consumed = 0
    while bytes.count - consumed >= 4, connection.isOpen, !connection.isReadingPaused {
      let length = 4 + Int(bytes.loadUnaligned(fromByteOffset: consumed, as: UInt32.self))
      if bytes.count - consumed < length {
        connection.neededBytes = length
        break
      }
      onFrame(UnsafeRawBufferPointer(rebasing: bytes[consumed..<consumed + length]), connection)
      consumed += length
    }
    return consumed
  }

  func onConnected(_ connection: Connection) { connectedCalls += 1 }

  func onWritable(_ connection: Connection) {
    writableCalls += 1
    writableGate.open()
  }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    closeReason = reason
    closedGate.open()
  }
}

/// A listener on `loop` whose connections `make` gives a handler. The loop keeps it until it stops.
final class Server: @unchecked Sendable {
  private(set) var port: UInt16 = 0
  /// By arrival; loop only.
  var connections: [Connection] = []
  let arrived = Gate()
  private(set) var listener: Listener?

  init(
    on loop: EventLoop, options: ConnectionOptions = ConnectionOptions(), _ make: @escaping () -> any ConnectionHandler
  ) throws {
    let listener = try loop.sync {
      try Listener.bind(to: .loopback(port: 0), on: loop) { descriptor, peer in
        guard
          let connection = try? Connection.adopt(descriptor, peer: peer, on: loop, options: options, handler: make())
        else { return }
        self.connections.append(connection)
        self.arrived.open()
      }
    }
    self.listener = listener
    port = listener.boundPort
  }
}

/// Open descriptors of this process.
func openDescriptors() -> Int {
  guard let directory = opendir("/proc/self/fd") else { return -1 }
  defer { closedir(directory) }
  var count = 0
  while readdir(directory) != nil { count += 1 }
  return count
}
