/// The line that a benchmark tells each second.
enum LiveLine {
  /// What one second brought.
  struct Second: Sendable {
    var progress: BenchProgress
    var before: BenchProgress
    var now: UInt64
    /// How long it really was.
    var lengthNs: UInt64

    var completed: UInt64 { progress.completed - min(progress.completed, before.completed) }
    var failed: UInt64 { progress.failed - min(progress.failed, before.failed) }
    var rate: UInt64 { UInt64(Double(completed - min(completed, failed)) * 1e9 / Double(max(1, lengthNs))) }
  }

  /// `   12 s   45,123 op/s   p50 0.912   p99 2.10   max 12.3 ms`
  static func run(_ second: Second, since start: UInt64) -> String {
    let time = second.now < start ? "warm-up" : "\((second.now - start + 500_000_000) / 1_000_000_000) s"
    let latencies = second.progress.latencies
    var line = "\(Text.right(time, 7))  \(Text.right(Units.count(second.rate), 9)) op/s"
    line += "  p50 \(Text.milliseconds(us: latencies.percentileUs(50)))"
    line += "  p99 \(Text.milliseconds(us: latencies.percentileUs(99)))"
    line += "  max \(Text.milliseconds(us: latencies.maxUs)) ms"
    if second.failed > 0 { line += "  \(Units.count(second.failed)) failed" }
    if second.progress.backlog > 0 { line += "  \(Units.count(second.progress.backlog)) behind" }
    return line
  }

  /// `   load  45,000 of 100,000 records (45 %)  22,500/s`
  static func load(_ second: Second, of records: UInt64, since start: UInt64) -> String {
    let done = second.progress.completed - second.progress.failed
    var line = "\(Text.right("load", 7))  \(Units.count(done)) of \(Units.count(records)) records"
    line += " (\(Units.percent(done, of: records, digits: 0)))  \(Units.count(second.rate))/s"
    if second.failed > 0 { line += "  \(Units.count(second.failed)) failed, tried again" }
    return line
  }
}

/// Numbers in columns.
enum Text {
  static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  /// Milliseconds with three digits that mean something: `0.912`, `2.10`, `45.1`, `1,203`.
  static func milliseconds(us: Double) -> String {
    let value = us / 1_000
    if value >= 1_000 { return Units.count(UInt64(value)) }
    return JSON.fixed(value, digits: value < 1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0)
  }
}
