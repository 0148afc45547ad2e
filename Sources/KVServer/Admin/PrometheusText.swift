/// Writes metric families in Prometheus' text format 0.0.4.
public struct PrometheusText: Sendable {
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  public private(set) var bytes: [UInt8] = []

  public init() {}

  public static func text(of families: [MetricFamily]) -> String {
    var writer = PrometheusText()
    for family in families { writer.write(family) }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// A family without samples is left out.
  public mutating func write(_ family: MetricFamily) {
    if family.samples.isEmpty { return }
    line("# HELP \(family.name) \(PrometheusText.escapedHelp(family.help))")
    line("# TYPE \(family.name) \(family.kind.rawValue)")
    for sample in family.samples { write(sample, family.name) }
  }

  private mutating func write(_ sample: MetricFamily.Sample, _ name: String) {
    switch sample.number {
    case .count(let value): line("\(name)\(labels(sample.labels)) \(value)")
    case .real(let value): line("\(name)\(labels(sample.labels)) \(PrometheusText.number(value))")
    case .histogram(let histogram): write(histogram, name, sample.labels)
    }
  }

  private mutating func write(_ histogram: MetricFamily.Histogram, _ name: String, _ own: [MetricFamily.Label]) {
    for (bound, count) in zip(histogram.bounds, histogram.cumulative) {
      line("\(name)_bucket\(labels(own + [.init("le", PrometheusText.number(bound))])) \(count)")
    }
    line("\(name)_bucket\(labels(own + [.init("le", "+Inf")])) \(histogram.count)")
    line("\(name)_sum\(labels(own)) \(PrometheusText.number(histogram.sum))")
    line("\(name)_count\(labels(own)) \(histogram.count)")
  }

  private mutating func line(_ text: String) {
    bytes.append(contentsOf: text.utf8)
    bytes.append(UInt8(ascii: "\n"))
  }

  private func labels(_ labels: [MetricFamily.Label]) -> String {
    if labels.isEmpty { return "" }
    return "{" + labels.map { "\($0.name)=\"\(PrometheusText.escapedLabel($0.value))\"" }.joined(separator: ",") + "}"
  }

  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
    return "\(value)"
  }

  static func escapedHelp(_ text: String) -> String {
    text.unicodeScalars.map { $0 == "\\" ? "\\\\" : $0 == "\n" ? "\\n" : String($0) }.joined()
  }

  static func escapedLabel(_ text: String) -> String {
    text.unicodeScalars.map { $0 == "\\" ? "\\\\" : $0 == "\n" ? "\\n" : $0 == "\"" ? "\\\"" : String($0) }.joined()
  }
}
