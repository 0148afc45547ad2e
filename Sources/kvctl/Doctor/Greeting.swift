import KVModel
import KVNet

/// What a node's greeting tells beyond its description: how its wall clock stands to ours.
struct Greeting: Equatable, Sendable {
  /// The node's wall clock less this machine's, milliseconds.
  var wallAheadMs: Int64
  /// How far that may be off, since the answer took its time.
  var uncertaintyMs: Int64

  init(wallAheadMs: Int64, uncertaintyMs: Int64) {
    self.wallAheadMs = wallAheadMs
    self.uncertaintyMs = uncertaintyMs
  }

  /// `asked`, `heard`: this machine's wall clock, milliseconds.
  init(_ welcome: Welcome, asked: UInt64, heard: UInt64) {
    let took = Int64(clamping: heard) - Int64(clamping: asked)
    let middle = Int64(clamping: asked) + took / 2
    self.init(
      wallAheadMs: Int64(clamping: welcome.wall.milliseconds) - middle, uncertaintyMs: max(1, took / 2))
  }

  /// Greets every address at once; nil for one that does not greet back in time.
  static func ask(_ addresses: [Address], within limit: Duration) async -> [Greeting?] {
    guard let loop = try? EventLoop(label: "kvctl.greeting") else { return addresses.map { _ in nil } }
    let tasks = addresses.map { address in Task { await ask(address, limit, loop) } }
    var greetings: [Greeting?] = []
    for task in tasks { greetings.append(await task.value) }
    loop.stop()
    return greetings
  }

  private static func ask(_ address: Address, _ limit: Duration, _ loop: EventLoop) async -> Greeting? {
    await withCheckedContinuation { continuation in
      SocketAddress.resolve(host: address.host, port: address.port, on: loop) { result in
        let asking = GreetingCall { continuation.resume(returning: $0) }
        asking.begin((try? result.get())?.first, limit, loop)
      }
    }
  }
}

/// One greeting, from the connect to its answer or its deadline. Confined to its loop.
private final class GreetingCall: ConnectionHandler, TimerHandler {
  private var ended: ((Greeting?) -> Void)?
  private var asked: UInt64 = 0
  private var connection: Connection?

  init(_ ended: @escaping (Greeting?) -> Void) { self.ended = ended }

  func begin(_ address: SocketAddress?, _ limit: Duration, _ loop: EventLoop) {
    guard let address else { return end(nil) }
    // The loop keeps this object through its timer client, and is stopped when all calls have ended.
    let timers = loop.makeTimerClient(self)
    loop.schedule(at: loop.now &+ UInt64(max(0, limit / .nanoseconds(1))), 0, for: timers)
    connection = Connection.connect(to: address, on: loop, handler: self)
  }

  func onTimer(_ token: UInt64) { end(nil) }

  func onConnected(_ connection: Connection) {
    asked = WallClock.nowMs()
    let hello = Hello(client: "kvctl/1")
    connection.write { FrameHeader(type: .hello, requestID: 0).appendFrame(to: &$0) { hello.encode(into: &$0) } }
  }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    switch FrameScan.next(in: bytes, bodyBytesMax: Limits.bodyBytesMaxBeforeHello) {
    case .incomplete: return 0
    case .malformed: end(nil)
    case .frame(let header, let body, _):
      let welcome = header.type == .welcome ? try? Welcome(body) : nil
      end(welcome.map { Greeting($0, asked: asked, heard: WallClock.nowMs()) })
    }
    return bytes.count
  }

  func onClosed(_ connection: Connection, reason: CloseReason) { end(nil) }

  private func end(_ greeting: Greeting?) {
    guard let ended else { return }
    self.ended = nil
    connection?.close()
    ended(greeting)
  }
}
