/// Counts of values in buckets that double: element i counts those of at most `unit << i`, the last one all others.
///
/// Integers only, a fixed number of buckets, nothing allocated when recording. Confined to whoever owns it.
public struct PowerHistogram: Equatable, Sendable {
  /// log2 of the first bucket's bound.
  public let unitBits: Int
  public private(set) var counts: [UInt64]
  public private(set) var total: UInt64 = 0
  public private(set) var sum: UInt64 = 0

  /// - Parameters:
  ///   - unitBits: log2 of the first bound.
  ///   - buckets: how many, the open one included; at least 2.
  public init(unitBits: Int, buckets: Int) {
    self.unitBits = unitBits
    counts = Array(repeating: 0, count: max(2, buckets))
  }

  public mutating func record(_ value: UInt64) {
    // Of the smallest i for which value <= unit << i.
    let bucket = UInt64.bitWidth - ((max(value, 1) - 1) >> UInt64(unitBits)).leadingZeroBitCount
    counts[min(bucket, counts.count - 1)] &+= 1
    total &+= 1
    sum &+= value
  }

  /// Bounds of all buckets but the open one.
  public var bounds: [UInt64] { (0..<(counts.count - 1)).map { UInt64(1) << UInt64(unitBits + $0) } }

  /// Adds what another one of the same shape counted.
  public mutating func add(_ other: PowerHistogram) {
    for (index, count) in other.counts.enumerated() where index < counts.count { counts[index] &+= count }
    total &+= other.total
    sum &+= other.sum
  }
}
