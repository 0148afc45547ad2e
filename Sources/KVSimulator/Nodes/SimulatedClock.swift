import KVModel

/// The clocks of one node against the simulation's time. The monotonic one starts anywhere and drifts; the wall clock is
/// off, drifts with it, and steps.
struct SimulatedClock {
  /// Wall time when the simulation begins.
  static let wallStartMs: UInt64 = 1_700_000_000_000

  /// Reading of the monotonic clock at simulated time zero, nanoseconds.
  var base: UInt64
  /// How much faster than time this clock runs, millionths; negative when slower.
  var driftMillionths: Int64
  /// How far the wall clock is ahead of time, milliseconds.
  var wallOffsetMs: Int64

  func now(at time: UInt64) -> Now {
    let elapsed = Int64(time)
    let drifted = elapsed + elapsed / 1_000_000 * driftMillionths
    let wall = Int64(SimulatedClock.wallStartMs) + drifted / 1_000_000 + wallOffsetMs
    return Now(
      instant: Instant(nanoseconds: base &+ UInt64(drifted)), wall: WallTime(milliseconds: UInt64(max(1, wall))))
  }

  /// The simulated time at which the monotonic clock shows at least `instant`.
  func time(of instant: Instant) -> UInt64 {
    if instant == .distantFuture || instant.nanoseconds < base { return instant == .distantFuture ? .max : 0 }
    let shown = Int64(instant.nanoseconds - base)
    // Drift is at most some hundred millionths, so that one correction is exact to a few nanoseconds.
    let estimate = shown - shown / 1_000_000 * driftMillionths
    return UInt64(max(0, estimate)) + 1_000
  }
}
