import Foundation

/// The clock of event loops, read at any time: `EventLoop.now` stands still during a turn, in which many replies may come.
enum BenchClock {
  /// `CLOCK_MONOTONIC`, nanoseconds.
  static func now() -> UInt64 { read(CLOCK_MONOTONIC) }

  /// CPU time that this process has used, on all of its threads, nanoseconds.
  static func processCPU() -> UInt64 { read(CLOCK_PROCESS_CPUTIME_ID) }

  private static func read(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
