import ArgumentParser
import KVClient
import KVModel

struct BenchVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Drives load and measures throughput and latency.",
    discussion: """
      Closed loop by default: --clients connections with --pipeline requests under way for each. With --rate, open loop:
      operations begin at that rate whatever the answers do, and latencies count from the time at which an operation was
      meant to begin. A line a second on stderr; the result on stdout.

      Workloads: a (half reads, half updates), b (95 % reads, 5 % updates), c (reads), d (95 % reads of what is new, 5 %
      inserts), f (half reads, half read-modify-writes), get, put. a, b, c and f are zipfian (θ 0.99, scrambled), d is
      latest, get and put are uniform. e needs scans, which this release does not have.

      It writes keys of its own (user000…) over whatever has those names: use a cluster for tests.

      Exit codes: 0 done, 1 nothing was done or a record could not be loaded, 3 no node can be reached, 9 some
      operations failed.

      Example: kvctl bench --load --workload b --records 100000 --duration 30s
      Example: kvctl bench --workload get --rate 20000 --json
      Example: kvctl bench --target resp://127.0.0.1:6379 --load --workload get
      """)

  @OptionGroup var bench: BenchOptions
  @OptionGroup var global: GlobalOptions

  var namesCluster: Bool { bench.target == nil }

  mutating func prepare() throws(CommandFailure) { _ = try BenchPlan(bench) }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let plan = try BenchPlan(bench)
    let engine = try await BenchTargets.engine(plan, session)
    do throws(CommandFailure) {
      let report = try await BenchRun(plan: plan, engine: engine, session: session).report()
      await engine.stop()
      return report
    } catch {
      await engine.stop()
      throw error
    }
  }
}
