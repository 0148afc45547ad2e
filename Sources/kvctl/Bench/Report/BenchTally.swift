/// What a stage of a benchmark has come to: latencies by kind of operation, errors by code.
struct BenchTally: Sendable {
  struct ErrorCount: Equatable, Sendable {
    var count: UInt64 = 0
    /// Of the first one.
    var message: String
  }

  /// By `OperationKind.rawValue`. Failed operations are not among them.
  private(set) var latencies = OperationKind.allCases.map { _ in LatencyRecorder() }
  private(set) var errors: [String: ErrorCount] = [:]
  /// Reads that found a value, and that found none.
  private(set) var found: UInt64 = 0
  private(set) var absent: UInt64 = 0
  /// When the last operation ended, nanoseconds of the driver's clock; 0 when none has.
  private(set) var lastEnd: UInt64 = 0

  var operations: UInt64 { latencies.reduce(0) { $0 + $1.count } }
  var failures: UInt64 { errors.values.reduce(0) { $0 + $1.count } }

  subscript(kind: OperationKind) -> LatencyRecorder { latencies[kind.rawValue] }

  /// An operation has ended well. `found` is nil when it read nothing.
  mutating func onDone(_ kind: OperationKind, start: UInt64, end: UInt64, found isFound: Bool?) {
    latencies[kind.rawValue].record(end > start ? end - start : 0)
    lastEnd = max(lastEnd, end)
    switch isFound {
    case true?: found += 1
    case false?: absent += 1
    case nil: break
    }
  }

  mutating func onFailed(_ fault: BenchFault, count: UInt64 = 1) {
    if count > 0 { errors[fault.code, default: ErrorCount(message: fault.message)].count += count }
  }

  /// Joins what several drivers counted.
  mutating func add(_ other: BenchTally) {
    for kind in OperationKind.allCases { latencies[kind.rawValue].add(other.latencies[kind.rawValue]) }
    for (code, error) in other.errors { errors[code, default: ErrorCount(message: error.message)].count += error.count }
    found += other.found
    absent += other.absent
    lastEnd = max(lastEnd, other.lastEnd)
  }

  /// Errors, the most frequent first.
  var errorsByCount: [(code: String, error: ErrorCount)] {
    errors.sorted { $0.value.count == $1.value.count ? $0.key < $1.key : $0.value.count > $1.value.count }
      .map { ($0.key, $0.value) }
  }
}

/// What has happened since it was last asked for, for the live line; and since the start.
struct BenchProgress: Sendable {
  var latencies = LatencyRecorder()
  /// Operations that have ended since the start of the stage, well and badly.
  var completed: UInt64 = 0
  var failed: UInt64 = 0
  /// Open loop: operations that should have begun and have not.
  var backlog: UInt64 = 0

  mutating func add(_ other: BenchProgress) {
    latencies.add(other.latencies)
    completed += other.completed
    failed += other.failed
    backlog += other.backlog
  }
}
