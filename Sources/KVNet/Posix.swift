import CLinux
import Glibc

/// Every system call of this module, in one place: `EINTR` is retried here and nowhere else, and results are typed.
///
/// Calls that may fail for reasons worth telling throw `SystemError`. The calls of the data path return values without
/// throwing, because "would block" is not an error there. SIGPIPE never arises: every send carries `MSG_NOSIGNAL`.
public enum Posix {
  /// What one read, or one write, of a non-blocking descriptor came to.
  public enum IOResult: Equatable, Sendable {
    /// Bytes moved; 0 from a read means that the peer has finished sending.
    case bytes(Int)
    /// Nothing to read, or no room to write: wait for the next event.
    case wouldBlock
    /// `errno`: the connection is of no further use.
    case failed(Int32)
  }

  /// Runs `body` until it is not interrupted by a signal. Not for `close`: Linux has freed the descriptor by then.
  @inline(__always)
  static func retrying<Result: FixedWidthInteger>(_ body: () -> Result) -> Result {
    while true {
      let result = body()
      if result == -1 && Glibc.errno == EINTR { continue }
      return result
    }
  }

  /// Runs a call that answers -1 on failure.
  @discardableResult
  static func check(_ call: String, _ body: () -> Int32) throws(SystemError) -> Int32 {
    let result = retrying(body)
    guard result >= 0 else { throw SystemError(call: call, errno: Glibc.errno) }
    return result
  }

  /// Closes a descriptor; never retried, and an error leaves nothing to do.
  static func close(_ descriptor: Int32) {
    _ = Glibc.close(descriptor)
  }

  /// Closes a descriptor that was handed over, such as one that a `Listener` accepted and nobody wants.
  public static func discard(descriptor: Int32) {
    close(descriptor)
  }

  /// A descriptor on /dev/null, kept as a spare against EMFILE.
  static func openNull() throws(SystemError) -> Int32 {
    try check("open") { Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }
  }

  /// A `clock_gettime` reading in nanoseconds.
  static func nanoseconds(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  // MARK: data path

  /// One `recv`.
  @inline(__always)
  static func receive(_ descriptor: Int32, into base: UnsafeMutableRawPointer, _ count: Int) -> IOResult {
    result(of: retrying { Glibc.recv(descriptor, base, count, 0) })
  }

  /// One `send`, without SIGPIPE.
  @inline(__always)
  static func send(_ descriptor: Int32, _ base: UnsafeRawPointer, _ count: Int) -> IOResult {
    result(of: retrying { Glibc.send(descriptor, base, count, Int32(MSG_NOSIGNAL)) })
  }

  @inline(__always)
  private static func result(of count: Int) -> IOResult {
    if count >= 0 { return .bytes(count) }
    let reason = Glibc.errno
    return reason == EAGAIN || reason == EWOULDBLOCK ? .wouldBlock : .failed(reason)
  }
}
