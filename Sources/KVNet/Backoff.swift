/// How long to wait before the next attempt: base, 2·base, 4·base … up to a most, each ±20 % so that a crowd that lost
/// the same peer does not come back in step.
///
/// Pure: randomness is an argument, time never appears. All integers, so that a seed gives the same waits everywhere.
public struct Backoff: Equatable, Sendable {
  public let baseMilliseconds: UInt64
  public let maxMilliseconds: UInt64
  /// Attempts that failed since the last `reset`.
  public private(set) var failures: UInt32 = 0

  /// Invariant: 0 < base <= max.
  public init(baseMilliseconds: UInt64, maxMilliseconds: UInt64) {
    self.baseMilliseconds = max(1, baseMilliseconds)
    self.maxMilliseconds = max(self.baseMilliseconds, maxMilliseconds)
  }

  /// Counts a failure and answers the wait in milliseconds: `min(max, base·2^failures)` times 0.8 … 1.2.
  /// - Parameter random: 64 uniform bits.
  public mutating func nextMilliseconds(random: UInt64) -> UInt64 {
    let wait = currentMilliseconds
    failures = min(failures + 1, 63)
    // 0 ... 2·spread, without bias worth speaking of.
    let spread = wait / 5
    let offset = random.multipliedFullWidth(by: spread &* 2 &+ 1).high
    return max(1, wait - spread + offset)
  }

  /// The attempt succeeded: the next failure waits `base` again.
  public mutating func reset() {
    failures = 0
  }

  /// The wait before jitter.
  private var currentMilliseconds: UInt64 {
    let (product, overflow) = baseMilliseconds.multipliedReportingOverflow(by: 1 << UInt64(failures))
    return overflow ? maxMilliseconds : min(product, maxMilliseconds)
  }
}
