import CLinux

/// Rings on its loop at one time, finer than the loop's timers, whose tick is a millisecond: a timerfd of its own in the
/// loop's epoll set, which wakes the loop without another thread. Loop only.
///
/// Each ring costs a turn and each setting a system call; for what comes often and may be a little late there is
/// `EventLoop.schedule`.
public final class Alarm: @unchecked Sendable {
  private let loop: EventLoop
  private let onRing: () -> Void
  private var descriptor: Int32
  private var key: UInt64?
  /// When it will ring; `UInt64.max` when it will not.
  public private(set) var time = UInt64.max

  /// `onRing` runs on the loop and may set the alarm anew.
  public init(on loop: EventLoop, _ onRing: @escaping () -> Void) throws(SystemError) {
    loop.assertInLoop()
    self.loop = loop
    self.onRing = onRing
    descriptor = try Posix.makeTimer()
    key = try loop.watch(descriptor, events: Events.readable | Events.edge, self)
  }

  deinit {
    if descriptor >= 0 { Posix.close(descriptor) }
  }

  /// Rings once at `nanoseconds` on the clock of `EventLoop.now`, never before, at once when that is past; not at the
  /// time that was set before.
  public func set(at nanoseconds: UInt64) {
    loop.assertInLoop()
    guard key != nil, nanoseconds != time else { return }
    time = nanoseconds
    // Zero would disarm it.
    do { try Posix.arm(timer: descriptor, at: max(1, nanoseconds)) } catch {
      fatalError("timerfd \(descriptor): \(error)")
    }
  }

  /// Never rings again; its loop forgets it. Idempotent.
  public func close() {
    loop.assertInLoop()
    guard let key else { return }
    loop.unwatch(descriptor, key: key)
    onLoopStopped()
  }
}

extension Alarm: Pollable {
  func onEvents(_ events: UInt32) {
    // An event of a setting that was replaced in this very turn.
    guard loop.now >= time else { return }
    time = .max
    onRing()
  }

  func onLoopStopped() {
    key = nil
    Posix.close(descriptor)
    descriptor = -1
  }
}
