internal import KVModel

/// The latency that 95 of 100 recent reads did not exceed: after it a read is hedged (Dean and Barroso, "The tail at
/// scale", 2013).
///
/// Buckets grow by a quarter of a doubling from 16 µs on, so the answer is at most 19 % too long. Every `window` reads
/// all counts are halved: what is older than a few windows weighs nothing.
struct LatencyWindow: Hashable, Sendable {
  private var counts = [UInt32](repeating: 0, count: LatencyWindow.buckets)
  private var total: UInt32 = 0
  private var sinceHalved: UInt32 = 0
  /// nil before enough reads were seen.
  private(set) var p95: Span64?

  static let buckets = 96
  static let window: UInt32 = 1_024
  /// Fewer reads than this say nothing about the slowest of twenty.
  static let samplesMin: UInt32 = 100
  /// How often `p95` is computed anew, in reads.
  private static let refresh: UInt32 = 64

  mutating func record(_ latency: Span64) {
    counts[LatencyWindow.bucket(of: latency)] += 1
    total += 1
    sinceHalved += 1
    if sinceHalved == LatencyWindow.window { halve() }
    if total >= LatencyWindow.samplesMin, p95 == nil || sinceHalved % LatencyWindow.refresh == 0 { p95 = quantile() }
  }

  static func bucket(of latency: Span64) -> Int {
    let units = latency.nanoseconds / 4_000
    guard units >= 4 else { return 0 }
    let exponent = 63 - units.leadingZeroBitCount
    let quarter = Int(units >> UInt64(exponent - 2) & 3)
    return min((exponent - 2) * 4 + quarter + 1, buckets - 1)
  }

  /// The longest latency of a bucket.
  static func upperBound(of bucket: Int) -> Span64 {
    guard bucket > 0 else { return .microseconds(16) }
    let exponent = UInt64((bucket - 1) / 4 + 2)
    let quarter = UInt64((bucket - 1) % 4)
    return Span64(nanoseconds: 4_000 &* (1 << exponent &+ (quarter &+ 1) << (exponent &- 2)))
  }

  private func quantile() -> Span64 {
    let rank = (UInt64(total) * 95 + 99) / 100
    var seen: UInt64 = 0
    for (bucket, count) in counts.enumerated() {
      seen += UInt64(count)
      if seen >= rank { return LatencyWindow.upperBound(of: bucket) }
    }
    return LatencyWindow.upperBound(of: LatencyWindow.buckets - 1)
  }

  private mutating func halve() {
    sinceHalved = 0
    total = 0
    for bucket in counts.indices {
      counts[bucket] /= 2
      total += counts[bucket]
    }
  }
}
