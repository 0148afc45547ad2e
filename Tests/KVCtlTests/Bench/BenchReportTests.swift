import ArgumentParser
import Foundation
import KVModel
import Testing

@testable import kvctl

@Suite struct `What a bench reports` {
  private func measured() -> BenchResult.Measured {
    var tally = BenchTally()
    for ms in 1...1_000 as ClosedRange<UInt64> {
      tally.onDone(.read, start: 0, end: ms * 1_000_000, found: ms % 10 != 0)
    }
    for _ in 0..<500 { tally.onDone(.update, start: 5, end: 2_000_005, found: nil) }
    tally.onFailed(BenchFault("timed_out", "the first"))
    tally.onFailed(BenchFault("timed_out", "the second"))
    tally.onFailed(BenchFault("unavailable", "1 of 2 owners"), count: 7)
    return BenchResult.Measured(tally: tally, elapsedNs: 2_000_000_000, cpuNs: 15_000_000, completed: 1_500)
  }

  private func plan(_ arguments: String...) throws -> BenchPlan { try BenchPlan(BenchOptions.parse(arguments)) }

  @Test func `percentiles are those of the histogram, three digits exact`() {
    let reads = measured().tally[.read]
    for (percent, ms) in [(50.0, 500.0), (95, 950), (99, 990), (99.9, 999)] {
      #expect(abs(reads.percentileUs(percent) / (ms * 1_000) - 1) < 0.002, "\(percent)")
    }
    #expect(abs(reads.maxUs / 1_000_000 - 1) < 0.002)
    #expect(abs(reads.meanUs / 500_500 - 1) < 0.002)
    #expect(LatencyRecorder().percentileUs(99) == 0)
  }

  @Test func `a latency beyond the scale counts as the highest`() {
    var recorder = LatencyRecorder()
    recorder.record(.max)
    recorder.record(0)
    #expect(recorder.count == 2)
    #expect(recorder.maxUs >= Double(LatencyRecorder.highestNs) / 1_000 * 0.998)
  }

  @Test func `what several drivers counted adds up`() {
    var sum = measured().tally
    sum.add(measured().tally)
    #expect(sum.operations == 3_000)
    #expect(sum.failures == 18)
    #expect((sum.found, sum.absent) == (1_800, 200))
    #expect(sum.errorsByCount.map(\.code) == ["unavailable", "timed_out"])
    #expect(
      sum.errorsByCount.map(\.error) == [
        .init(count: 14, message: "1 of 2 owners"), .init(count: 4, message: "the first"),
      ])
    #expect(abs(sum[.read].percentileUs(50) / 500_000 - 1) < 0.002)
  }

  @Test func `people get a table of 80 columns`() throws {
    let report = BenchDocument.report(BenchResult(plan: try plan("--rate", "750"), measured: measured()))
    #expect(report.exit == .degraded)
    #expect(
      report.lines == [
        "workload a, zipfian, 100,000 records of 16 B + 1.0 KiB; 64 x 1, 750 op/s, open loop",
        "OPERATION  COUNT  OP/S  P50   P95   P99   P99.9  MAX ms",
        "read       1,000  500   500   950   990   999    1,000",
        "update     500    250   2.00  2.00  2.00  2.00   2.00",
        "all        1,500  750   250   925   985   999    1,000",
        "failed: 7 unavailable (1 of 2 owners)", "failed: 2 timed_out (the first)",
        "client CPU 10.0 µs an operation; 100 reads found nothing: load the records with --load",
      ])
  }

  @Test func `programs get the same with units in the names`() throws {
    let load = BenchResult.Load(records: 1_500, tally: measured().tally, elapsedNs: 3_000_000_000)
    var result = BenchResult(plan: try plan("--workload", "b", "--load"), load: load, measured: measured())
    let text = BenchDocument.report(result).envelope(nil).line
    let document = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(document["schema"] as? String == "kvctl/1")
    let data = try #require(document["data"] as? [String: Any])
    #expect(data["workload"] as? String == "b")
    #expect(data["rate_per_s"] is NSNull)
    #expect((data["load"] as? [String: Any])?["missing"] as? Int == 0)
    let run = try #require(data["run"] as? [String: Any])
    #expect(run["operations"] as? Int == 1_500)
    #expect(run["operations_per_s"] as? Double == 750)
    #expect(run["client_cpu_us_per_operation"] as? Double == 10)
    #expect((run["failures"] as? [[String: Any]])?.first?["code"] as? String == "unavailable")
    let kinds = try #require(run["kinds"] as? [[String: Any]])
    #expect(kinds.map { $0["kind"] as? String } == ["read", "update"])
    for name in ["mean_us", "p50_us", "p95_us", "p99_us", "p99_9_us", "max_us"] {
      #expect((kinds[0][name] as? Double ?? 0) > 0, "\(name)")
    }
    result.measured = nil
    #expect(BenchDocument.report(result).envelope(nil).line.contains(#""run":null"#))
  }

  @Test func `the exit code says what became of it`() throws {
    var result = BenchResult(plan: try plan())
    #expect(result.exit == .done)
    result.measured = measured()
    #expect(result.exit == .degraded)
    var good = BenchTally()
    good.onDone(.read, start: 0, end: 1, found: true)
    result.measured?.tally = good
    #expect(result.exit == .done)
    result.measured?.tally = BenchTally()
    #expect(result.exit == .error)
    #expect(BenchDocument.report(result).failures.map(\.code) == ["nothing_done"])
    result.load = BenchResult.Load(records: 3, tally: good, elapsedNs: 1)
    #expect(result.exit == .error)
    #expect(BenchDocument.report(result).failures.map(\.message) == ["2 records could not be written"])
  }

  @Test func `the live line fits 80 columns`() {
    var progress = BenchProgress()
    for us in 1...2_000 as ClosedRange<UInt64> { progress.latencies.record(us * 1_000) }
    (progress.completed, progress.failed, progress.backlog) = (92_010, 10, 1_234)
    let second = LiveLine.Second(
      progress: progress, before: BenchProgress(), now: 12_500_000_000, lengthNs: 2_000_000_000)
    #expect(
      LiveLine.run(second, since: 500_000_000)
        == "   12 s     46,000 op/s  p50 1.00  p99 1.98  max 2.00 ms  10 failed  1,234 behind")
    #expect(LiveLine.run(second, since: 13_000_000_000).hasPrefix("warm-up"))
    #expect(
      LiveLine.load(second, of: 184_000, since: 0)
        == "   load  92,000 of 184,000 records (50 %)  46,000/s  10 failed, tried again")
  }

  @Test(arguments: [
    (0.4, "0.000"), (912.0, "0.912"), (2_104, "2.10"), (45_120, "45.1"), (845_120, "845"), (1_203_000, "1,203"),
  ])
  func `milliseconds keep the digits that mean something`(us: Double, text: String) {
    #expect(Text.milliseconds(us: us) == text)
  }
}
