import KVModel

/// Counts of latencies in buckets that grow by an eighth: 1 µs to 67 s with an error of at most 12.5 %.
///
/// Integers only, a fixed 208 buckets, nothing allocated when recording.
public struct LatencyHistogram: Equatable, Sendable {
  public private(set) var counts: [UInt64]
  public private(set) var total: UInt64 = 0
  public private(set) var sumMicroseconds: UInt64 = 0

  static let buckets = 208

  public init() { counts = Array(repeating: 0, count: LatencyHistogram.buckets) }

  public mutating func record(_ span: Span64) {
    let microseconds = span.nanoseconds / 1_000
    counts[LatencyHistogram.bucket(of: microseconds)] &+= 1
    total &+= 1
    sumMicroseconds &+= microseconds
  }

  /// Bucket of a latency: exact below 16 µs, then eight to a doubling.
  static func bucket(of microseconds: UInt64) -> Int {
    if microseconds < 16 { return Int(microseconds) }
    let exponent = 63 - microseconds.leadingZeroBitCount
    let eighth = Int(microseconds >> UInt64(exponent - 3) & 7)
    return min(16 + (exponent - 4) * 8 + eighth, buckets - 1)
  }

  /// The longest latency that falls into a bucket, microseconds.
  public static func upperBound(of bucket: Int) -> UInt64 {
    if bucket < 16 { return UInt64(bucket) }
    let exponent = UInt64((bucket - 16) / 8 + 4)
    let eighth = UInt64((bucket - 16) % 8)
    return 1 << exponent + (eighth + 1) << (exponent - 3) - 1
  }

  /// The latency that `perMille` of those recorded do not exceed; nil when nothing was recorded.
  public func quantile(perMille: UInt64) -> Span64? {
    guard total > 0 else { return nil }
    let rank = max(1, (total * perMille + 999) / 1_000)
    var seen: UInt64 = 0
    for (bucket, count) in counts.enumerated() where count > 0 {
      seen += count
      if seen >= rank { return .microseconds(LatencyHistogram.upperBound(of: bucket)) }
    }
    return .microseconds(LatencyHistogram.upperBound(of: LatencyHistogram.buckets - 1))
  }

  /// Halves every count, so that what is old weighs less.
  public mutating func decay() {
    total = 0
    for index in counts.indices {
      counts[index] /= 2
      total += counts[index]
    }
    sumMicroseconds /= 2
  }

  public mutating func add(_ other: LatencyHistogram) {
    for index in counts.indices { counts[index] &+= other.counts[index] }
    total &+= other.total
    sumMicroseconds &+= other.sumMicroseconds
  }
}
