import Glibc

/// A system call that failed: which one, and the kernel's reason.
///
/// The environment's failure, not our bug: whoever catches it decides whether to retry, to close, or to stop.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The call's name as in its manual page.
  public let call: String
  /// The kernel's reason, one of `E…`.
  public let errno: Int32

  public init(call: String, errno: Int32) {
    self.call = call
    self.errno = errno
  }

  /// The reason in words, such as "Connection refused".
  public var reason: String { SystemError.text(of: errno) }

  public var description: String { "\(call): \(reason) (errno \(errno))" }

  /// `strerror` of any error number; safe on every thread.
  public static func text(of number: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let base = buffer.baseAddress else { return "error" }
      base.initialize(repeating: 0, count: 256)
      _ = strerror_r(number, base, 255)
      return String(cString: base)
    }
  }

  /// The process or the machine is out of descriptors or socket memory: waiting may help, trying at once cannot.
  public var isExhaustion: Bool {
    errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM
  }
}
