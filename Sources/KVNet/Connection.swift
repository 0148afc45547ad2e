import CLinux
import Glibc

/// One TCP connection on one loop: reads once per event, gathers output, and sends it once per turn.
///
/// ```
///   connecting ──▶ open ──closeAfterFlush──▶ flushing ──all sent──▶ lingering ──peer is done──▶ closed
///        └──────────┴───────── close, error, or the loop's stop ─────────┴─────────────────────────▲
/// ```
///
/// Memory: input none while idle, else the rest of one frame (`InputBuffer`); output as written, bounded by
/// `outputBytesMax`, of which `outputKeptBytes` stay. The loop keeps an open connection alive, the connection its
/// handler until `onClosed`.
///
/// Confined to its loop; `@unchecked Sendable` only so that a closure can carry it there. SIGPIPE never arises, since
/// every send says MSG_NOSIGNAL.
public final class Connection: @unchecked Sendable {
  enum State: Equatable {
    case connecting
    case open
    /// Output is still to be sent, input is thrown away.
    case flushing(CloseReason)
    /// FIN is sent; waits for the peer's, so that what we sent last is not lost to a reset.
    case lingering(CloseReason)
    case closed(CloseReason)
  }

  public let loop: EventLoop
  public let peerAddress: SocketAddress
  public let options: ConnectionOptions
  /// Where what this connection holds is added to; nil: nowhere.
  let account: ByteAccount?
  public var handler: (any ConnectionHandler)?
  /// Size of the incomplete frame at the head of the input, bytes, as far as the handler knows it; 0 when it does not.
  /// The handler is not called again before so much is there, and the buffer is reserved once. The handler must have
  /// accepted the size: this much memory is taken. Falls back to 0 before each `onBytes`.
  public var neededBytes = 0

  /// Bytes from the socket, and to it, since the start.
  public internal(set) var bytesRead: UInt64 = 0
  public internal(set) var bytesWritten: UInt64 = 0
  /// `EventLoop.now` of the turn in which bytes last came (at first: of the start).
  public internal(set) var lastReadAt: UInt64
  /// The output was above the high-water mark and has not fallen to the low one since: write no more than you must.
  public internal(set) var isAboveHighWater = false
  public internal(set) var isReadingPaused = false
  /// The handler left whole frames for the next turn; the socket is not read meanwhile.
  var isYielding = false
  /// What of `input` is in the account.
  var accountedInputBytes = 0

  var state: State
  private(set) var descriptor: Int32
  private var key: UInt64 = 0
  private var interest: UInt32 = 0

  var input = InputBuffer()
  var isDelivering = false
  var isResumePending = false
  var peerHasFinished = false

  @usableFromInline var output: [UInt8] = []
  /// Bytes at the front of `output` that are sent already.
  var sentBytes = 0
  var isDirty = false
  /// The socket was full: the other side does not read as fast as we write. EPOLLOUT is armed and will flush.
  public internal(set) var isStalled = false

  private init(
    _ descriptor: Int32, _ loop: EventLoop, _ peer: SocketAddress, _ options: ConnectionOptions,
    _ handler: any ConnectionHandler, _ account: ByteAccount?, _ state: State
  ) {
    self.account = account
    self.descriptor = descriptor
    self.loop = loop
    self.peerAddress = peer
    self.options = options
    self.handler = handler
    self.state = state
    lastReadAt = loop.now
  }

  deinit {
    if descriptor >= 0 { Posix.close(descriptor) }
  }

  // MARK: making

  /// Takes over a connected, non-blocking descriptor, such as a `Listener` hands out. The descriptor belongs to this
  /// call even when it throws.
  public static func adopt(
    _ descriptor: Int32, peer: SocketAddress, on loop: EventLoop, options: ConnectionOptions = ConnectionOptions(),
    account: ByteAccount? = nil, handler: any ConnectionHandler
  ) throws(SystemError) -> Connection {
    loop.assertInLoop()
    let connection = Connection(descriptor, loop, peer, options, handler, account, .open)
    connection.shapeSocket()
    try connection.register(Events.readable)
    return connection
  }

  /// Begins to connect. `onConnected` or `onClosed(.connectFailed)` follows, never before this returns; how long to
  /// wait is the caller's timer, which then calls `close`. What is written meanwhile is sent when the connection
  /// stands.
  public static func connect(
    to address: SocketAddress, on loop: EventLoop, options: ConnectionOptions = ConnectionOptions(),
    account: ByteAccount? = nil, handler: any ConnectionHandler
  ) -> Connection {
    loop.assertInLoop()
    let connection = Connection(-1, loop, address, options, handler, account, .connecting)
    do throws(SystemError) {
      connection.descriptor = try Posix.makeSocket(address)
      connection.shapeSocket()
      _ = try Posix.connect(connection.descriptor, to: address)
      try connection.register(Events.writable)
    } catch {
      connection.close(.connectFailed(error.errno))
    }
    return connection
  }

