/// Runs a plan on an engine: load, warm-up, measurement, report.
struct BenchRun {
  let plan: BenchPlan
  let engine: any BenchEngine
  let session: Session

  /// After so many seconds in which nothing succeeded a load is given up.
  private static let hopelessSeconds = 10

  func report() async throws(CommandFailure) -> Report {
    try await connect()
    var result = BenchResult(plan: plan)
    if plan.load { result.load = await load() }
    if plan.durationNs > 0, result.load?.isWhole ?? true, !Task.isCancelled { result.measured = await measure() }
    return BenchDocument.report(result)
  }

  private func connect() async throws(CommandFailure) {
    let reach = await engine.connect()
    let missing = reach.faults.sorted { $0.key < $1.key }
    guard !reach.reached.isEmpty else {
      let fault = missing.first?.value ?? BenchFault("unreachable", "no node was asked")
      throw CommandFailure(.cannotConnect, fault.code, fault.message, node: missing.first?.key)
    }
    for (node, fault) in missing { session.say("\(node) cannot be reached and gets no load: \(fault.message)") }
  }

  // MARK: Stages

  private func load() async -> BenchResult.Load {
    let now = BenchClock.now()
    let stage = BenchStage(
      work: .load(records: plan.records), start: now, measureFrom: now, end: .max, drainUntil: .max, rate: nil,
      seed: plan.seed)
    let tally = await perform(stage) { LiveLine.load($0, of: plan.records, since: now) }
    let end = tally.lastEnd > now ? tally.lastEnd : BenchClock.now()
    return BenchResult.Load(records: plan.records, tally: tally, elapsedNs: end - now)
  }

  private func measure() async -> BenchResult.Measured {
    let start = BenchClock.now() + 1_000_000
    let measureFrom = start + plan.warmupNs
    let end = measureFrom + plan.durationNs
    let stage = BenchStage(
      work: .workload(plan.workload.mix, plan.distribution, records: plan.records), start: start,
      measureFrom: measureFrom, end: end, drainUntil: end + drainNs, rate: plan.rate, seed: plan.seed)
    let cost = Task { await costs(from: measureFrom) }
    let tally = await perform(stage) { LiveLine.run($0, since: measureFrom) }
    let after = await costs(from: 0)
    cost.cancel()
    let before = await cost.value
    let until = max(tally.lastEnd, min(end, BenchClock.now()))
    return BenchResult.Measured(
      tally: tally, elapsedNs: max(1, until - min(until, measureFrom)), cpuNs: after.cpu &- before.cpu,
      completed: after.completed &- before.completed)
  }

  /// What is under way or overdue at the end may take as long as a request.
  private var drainNs: UInt64 { UInt64(max(1, session.timeout / .nanoseconds(1))) }

  /// What the process has used and done by a time, or by the end of the stage.
  private func costs(from instant: UInt64) async -> (cpu: UInt64, completed: UInt64) {
    let wait = Int64(clamping: instant &- min(instant, BenchClock.now()))
    try? await Task.sleep(for: .nanoseconds(wait))
    return (BenchClock.processCPU(), await engine.progress(resetting: false).completed)
  }

  /// Runs a stage, with a line each second. Ends it when the task is cancelled, or when there is no hope.
  private func perform(_ stage: BenchStage, _ line: @escaping @Sendable (LiveLine.Second) -> String) async -> BenchTally
  {
    let isLoad = if case .load = stage.work { true } else { false }
    let live = Task { await tell(line, givesUp: isLoad) }
    let tally = await withTaskCancellationHandler {
      await engine.perform(stage)
    } onCancel: {
      engine.cancel()
    }
    live.cancel()
    return tally
  }

  private func tell(_ line: @Sendable (LiveLine.Second) -> String, givesUp: Bool) async {
    var last = BenchProgress()
    var barren = 0
    var told = BenchClock.now()
    while true {
      do { try await Task.sleep(for: .seconds(1)) } catch { return }
      let progress = await engine.progress(resetting: true)
      if Task.isCancelled { return }
      let now = BenchClock.now()
      session.say(line(LiveLine.Second(progress: progress, before: last, now: now, lengthNs: now - told)))
      barren = progress.completed - progress.failed == last.completed - last.failed ? barren + 1 : 0
      if givesUp, barren >= BenchRun.hopelessSeconds { engine.cancel() }
      (last, told) = (progress, now)
    }
  }
}
