/// When operations should begin: at a fixed rate whatever the cluster does, or as soon as somebody is free.
///
/// ```
///   closed loop   ├─op─┤├──op──┤├op┤           an operation begins when the one before it has ended
///   open loop     ├─op─┤  ├────op────┤ ▼       operation k is meant to begin at k/rate; one that begins late because
///                 ▲     ▲     ▲     ▲          all are busy has waited, and its wait is part of its latency
/// ```
///
/// Latency counted from the intended start knows no coordinated omission (Tene, "How not to measure latency"): a stall of
/// a second costs every operation that should have begun in it, not just the one that met it.
///
/// Pure: time is an argument, nanoseconds of one monotonic clock.
struct Pacer: Equatable, Sendable {
  enum Next: Equatable, Sendable {
    /// An operation begins, and counts from this time, which is never after now.
    case begin(intended: UInt64)
    /// Nothing begins before this time.
    case wait(until: UInt64)
    /// Every operation has begun.
    case done
  }

  /// From here on operations are made.
  let start: UInt64
  /// Operations are meant to begin before this.
  let end: UInt64
  /// Operations a second; nil: closed loop.
  let rate: Double?
  /// Operations that have begun.
  private(set) var begun: UInt64 = 0

  init(start: UInt64, end: UInt64, rate: Double?) {
    self.start = start
    self.end = end
    self.rate = rate
  }

  /// Asked when somebody is free at `now`. `.begin` counts as begun.
  mutating func next(at now: UInt64) -> Next {
    let intended = rate.map { intendedStart(of: begun, $0) } ?? now
    if intended >= end { return .done }
    let due = max(intended, start)
    if due > now { return .wait(until: due) }
    begun += 1
    return .begin(intended: due)
  }

  /// Operations that should have begun by `now` and have not.
  func backlog(at now: UInt64) -> UInt64 {
    guard let rate, now > start else { return 0 }
    let due = UInt64(Double(min(now, end) - start) / 1e9 * rate)
    return due > begun ? due - begun : 0
  }

  private func intendedStart(of operation: UInt64, _ rate: Double) -> UInt64 {
    start &+ UInt64(Double(operation) * 1e9 / rate)
  }
}
