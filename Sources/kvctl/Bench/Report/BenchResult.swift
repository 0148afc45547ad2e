/// What a benchmark found.
struct BenchResult: Sendable {
  struct Load: Sendable {
    var records: UInt64
    var tally: BenchTally
    var elapsedNs: UInt64

    /// Every record was written.
    var isWhole: Bool { tally.operations == records }
  }

  struct Measured: Sendable {
    var tally: BenchTally
    /// From the first operation that counts to the last, and no less than was asked for.
    var elapsedNs: UInt64
    /// CPU of this process in that time, and the operations that ended in it.
    var cpuNs: UInt64
    var completed: UInt64

    func perSecond(_ operations: UInt64) -> Double { Double(operations) * 1e9 / Double(max(1, elapsedNs)) }
    var cpuUsPerOperation: Double { completed == 0 ? 0 : Double(cpuNs) / 1_000 / Double(completed) }
  }

  var plan: BenchPlan
  var load: Load?
  var measured: Measured?

  /// All tallies' errors, for the exit code.
  var exit: ShellStatus {
    if let load, !load.isWhole { return .error }
    guard let measured else { return .done }
    if measured.tally.operations == 0 { return .error }
    return measured.tally.failures > 0 ? .degraded : .done
  }
}

/// `kvctl bench`, for people and for programs.
enum BenchDocument {
  static func report(_ result: BenchResult) -> Report {
    var report = Report(json(result))
    report.exit = result.exit
    report.lines = [title(result.plan)]
    if let load = result.load { report.lines.append(line(load)) }
    if let measured = result.measured { report.lines += lines(measured) }
    if let load = result.load, !load.isWhole {
      let missing = load.records - load.tally.operations
      report.failures.append(
        CommandFailure(.error, "not_loaded", "\(Units.plural(Int(missing), "record")) could not be written"))
    } else if let measured = result.measured, measured.tally.operations == 0 {
      report.failures.append(CommandFailure(.error, "nothing_done", "no operation succeeded"))
    }
    return report
  }

  // MARK: People

  static func title(_ plan: BenchPlan) -> String {
    let loop = plan.rate.map { "\(Units.count(UInt64($0.rounded()))) op/s, open loop" } ?? "closed loop"
    let value = Units.size(bytes: UInt64(plan.valueSize))
    return "workload \(plan.workload.rawValue), \(plan.distribution.rawValue), \(Units.count(plan.records)) records of "
      + "\(plan.keySize) B + \(value); \(plan.clients) x \(plan.pipeline), \(loop)"
  }

  private static func line(_ load: BenchResult.Load) -> String {
    let rate = UInt64(Double(load.tally.operations) * 1e9 / Double(max(1, load.elapsedNs)))
    return "loaded \(Units.count(load.tally.operations)) records in \(Units.span(ms: load.elapsedNs / 1_000_000)) "
      + "(\(Units.count(rate))/s)"
  }

  private static func lines(_ measured: BenchResult.Measured) -> [String] {
    var table = Table(["OPERATION", "COUNT", "OP/S", "P50", "P95", "P99", "P99.9", "MAX ms"])
    var all = LatencyRecorder()
    for kind in OperationKind.allCases where measured.tally[kind].count > 0 {
      table.rows.append(cells(kind.name, measured.tally[kind], measured))
      all.add(measured.tally[kind])
    }
    if table.rows.count != 1 { table.rows.append(cells("all", all, measured)) }
    var last = "client CPU \(JSON.fixed(measured.cpuUsPerOperation, digits: 1)) µs an operation"
    if measured.tally.absent > 0 {
      last += "; \(Units.count(measured.tally.absent)) reads found nothing: load the records with --load"
    }
    return table.lines() + errors(measured.tally) + [last]
  }

