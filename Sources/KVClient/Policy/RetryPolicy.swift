internal import KVModel

/// When a failed call is tried again: exponential backoff with full jitter, a most of attempts, one total deadline.
///
/// ```
///   wait before retry n = uniform in 0 … min(most, base · 2ⁿ⁻¹), after what the node asked for with `retryAfter`
/// ```
///
/// Full jitter spreads a crowd that failed together over the whole wait; with half of it fixed they would come back in
/// a lump (Brooker, "Exponential backoff and jitter", 2015).
///
/// Pure: time and randomness are arguments, integers only.
struct RetryPolicy: Hashable, Sendable {
  var attemptsMax: Int
  var base: Span64
  var most: Span64

  /// Nodes know a request id for a minute (`RequestMemory.spanMs` of the core) after the write. A retry that may come
  /// later than that could be applied twice, so none begins after this span.
  static let requestMemory = Span64.seconds(45)

  /// What to do after a failure.
  enum Decision: Hashable {
    case retry(after: Span64)
    /// The failure is final, or another attempt would not fit into the deadline.
    case end
  }

  /// - Parameters:
  ///   - attempts: How many were made; at least 1.
  ///   - age: Time since the first of them was begun.
  ///   - left: Time until the last moment at which another one makes sense.
  ///   - random: 64 uniform bits.
  func decision(
    _ retryability: Retryability, attempts: Int, age: Span64, left: Span64, retryAfter: Span64 = .zero,
    random: UInt64
  ) -> Decision {
    guard retryability != .never, attempts < attemptsMax else { return .end }
    let wait = Span64(nanoseconds: wait(before: attempts, random: random).nanoseconds &+ retryAfter.nanoseconds)
    // A wait that does not fit is not begun: ending early tells the caller sooner.
    guard wait < left, Span64(nanoseconds: age.nanoseconds &+ wait.nanoseconds) < RetryPolicy.requestMemory else {
      return .end
    }
    return .retry(after: wait)
  }

  /// The wait before retry `number`, from 1.
  func wait(before number: Int, random: UInt64) -> Span64 {
    let doublings = UInt64(min(max(number, 1) - 1, 32))
    let (product, overflow) = base.nanoseconds.multipliedReportingOverflow(by: 1 << doublings)
    let ceiling = overflow ? most.nanoseconds : min(product, most.nanoseconds)
    return Span64(nanoseconds: random.multipliedFullWidth(by: ceiling &+ 1).high)
  }
}