  /// Best effort: an option that this kind of socket does not know (AF_UNIX in tests) stays as it is.
  private func shapeSocket() {
    try? Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    if options.userTimeoutMilliseconds > 0 {
      try? Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, options.userTimeoutMilliseconds)
    }
    if options.keepAlive { keepAlive() }
  }

  private func keepAlive() {
    try? Posix.set(descriptor, level: SOL_SOCKET, SO_KEEPALIVE, 1)
    let seconds = options.keepAliveIdleSeconds
    guard seconds > 0 else { return }
    try? Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_KEEPIDLE, seconds)
    // Three unanswered probes within half as long again.
    try? Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6))
    try? Posix.set(descriptor, level: Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
  }

  private func register(_ events: UInt32) throws(SystemError) {
    key = try loop.watch(descriptor, events: events, self)
    isRegistered = true
    interest = events
  }

  private var isRegistered = false

  // MARK: state

  public var isUrgent: Bool { options.isUrgent }
  /// Bytes may be read and written.
  public var isOpen: Bool { state == .open }
  public var isClosed: Bool {
    if case .closed = state { return true }
    return false
  }

  /// Watches for what the state asks for.
  func updateInterest() {
    guard isRegistered else { return }
    var wanted: UInt32 = 0
    switch state {
    case .connecting: wanted = Events.writable
    case .open:
      if isWatchingInput { wanted |= Events.readable }
      if isStalled { wanted |= Events.writable }
    case .flushing, .lingering:
      if !peerHasFinished { wanted |= Events.readable }
      if isStalled { wanted |= Events.writable }
    case .closed: return
    }
    if wanted == interest { return }
    interest = wanted
    loop.modify(descriptor, events: wanted, key: key)
  }

  /// Closes at once; what was not sent is lost. `onClosed` follows later in this turn, never from inside this call.
  /// Idempotent: the first reason stays.
  public func close(_ reason: CloseReason = .local) {
    loop.assertInLoop()
    if isClosed { return }
    state = .closed(reason)
    if isRegistered { loop.unwatch(descriptor, key: key) }
    isRegistered = false
    if descriptor >= 0 { Posix.close(descriptor) }
    descriptor = -1
    releaseBuffers()
    loop.markClosed(self)
  }

  /// Gives the descriptor up, open, so that another loop can adopt it; the handler hears nothing more. Call it outside
  /// of `onBytes`, when no input is kept and no output waits; nil when there is some, or the connection is closed.
  public func detach() -> Int32? {
    loop.assertInLoop()
    guard state == .open, !isDelivering, input.count == 0, outputBytes == 0 else { return nil }
    loop.unwatch(descriptor, key: key)
    isRegistered = false
    defer { descriptor = -1 }
    state = .closed(.local)
    handler = nil
    return descriptor
  }

  /// Ends the connection so that what is written now still reaches the peer: sends it, sends FIN, then throws input
  /// away until the peer is done too. The caller's timer bounds that with `close`.
  public func closeAfterFlush(_ reason: CloseReason = .local) {
    loop.assertInLoop()
    switch state {
    case .connecting: close(reason)
    case .open:
      state = .flushing(reason)
      if !isDelivering { releaseInput() }
      updateInterest()
      if outputBytes == 0 { finishSending(reason) }
    case .flushing, .lingering, .closed: break
    }
  }

  /// All output is sent while flushing.
  func finishSending(_ reason: CloseReason) {
    if peerHasFinished { return close(reason) }
    Posix.finishSending(descriptor)
    state = .lingering(reason)
  }

  private func releaseBuffers() {
    // A handler that closes inside onBytes still holds a pointer into the input; `deliver` releases it afterwards.
    if !isDelivering { releaseInput() }
    account?.outputBytes -= outputBytes
    output = []
    sentBytes = 0
  }

  /// The loop tells the owner, and lets go.
  func tellClosed() {
    guard case .closed(let reason) = state, let handler else { return }
    self.handler = nil
    handler.onClosed(self, reason: reason)
  }
}

extension Connection: Pollable {
  func onEvents(_ events: UInt32) {
    if state == .connecting { return onConnectResult() }
    let isBroken = events & Events.broken != 0
    if events & Events.readable != 0 || isBroken {
      if isWatchingInput { onReadable() } else if isBroken { onBroken() }
    }
    if events & Events.writable != 0 && isStalled { onRoom() }
  }

  func onLoopStopped() { close(.loopStopped) }

  private var isWatchingInput: Bool {
    switch state {
    case .open: !isReadingPaused && !isYielding && !peerHasFinished
    case .flushing, .lingering: !peerHasFinished
    case .connecting, .closed: false
    }
  }

  /// The connection is gone and nobody reads it. Level-triggered, so looking away would make the loop spin.
  private func onBroken() {
    if isClosed { return }
    let error = Posix.pendingError(descriptor)
    close(error == 0 ? .peerClosed : .failed(error))
  }

  private func onConnectResult() {
    let error = Posix.pendingError(descriptor)
    guard error == 0 else { return close(.connectFailed(error)) }
    state = .open
    lastReadAt = loop.now
    updateInterest()
    if outputBytes > 0 { markDirty() }
    handler?.onConnected(self)
  }
}
