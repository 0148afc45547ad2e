import CLinux
import Glibc

/// Accepts connections on one loop and hands them out; which loop serves them is the caller's choice (SO_REUSEPORT
/// would deal them out unevenly).
///
/// Out of descriptors (EMFILE, hazard 51), a level-triggered listener would fire for ever. So it keeps a spare one:
///
/// ```
///   EMFILE → close the spare → accept and close up to `acceptsPerEvent` newcomers (they see FIN, not silence)
///          → open a spare again → watch nothing for 100 ms → try again
/// ```
public final class Listener: @unchecked Sendable {
  /// Takes a non-blocking descriptor that is now its own: adopt it, or `Posix.discard` it. Runs on the listener's loop.
  public typealias Acceptor = (_ descriptor: Int32, _ peer: SocketAddress) -> Void
  /// The seam for tests: one accept.
  typealias AcceptCall = (_ listener: Int32) throws(SystemError) -> (descriptor: Int32, peer: SocketAddress)?

  static let acceptsPerEvent = 64
  static let retryNanoseconds: UInt64 = 100_000_000

  public let loop: EventLoop
  /// The address it listens on, with the port that the kernel chose if port 0 was asked for.
  public let boundAddress: SocketAddress
  public var boundPort: UInt16 { boundAddress.port }

  /// Connections handed out. Loop only, as are the other counters.
  public private(set) var accepted: UInt64 = 0
  /// Connections closed at once for want of a descriptor.
  public private(set) var refused: UInt64 = 0
  /// Times that accepting was suspended.
  public private(set) var suspensions: UInt64 = 0
  public private(set) var isSuspended = false

  private var descriptor: Int32
  private var spare: Int32
  private var key: UInt64?
  private var timers: TimerClient?
  private var acceptor: Acceptor?
  private let acceptCall: AcceptCall

  /// Listens from now on. Loop only.
  public static func bind(
    to address: SocketAddress, on loop: EventLoop, backlog: Int32 = 1_024, onAccept: @escaping Acceptor
  ) throws(SystemError) -> Listener {
    try bind(to: address, on: loop, backlog: backlog, accept: Posix.accept, onAccept: onAccept)
  }

  static func bind(
    to address: SocketAddress, on loop: EventLoop, backlog: Int32, accept: @escaping AcceptCall,
    onAccept: @escaping Acceptor
  ) throws(SystemError) -> Listener {
    loop.assertInLoop()
    let listener = try Listener(address, loop, backlog, accept, onAccept)
    listener.key = try loop.watch(listener.descriptor, events: Events.readable, listener)
    listener.timers = loop.makeTimerClient(listener)
    return listener
  }

  private init(
    _ address: SocketAddress, _ loop: EventLoop, _ backlog: Int32, _ acceptCall: @escaping AcceptCall,
    _ acceptor: @escaping Acceptor
  ) throws(SystemError) {
    let descriptor = try Posix.listen(on: address, backlog: backlog)
    do throws(SystemError) {
      boundAddress = try Posix.localAddress(descriptor)
      spare = try Posix.openNull()
    } catch {
      Posix.close(descriptor)
      throw error
    }
    self.descriptor = descriptor
    self.loop = loop
    self.acceptCall = acceptCall
    self.acceptor = acceptor
  }

  deinit {
    if descriptor >= 0 { Posix.close(descriptor) }
    if spare >= 0 { Posix.close(spare) }
  }

  /// Stops listening; connections that were handed out live on. Idempotent.
  public func close() {
    loop.assertInLoop()
    guard descriptor >= 0 else { return }
    if let key { loop.unwatch(descriptor, key: key) }
    if let timers { loop.removeTimerClient(timers) }
    key = nil
    timers = nil
    acceptor = nil
    Posix.close(descriptor)
    descriptor = -1
    if spare >= 0 { Posix.close(spare) }
    spare = -1
  }

  /// Hands out what waits, but no more than `acceptsPerEvent`, so that served connections get their turn.
  private func acceptSome() {
    for _ in 0..<Listener.acceptsPerEvent {
      // The acceptor may close the listener.
      guard descriptor >= 0, let acceptor else { return }
      do throws(SystemError) {
        guard let (newcomer, peer) = try acceptCall(descriptor) else { return }
        accepted += 1
        acceptor(newcomer, peer)
      } catch {
        if error.isExhaustion { return suspend() }
        // Any other error (ECONNABORTED, EPROTO, EPERM …) belongs to that newcomer alone.
      }
    }
  }

  private func suspend() {
    refuseSome()
    suspensions += 1
    isSuspended = true
    if let key { loop.modify(descriptor, events: 0, key: key) }
    if let timers { loop.schedule(at: loop.now + Listener.retryNanoseconds, suspensions, for: timers) }
  }

  /// Lends the spare descriptor to newcomers, just long enough to close each.
  private func refuseSome() {
    if spare >= 0 { Posix.close(spare) }
    spare = -1
    for _ in 0..<Listener.acceptsPerEvent {
      guard let newcomer = try? acceptCall(descriptor) else { break }
      Posix.close(newcomer.descriptor)
      refused += 1
    }
    // When another thread was quicker, there is no spare until the next time.
    spare = (try? Posix.openNull()) ?? -1
  }
}

extension Listener: Pollable, TimerHandler {
  func onEvents(_ events: UInt32) {
    if !isSuspended { acceptSome() }
  }

  func onLoopStopped() { close() }

  public func onTimer(_ token: UInt64) {
    guard isSuspended, token == suspensions, let key else { return }
    isSuspended = false
    loop.modify(descriptor, events: Events.readable, key: key)
    acceptSome()
  }
}
