import Foundation

/// The machine's wall clock.
enum WallClock {
  /// Milliseconds since 1970.
  static func nowMs() -> UInt64 { UInt64(max(0, Date().timeIntervalSince1970) * 1_000) }
}