  private static func cells(_ name: String, _ latencies: LatencyRecorder, _ measured: BenchResult.Measured) -> [String]
  {
    [
      name, Units.count(latencies.count), Units.count(UInt64(measured.perSecond(latencies.count).rounded())),
      Text.milliseconds(us: latencies.percentileUs(50)), Text.milliseconds(us: latencies.percentileUs(95)),
      Text.milliseconds(us: latencies.percentileUs(99)), Text.milliseconds(us: latencies.percentileUs(99.9)),
      Text.milliseconds(us: latencies.maxUs),
    ]
  }

  private static func errors(_ tally: BenchTally) -> [String] {
    tally.errorsByCount.map { "failed: \(Units.count($0.error.count)) \($0.code) (\($0.error.message))" }
  }

  // MARK: Programs

  private static func json(_ result: BenchResult) -> JSON {
    let plan = result.plan
    let target = if case .resp(let address) = plan.target { "resp://\(address)" } else { "ringkv" }
    return .object([
      ("target", .text(target)), ("through", .text(plan.through.rawValue)), ("workload", .text(plan.workload.rawValue)),
      ("distribution", .text(plan.distribution.rawValue)), ("records", .integer(plan.records)),
      ("key_bytes", .integer(plan.keySize)), ("value_bytes", .integer(plan.valueSize)),
      ("clients", .integer(plan.clients)), ("pipeline", .integer(plan.pipeline)), ("loops", .integer(plan.loops)),
      ("rate_per_s", .optional(plan.rate) { .fraction($0, digits: 2) }),
      ("consistency", .text("\(plan.consistency)")), ("warmup_ms", .integer(plan.warmupNs / 1_000_000)),
      ("duration_ms", .integer(plan.durationNs / 1_000_000)), ("seed", .text(String(plan.seed))),
      ("load", .optional(result.load, json)), ("run", .optional(result.measured, json)),
    ])
  }

  private static func json(_ load: BenchResult.Load) -> JSON {
    .object([
      ("records", .integer(load.tally.operations)), ("missing", .integer(load.records - load.tally.operations)),
      ("elapsed_ms", .integer(load.elapsedNs / 1_000_000)), ("failures", failures(load.tally)),
    ])
  }

  private static func json(_ measured: BenchResult.Measured) -> JSON {
    let tally = measured.tally
    return .object([
      ("elapsed_ms", .integer(measured.elapsedNs / 1_000_000)), ("operations", .integer(tally.operations)),
      ("operations_per_s", .fraction(measured.perSecond(tally.operations), digits: 1)),
      ("failed", .integer(tally.failures)), ("failures", failures(tally)), ("found", .integer(tally.found)),
      ("absent", .integer(tally.absent)),
      ("client_cpu_us_per_operation", .fraction(measured.cpuUsPerOperation, digits: 2)),
      (
        "kinds",
        .array(
          OperationKind.allCases.filter { tally[$0].count > 0 }.map { json($0, tally[$0], measured) })
      ),
    ])
  }

  private static func json(_ kind: OperationKind, _ latencies: LatencyRecorder, _ measured: BenchResult.Measured)
    -> JSON
  {
    .object([
      ("kind", .text(kind.name)), ("operations", .integer(latencies.count)),
      ("operations_per_s", .fraction(measured.perSecond(latencies.count), digits: 1)),
      ("mean_us", .fraction(latencies.meanUs, digits: 1)), ("p50_us", .fraction(latencies.percentileUs(50), digits: 1)),
      ("p95_us", .fraction(latencies.percentileUs(95), digits: 1)),
      ("p99_us", .fraction(latencies.percentileUs(99), digits: 1)),
      ("p99_9_us", .fraction(latencies.percentileUs(99.9), digits: 1)),
      ("max_us", .fraction(latencies.maxUs, digits: 1)),
    ])
  }

  private static func failures(_ tally: BenchTally) -> JSON {
    .array(
      tally.errorsByCount.map {
        .object([("code", .text($0.code)), ("count", .integer($0.error.count)), ("message", .text($0.error.message))])
      })
  }
}
