/// A peer's monotonic clock as seen from here, for the deadlines in what it is asked.
///
/// Every reading that arrives is as old as its way was long, so it shows the clock at least as far behind as it is:
/// the best estimate is the reading that shows it least behind. Since two clocks drift apart (by 100 millionths at the
/// worst), an estimate loses a tenth of a millisecond a second until a newer reading confirms it.
///
/// ```
///   peer's clock − own      ───●─────────true────────────●──
///                          ●       ●   ●            ●          readings: late, never early
/// ```
public struct PeerClock: Equatable, Sendable {
  private var offsetMs: Int64 = .min
  private var observedAtMs: UInt64 = 0

  public init() {}

  /// A reading of the peer's clock that just arrived.
  public mutating func observe(_ clockMs: UInt64, at nowMs: UInt64) {
    let reading = Int64(bitPattern: clockMs &- nowMs)
    let aged = offsetMs == .min ? .min : offsetMs &- Int64(clamping: (nowMs &- observedAtMs) / 10_000)
    if reading >= aged {
      offsetMs = reading
      observedAtMs = nowMs
    }
  }

  /// What the peer's clock shows when this node's shows `ms`; at least 1, since 0 means no deadline.
  public func reading(of ms: UInt64) -> UInt64 {
    let (sum, overflow) = Int64(clamping: ms).addingReportingOverflow(offsetMs == .min ? 0 : offsetMs)
    return UInt64(max(1, overflow ? .max : sum))
  }
}
