import ArgumentParser
import Dispatch
import Foundation
import KVSimulator
import Synchronization

/// A child's part: seeds one after the other, a line before and a line after each, so that the parent knows which one
/// a trap was in.
struct Worker {
  let common: CommonOptions

  func run(_ seeds: SeedRange) {
    for seed in seeds.range {
      say("begin \(seed)")
      guard let options = try? common.options(for: seed) else { continue }
      let simulation = Simulation(options)
      simulation.run()
      let report = SeedReport(seed, simulation, Ending(of: simulation.violations))
      guard let data = try? JSONEncoder().encode(report) else { continue }
      say("end \(String(decoding: data, as: UTF8.self))")
    }
  }

  /// At once, whatever happens next.
  private func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
}

/// A range of seeds in child processes, so that a trap is an outcome too.
final class RangeRun: Sendable {
  private struct State {
    var next: UInt64
    var reports: [SeedReport] = []
    var isEnding = false
  }

  private let seeds: ClosedRange<UInt64>
  private let jobs: Int
  private let endsAtFirst: Bool
  private let arguments: [String]
  private let isJSON: Bool
  private let isQuiet = Atomic(false)
  private let state: Mutex<State>
  private let start = ContinuousClock.now
  /// Seeds a child runs before another one takes over.
  private static let chunk: UInt64 = 50

  init(seeds: SeedRange, jobs: Int, endsAtFirst: Bool, common: CommonOptions) {
    self.seeds = seeds.range
    self.jobs = jobs
    self.endsAtFirst = endsAtFirst
    arguments = common.arguments
    isJSON = common.json
    state = Mutex(State(next: seeds.range.lowerBound))
  }

  /// `hashes`: where to write the hash of each seed's trace, a line each.
  func run(hashes: String? = nil) throws -> Ending {
    let reports = collect(isQuiet: false)
    try conclude(reports)
    if let hashes {
      let lines = reports.map { "\($0.seed) \($0.hash)\n" }.joined()
      try Data(lines.utf8).write(to: URL(fileURLWithPath: hashes))
    }
    for ending in [Ending.safety, .crash, .liveness] where reports.contains(where: { $0.ending == ending.rawValue }) {
      return ending
    }
    return .held
  }

  /// Runs all seeds; their reports by seed.
  func collect(isQuiet: Bool = true) -> [SeedReport] {
    self.isQuiet.store(isQuiet, ordering: .relaxed)
    DispatchQueue.concurrentPerform(iterations: jobs) { _ in
      while let chunk = takeChunk() { run(chunk) }
    }
    clearProgress()
    return state.withLock { $0.reports.sorted { $0.seed < $1.seed } }
  }

  private func takeChunk() -> ClosedRange<UInt64>? {
    state.withLock { state in
      guard !state.isEnding, state.next <= seeds.upperBound else { return nil }
      let low = state.next
      let high = min(seeds.upperBound, low + RangeRun.chunk - 1)
      state.next = high + 1
      return low...high
    }
  }

  // MARK: Children

  private func run(_ chunk: ClosedRange<UInt64>) {
    var low = chunk.lowerBound
    while low <= chunk.upperBound, !state.withLock({ $0.isEnding }) {
      guard let crashed = runChild(low...chunk.upperBound) else { return }
      low = crashed + 1
    }
  }

  /// Runs a child over seeds; the seed in which it died, nil when it came to the end.
  private func runChild(_ seeds: ClosedRange<UInt64>) -> UInt64? {
    let child = Process()
    child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    child.arguments = ["--worker", "\(seeds.lowerBound)..\(seeds.upperBound)"] + arguments
    let output = Pipe()
    let errors = Pipe()
    child.standardOutput = output
    child.standardError = errors
    do { try child.run() } catch {
      note(SeedReport(crashOf: seeds.lowerBound, "the child process cannot be started: \(error)"))
      return seeds.upperBound
    }
    var begun = seeds.lowerBound
    var isDone = true
    for line in Lines(output.fileHandleForReading) {
      if line.hasPrefix("begin ") {
        begun = UInt64(line.dropFirst(6)) ?? begun
        isDone = false
      } else if line.hasPrefix("end "), let report = decode(line.dropFirst(4)) {
        isDone = true
        if !note(report) {
          child.terminate()
          break
        }
      }
    }
    child.waitUntilExit()
    if isDone { return nil }
    let text = String(decoding: errors.fileHandleForReading.availableData.prefix(2_000), as: UTF8.self)
    let cause = text.split(separator: "\n").first { $0.contains("Fatal error") } ?? text.split(separator: "\n").first
    note(SeedReport(crashOf: begun, "the run ended by signal \(child.terminationStatus): \(cause ?? "no message")"))
    return begun
  }

