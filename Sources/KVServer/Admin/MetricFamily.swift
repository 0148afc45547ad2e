import KVCore

/// All samples of one name, as Prometheus wants them: together, under one help and one type.
public struct MetricFamily: Equatable, Sendable {
  public enum Kind: String, Sendable {
    case counter
    case gauge
    case histogram
  }

  public struct Label: Equatable, Sendable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  public enum Number: Equatable, Sendable {
    case count(UInt64)
    case real(Double)
    case histogram(Histogram)
  }

  public struct Sample: Equatable, Sendable {
    public var labels: [Label]
    public var number: Number
  }

  /// Cumulative, as the text format has it.
  public struct Histogram: Equatable, Sendable {
    /// Ascending upper bounds in the base unit; the +Inf bucket is `count`.
    public var bounds: [Double]
    /// How many did not exceed the bound of the same index.
    public var cumulative: [UInt64]
    public var count: UInt64
    public var sum: Double

    public init(bounds: [Double], cumulative: [UInt64], count: UInt64, sum: Double) {
      self.bounds = bounds
      self.cumulative = cumulative
      self.count = count
      self.sum = sum
    }
  }

  /// `kvnode_<thing>_<base unit>`, `_total` at the end of a counter's.
  public var name: String
  public var help: String
  public var kind: Kind
  public var samples: [Sample]

  public init(_ kind: Kind, _ name: String, _ help: String, _ samples: [Sample] = []) {
    self.name = name
    self.help = help
    self.kind = kind
    self.samples = samples
  }
}

extension MetricFamily {
  public static func counter(_ name: String, _ help: String, _ value: UInt64) -> MetricFamily {
    MetricFamily(.counter, name, help, [Sample(labels: [], number: .count(value))])
  }

  public static func gauge(_ name: String, _ help: String, _ value: Double) -> MetricFamily {
    MetricFamily(.gauge, name, help, [Sample(labels: [], number: .real(value))])
  }

  public mutating func add(_ labels: [Label], _ value: UInt64) {
    samples.append(Sample(labels: labels, number: .count(value)))
  }

  public mutating func add(_ labels: [Label], _ value: Double) {
    samples.append(Sample(labels: labels, number: .real(value)))
  }

  public mutating func add(_ labels: [Label], _ value: Histogram) {
    samples.append(Sample(labels: labels, number: .histogram(value)))
  }
}

extension MetricFamily.Histogram {
  /// Two bounds to a doubling, from 96 µs to 12.6 s. They are bounds of `LatencyHistogram`'s own buckets, so no count is a
  /// guess: at 100 µs, 200 µs and so on, which lie inside of buckets, each would be wrong by up to an eighth.
  static let latencyBoundsUs: [UInt64] = (5...22).flatMap { [UInt64(3) << $0, UInt64(4) << $0] }

  /// From a shard's microseconds to Prometheus' seconds.
  public init(_ latency: LatencyHistogram) {
    var cumulative: [UInt64] = []
    var seen: UInt64 = 0
    var bucket = 0
    for bound in MetricFamily.Histogram.latencyBoundsUs {
      while bucket < latency.counts.count, LatencyHistogram.upperBound(of: bucket) < bound {
        seen += latency.counts[bucket]
        bucket += 1
      }
      cumulative.append(seen)
    }
    self.init(
      bounds: MetricFamily.Histogram.latencyBoundsUs.map { Double($0) / 1_000_000 }, cumulative: cumulative,
      count: latency.total, sum: Double(latency.sumMicroseconds) / 1_000_000)
  }
}
