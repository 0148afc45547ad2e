import KVModel
import KVNet

/// One connection of a driver: made, greeted, made again when it breaks. Confined to the driver's loop.
///
/// ```
/// closed ──connect──► connecting ──ready──► ready ──leaving──► leaving
///    ▲                    │                   │                   │
///    └──── lost, late ────┴────── lost ───────┴─── lost, empty ───┘
/// ```
final class BenchLane {
  enum State {
    case closed(retryAt: UInt64)
    case connecting(Connection, since: UInt64)
    case ready(Connection)
    case leaving(Connection)
  }

  let index: Int
  /// The place of its node among those of the run.
  let node: Int
  private let addresses: [SocketAddress]
  private unowned let driver: Driver

  private(set) var state = State.closed(retryAt: 0)
  private var wire: any BenchWire
  private var backoff = Backoff(baseMilliseconds: 50, maxMilliseconds: 2_000)
  private var attempts = 0
  /// Requests that were sent and have not been answered.
  var inFlight = 0
  /// Why it last closed, for people.
  private(set) var lastFault: BenchFault?

  init(_ index: Int, node: Int, _ addresses: [SocketAddress], _ driver: Driver) {
    self.index = index
    self.node = node
    self.addresses = addresses
    self.driver = driver
    wire = driver.makeWire()
  }

  var isReady: Bool { if case .ready = state { true } else { false } }
  /// It has been made, or has failed at least once.
  var isSettled: Bool { isReady || lastFault != nil }

  private var connection: Connection? {
    switch state {
    case .closed: nil
    case .connecting(let connection, _), .ready(let connection), .leaving(let connection): connection
    }
  }

  /// Looks after itself: called every now and then.
  func onTick(_ now: UInt64, connectLimit: UInt64) {
    switch state {
    case .closed(let retryAt): if retryAt <= now { connect(now) }
    case .connecting(_, let since):
      if now > since + connectLimit { fail(BenchFault("unreachable", "no answer within the connect timeout"), now) }
    case .leaving: if inFlight == 0 { fail(BenchFault("shutting_down", "the node left"), now) }
    case .ready: break
    }
  }

  private func connect(_ now: UInt64) {
    wire = driver.makeWire()
    let address = addresses[attempts % addresses.count]
    attempts += 1
    var options = ConnectionOptions()
    // What is in flight is bounded by the number of users; a server that stops reading is met by the timeout.
    options.outputBytesMax = .max
    state = .connecting(Connection.connect(to: address, on: driver.loop, options: options, handler: self), since: now)
  }

  // MARK: Requests

  func read(_ request: BenchRequest) {
    connection?.write { wire.read(request, into: &$0) }
  }

  func write(_ request: BenchRequest, _ value: BenchValue, replacing context: ContextToken?) {
    connection?.write { wire.write(request, value, context, into: &$0) }
  }

  /// Gives the connection up; everything that it carried fails.
  func fail(_ fault: BenchFault, _ now: UInt64) {
    let connection = connection
    state = .closed(retryAt: now + driver.reconnectWait(&backoff))
    lastFault = fault
    connection?.close()
    driver.onLost(self, fault, now)
  }

  /// The run is over.
  func close() {
    let connection = connection
    state = .closed(retryAt: .max)
    connection?.close()
  }
}

extension BenchLane: ConnectionHandler {
  func onConnected(_ connection: Connection) {
    guard self.connection === connection else { return connection.close() }
    connection.write { wire.greet(at: BenchClock.now(), into: &$0) }
  }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    let now = BenchClock.now()
    var offset = 0
    while self.connection === connection, offset < bytes.count {
      switch wire.next(in: UnsafeRawBufferPointer(rebasing: bytes[offset...]), at: now) {
      case .reply(let reply, let count):
        offset += count
        driver.onReply(reply, self, now)
      case .incomplete(let neededBytes):
        connection.neededBytes = neededBytes
        driver.pump(now)
        return offset
      case .ready(let count):
        offset += count
        state = .ready(connection)
        backoff.reset()
        driver.onReady(self)
      case .aside(let answer, let count):
        offset += count
        if !answer.isEmpty { connection.write { $0 += answer } }
      case .leaving(let count):
        offset += count
        state = .leaving(connection)
        driver.onLeaving(self)
      case .broken(let fault): fail(fault, now)
      }
    }
    driver.pump(now)
    return bytes.count
  }

  func onClosed(_ connection: Connection, reason: CloseReason) {
    guard self.connection === connection else { return }
    let fault =
      switch (state, reason) {
      case (_, .connectFailed(let errno)):
        BenchFault("unreachable", "cannot connect to \(connection.peerAddress): \(SystemError.text(of: errno))")
      case (.connecting, _): BenchFault("unreachable", "\(connection.peerAddress) closed before it greeted")
      case (_, .failed(let errno)):
        BenchFault("connection_lost", "\(connection.peerAddress): \(SystemError.text(of: errno))")
      default: BenchFault("connection_lost", "\(connection.peerAddress) closed the connection")
      }
    fail(fault, BenchClock.now())
  }
}