  private func decode(_ line: Substring) -> SeedReport? {
    try? JSONDecoder().decode(SeedReport.self, from: Data(line.utf8))
  }

  /// Takes a seed's report; false when no more are wanted.
  @discardableResult
  private func note(_ report: SeedReport) -> Bool {
    let (isEnding, reports) = state.withLock { state in
      if state.isEnding { return (true, state.reports) }
      state.reports.append(report)
      if endsAtFirst, report.ending != Ending.held.rawValue { state.isEnding = true }
      return (state.isEnding, state.reports)
    }
    if isQuiet.load(ordering: .relaxed) || isJSON { return !isEnding }
    if report.ending != Ending.held.rawValue { printFailure(report) }
    showProgress(reports)
    return !isEnding
  }

  // MARK: What people see

  private static let isTerminal = isatty(2) == 1

  private func showProgress(_ reports: [SeedReport]) {
    guard RangeRun.isTerminal || reports.count % 500 == 0 else { return }
    let rates = rates(of: reports)
    let total = seeds.upperBound - seeds.lowerBound + 1
    let line = "\(reports.count) of \(total) seeds, \(rates.text)"
    FileHandle.standardError.write(Data((RangeRun.isTerminal ? "\r\u{1b}[K\(line)" : "\(line)\n").utf8))
  }

  private func clearProgress() {
    if RangeRun.isTerminal, !isJSON, !isQuiet.load(ordering: .relaxed) {
      FileHandle.standardError.write(Data("\r\u{1b}[K".utf8))
    }
  }

  private func printFailure(_ report: SeedReport) {
    clearProgress()
    let command = (["kvsim", "--seed", "\(report.seed)"] + arguments).joined(separator: " ")
    print("seed \(report.seed) FAILED (\(report.ending)) \(report.text)\n  again with: \(command)")
  }

  private func rates(of reports: [SeedReport]) -> (events: Double, operations: Double, simulated: Double, text: String)
  {
    let span = ContinuousClock.now - start
    let seconds = max(0.001, Double(span.components.seconds) + Double(span.components.attoseconds) / 1e18)
    let events = Double(reports.reduce(0) { $0 + $1.events }) / seconds
    let operations = Double(reports.reduce(0) { $0 + $1.completed }) / seconds
    let simulated = Double(reports.reduce(0) { $0 + $1.simulatedNs }) / 1e9 / seconds
    let text = """
      \(Int(events)) events/s, \(Int(operations)) operations/s, \(Int(simulated)) simulated s/s
      """
    return (events, operations, simulated, text)
  }

  private func conclude(_ reports: [SeedReport]) throws {
    let rates = rates(of: reports)
    var report = Report(seeds: reports)
    report.eventsPerSecond = rates.events
    report.operationsPerSecond = rates.operations
    report.simulatedSecondsPerSecond = rates.simulated
    if isJSON { return print(try report.json) }
    let least = reports.filter { $0.ending == Ending.held.rawValue }.map(\.completed).min() ?? 0
    print("\(reports.count) seeds, \(report.failed) failed; \(rates.text); at least \(least) operations a seed")
  }
}

/// The lines of a file as they come.
struct Lines: Sequence, IteratorProtocol {
  private let file: FileHandle
  private var buffer = Data()

  init(_ file: FileHandle) { self.file = file }

  mutating func next() -> String? {
    while true {
      if let end = buffer.firstIndex(of: 0x0a) {
        let line = String(decoding: buffer[buffer.startIndex..<end], as: UTF8.self)
        buffer.removeSubrange(buffer.startIndex...end)
        return line
      }
      let more = file.availableData
      if more.isEmpty { return nil }
      buffer.append(more)
    }
  }
}
