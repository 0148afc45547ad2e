import Histogram

/// Latencies of one kind of operation: an HDR histogram of nanoseconds, three digits exact, from a microsecond to ten
/// minutes. Recording allocates nothing.
struct LatencyRecorder: Sendable {
  /// What is longer counts as this much.
  static let highestNs: UInt64 = 600_000_000_000
  /// What is shorter counts as this much.
  private static let lowestNs: UInt64 = 1_000

  private var histogram = Histogram<UInt64>(
    lowestDiscernibleValue: LatencyRecorder.lowestNs, highestTrackableValue: LatencyRecorder.highestNs,
    numberOfSignificantValueDigits: .three)

  var count: UInt64 { histogram.totalCount }

  mutating func record(_ nanoseconds: UInt64) { histogram.record(min(nanoseconds, LatencyRecorder.highestNs)) }

  mutating func reset() { histogram.reset() }

  mutating func add(_ other: LatencyRecorder) { if other.count > 0 { histogram.add(other.histogram) } }

  /// Microseconds below which so many percent of the latencies lie; 0 when there are none.
  func percentileUs(_ percent: Double) -> Double {
    count == 0 ? 0 : Double(histogram.valueAtPercentile(percent)) / 1_000
  }

  var maxUs: Double { count == 0 ? 0 : Double(histogram.max) / 1_000 }
  var meanUs: Double { count == 0 ? 0 : histogram.mean / 1_000 }
}
