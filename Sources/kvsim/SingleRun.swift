import Foundation
import KVSimulator

/// One seed, in this process: options first, then the trace if it is wanted, then the verdict.
struct SingleRun {
  let seed: UInt64
  let isVerbose: Bool
  let common: CommonOptions

  func run() throws -> Ending {
    let options = try common.options(for: seed)
    let trace = Trace(write: isVerbose ? { print($0) } : nil)
    let simulation = Simulation(options, trace: trace)
    if !common.json {
      for line in options.lines { print(line) }
      print("\(simulation.faults.count) faults are planned")
    }
    simulation.run()
    let ending = Ending(of: simulation.violations)
    if common.json { try printJSON(simulation, ending) } else { printText(simulation, ending) }
    return ending
  }

  private func printText(_ simulation: Simulation, _ ending: Ending) {
    let counts = simulation.counts
    print(
      """
      \(counts.events) events, \(counts.messages) messages, \(counts.syncs) syncs, \(counts.starts) starts, \
      \(counts.faults) faults in \(counts.simulatedNanoseconds / 1_000_000) simulated ms
      \(counts.completed) operations completed, \(counts.rejected) rejected, \(counts.unknown) of unknown outcome
      trace hash \(String(simulation.trace.hash, radix: 16))
      """)
    for violation in simulation.violations {
      print("\(violation)")
      for number in violation.operations { print("  \(describe(number, in: simulation.history))") }
    }
    print(ending == .held ? "all held" : "FAILED (\(ending.rawValue)); again with: \(command)")
  }

  private var command: String {
    (["kvsim", "--seed", "\(seed)"] + common.arguments + ["--verbose"]).joined(separator: " ")
  }

  private func describe(_ number: Int, in history: History) -> String {
    guard let operation = history.operations.first(where: { $0.number == number }) else { return "#\(number)" }
    func ms(_ time: UInt64?) -> String { time.map { "\($0 / 1_000).\($0 % 1_000 / 100) µs" } ?? "never" }
    let context = operation.context.map { ", with the context of #\($0)" } ?? ""
    let seen = operation.kind == .get ? ", saw \(operation.seen)" : ""
    return """
      #\(number) c\(operation.client) \(operation.kind.rawValue) \(history.keys[operation.key]) at \
      \(operation.quorum)\(context): \(operation.outcome.rawValue)\(seen), from \(ms(operation.invokedAt)) to \
      \(ms(operation.returnedAt))
      """
  }

  private func printJSON(_ simulation: Simulation, _ ending: Ending) throws {
    let report = SeedReport(seed, simulation, ending)
    let options = simulation.options.lines
    print(try Report(seeds: [report], options: options).json)
  }
}

/// A seed's result, as JSON and as a worker's line.
struct SeedReport: Codable, Sendable {
  var seed: UInt64
  var ending: String
  var hash: String
  var events: UInt64 = 0
  var completed: UInt64 = 0
  var rejected: UInt64 = 0
  var unknown: UInt64 = 0
  var simulatedNs: UInt64 = 0
  var invariant: String?
  var message: String?

  init(_ seed: UInt64, _ simulation: Simulation, _ ending: Ending) {
    self.seed = seed
    self.ending = ending.rawValue
    hash = String(simulation.trace.hash, radix: 16)
    let counts = simulation.counts
    events = counts.events
    completed = counts.completed
    rejected = counts.rejected
    unknown = counts.unknown
    simulatedNs = counts.simulatedNanoseconds
    invariant = simulation.violations.first?.invariant.rawValue
    message = simulation.violations.first?.message
  }

  /// What went wrong.
  var text: String { (invariant.map { "\($0): " } ?? "") + (message ?? ending) }

  /// The process that ran the seed has died.
  init(crashOf seed: UInt64, _ message: String) {
    self.seed = seed
    ending = Ending.crash.rawValue
    hash = ""
    self.message = message
  }
}

struct Report: Codable {
  var schema = "kvsim/1"
  var options: [String]?
  var failed = 0
  var eventsPerSecond: Double?
  var operationsPerSecond: Double?
  var simulatedSecondsPerSecond: Double?
  var seeds: [SeedReport]

  init(seeds: [SeedReport], options: [String]? = nil) {
    self.seeds = seeds
    self.options = options
    failed = seeds.filter { $0.ending != Ending.held.rawValue }.count
  }

  var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.keyEncodingStrategy = .convertToSnakeCase
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
  }
}
