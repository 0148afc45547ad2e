import ArgumentParser
import KVClient

struct ImportVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Puts every line of a file.",
    discussion: """
      JSON Lines: {"key":"a","value":"1","ttl_ms":60000}, with "sort_key" if there is one; key and value are text or
      {"base64":"…"}. TSV: key TAB value, with \\t \\n \\r \\\\ and \\xHH for any byte. The format is told by --format,
      else by the file's name, else by its first byte.

      With --checkpoint the same command, given again after an interruption, goes on behind the lines that are done.

      A line that cannot be read is reported by its number, skipped and counted, and makes the exit code 1. A key that
      stands in more than one line ends with any of their values.

      Example: kvctl import packages.jsonl
      Example: kvctl import packages.jsonl --checkpoint packages.checkpoint
      Example: generate | kvctl import - --format tsv --in-flight 128
      """)

  @Argument(help: "The file; - is standard input.")
  var file: String
  @Option(name: .long, help: "jsonl or tsv.")
  var format: EntryFormat?
  @Option(name: .long, help: ArgumentHelp("Puts under way at once, 1 to 4096.", valueName: "count"))
  var inFlight = 64
  @Option(name: .long, help: ArgumentHelp("Where it is noted how far it has come.", valueName: "file"))
  var checkpoint: String?
  @Option(name: .customShort("w"), help: "So many owners must have each durably.")
  var w: Int?
  @Option(name: .long, help: "one, quorum (default) or all owners must have each durably.")
  var consistency: String?
  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) {
    _ = try Consistency.of(consistency, count: w, flag: "-w")
    guard (1...4_096).contains(inFlight) else { throw .usage("--in-flight \(inFlight): give 1 to 4096") }
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    var lines = try LineReader(path: file)
    defer { lines.finish() }
    let importer = Importer(
      session: session, consistency: try Consistency.of(consistency, count: w, flag: "-w"), inFlight: inFlight,
      checkpoint: checkpoint.map { Checkpoint(path: $0, subject: file) })
    return try await importer.run(&lines, path: file, format: format)
  }
}

extension EntryFormat: ExpressibleByArgument {}

/// Puts the lines of a file, many at once.
struct Importer {
  let session: Session
  let consistency: KVConsistency
  let inFlight: Int
  let checkpoint: Checkpoint?

  /// What became of one line.
  enum Fate: Sendable {
    case written(line: Int)
    case failed(line: Int, KVError)
  }

  func run(
    _ lines: inout LineReader, path: String, format: EntryFormat?
  ) async throws(CommandFailure) -> Report {
    var checkpoint = checkpoint
    var tally = ImportTally(clock: .now, linesDone: try checkpoint?.linesDone() ?? 0)
    var format = format
    var underWay = 0
    do {
      try await withThrowingTaskGroup(of: Fate.self) { group in
        while tally.stop == nil, !Task.isCancelled, let line = try lines.next() {
          tally.lines += 1
          if tally.lines <= tally.resumedAt { continue }
          tally.show(lines)
          try checkpoint?.note(tally.watermark.done)
          guard case .bytes(let bytes) = line else {
            tally.onBroken("it is longer than \(LineReader.bytesMax) bytes")
            continue
          }
          if bytes.isEmpty {
            tally.watermark.settle(tally.lines)
            continue
          }
          let form = format ?? EntryFormat.guess(path: path, firstLine: bytes)
          format = form
          guard let entry = tally.entry(bytes, form) else { continue }
          if underWay == inFlight, let fate = try await group.next() { tally.onFate(fate) } else { underWay += 1 }
          let number = tally.lines
          group.addTask { await put(entry, line: number) }
        }
        while let fate = try await group.next() { tally.onFate(fate) }
      }
    } catch let failure as CommandFailure { throw failure } catch {
      throw CommandFailure(.error, "io", "the import ended: \(error)")
    }
    tally.progress.clear()
    try checkpoint?.finish(tally.watermark.done, isWhole: tally.watermark.done == tally.lines && !Task.isCancelled)
    return tally.report(goesOn: checkpoint != nil)
  }

  /// What failed without effect and may pass is tried again, as long as one call may take.
  private func put(_ entry: Entry, line: Int) async -> Fate {
    let end = ContinuousClock.now.advanced(by: session.timeout)
    var pause = Duration.milliseconds(50)
    while true {
      do throws(KVError) {
        // Each try has the whole time of a call: a short last one would end as unknown what was clearly refused.
        try await session.client.put(entry.key, entry.value, ttl: entry.ttl, consistency: consistency)
        return .written(line: line)
      } catch {
        let wait = error.retryAfter ?? pause
        guard error.isRetryable, ContinuousClock.now.advanced(by: wait) < end else { return .failed(line: line, error) }
        do { try await Task.sleep(for: wait) } catch { return .failed(line: line, KVError(.cancelled, "interrupted")) }
        pause = min(pause * 2, .seconds(1))
      }
    }
  }
}

/// What an import has come to.
struct ImportTally {
  var lines = 0
  /// Lines that an import before this one has done.
  let resumedAt: Int
  var watermark: LineWatermark
  private(set) var written = 0
  private(set) var broken = 0
  private(set) var failed = 0
  private(set) var unknown = 0
  /// Those of the failed and unknown ones that Ctrl-C ended.
  private(set) var interrupted = 0
  /// Why reading on makes no sense, and at which line.
  private(set) var stop: CommandFailure?
  private(set) var failures: [CommandFailure] = []
  var progress = Progress()
  private let start: ContinuousClock.Instant

  /// Lines told of one by one; the rest are counted.
  static let toldMax = 100

  init(clock start: ContinuousClock.Instant, linesDone: Int = 0) {
    self.start = start
    resumedAt = linesDone
    watermark = LineWatermark(done: linesDone)
  }

  /// The bar, every 256 lines.
  mutating func show(_ reader: LineReader) {
    guard lines % 256 == 0 else { return }
    progress.show(
      ProgressBar.line(reader.bytesRead, of: reader.size, "\(Units.count(written)) written, \(Units.count(rate))/s"))
  }

  /// The entry of the current line; nil when it is broken, which is told and counted.
  mutating func entry(_ bytes: [UInt8], _ format: EntryFormat) -> Entry? {
    do { return try format.entry(bytes) } catch {
      onBroken(error.message)
      return nil
    }
  }

  mutating func onBroken(_ message: String) {
    broken += 1
    watermark.settle(lines)
    tell(CommandFailure(.error, "broken_line", "line \(lines): \(message)"))
  }

  mutating func onFate(_ fate: Importer.Fate) {
    switch fate {
    case .written(let line):
      written += 1
      watermark.settle(line)
    case .failed(let line, let error):
      if error.outcome == .unknown { unknown += 1 } else { failed += 1 }
      // Whoever interrupts knows why these failed.
      guard error.code != .cancelled else {
        interrupted += 1
        return
      }
      var failure = CommandFailure(error)
      failure.message = "line \(line): \(failure.message)"
      tell(failure)
      // These were tried for as long as a call may take, or were refused for every line alike.
      let everyLine: Set<KVError.Code> = [
        .unreachable, .unavailable, .refused, .protocolMismatch, .notMember, .otherCluster, .invalidQuorum, .notRunning,
        .timedOut, .connectionLost,
      ]
      if stop == nil, everyLine.contains(error.code) { stop = failure }
    }
  }

  private mutating func tell(_ failure: CommandFailure) {
    if failures.count < ImportTally.toldMax { failures.append(failure) }
  }

  private var rate: Int { Int(Double(written) / max(0.001, start.duration(to: .now) / .seconds(1))) }

  /// `goesOn`: there is a checkpoint, from which the same command goes on.
  func report(goesOn: Bool) -> Report {
    let elapsed = start.duration(to: .now)
    var report = Report(
      .object([
        ("lines", .integer(lines)), ("resumed_at", .integer(min(resumedAt, lines))), ("written", .integer(written)),
        ("broken", .integer(broken)),
        ("failed", .integer(failed)), ("unknown", .integer(unknown)),
        ("elapsed_ms", .integer(Int64(elapsed / .milliseconds(1)))), ("stopped_early", .bool(stop != nil)),
      ]))
    report.failures = failures
    let untold = broken + failed + unknown - interrupted - failures.count
    if untold > 0 { report.notes.append("… and \(untold) more lines") }
    if interrupted > 0 { report.failures.append(.interrupted(behind: watermark.done, goesOn: goesOn)) }
    var summary = "\(Units.plural(written, "key")) written from \(Units.plural(lines, "line")) in "
    summary += "\(Units.span(ms: UInt64(elapsed / .milliseconds(1)))) (\(Units.count(rate))/s)"
    if resumedAt > 0 { summary += "; \(Units.plural(min(resumedAt, lines), "line")) were done before" }
    if broken > 0 { summary += "; \(Units.plural(broken, "broken line")) skipped" }
    if failed > 0 { summary += "; \(Units.count(failed)) not written" }
    if unknown > 0 { summary += "; \(Units.count(unknown)) with unknown outcome" }
    if stop != nil { summary += "; stopped after line \(lines): no line before it that is not told above is missing" }
    report.lines = [summary]
    report.exit = unknown > 0 ? .outcomeUnknown : stop?.exit ?? (broken + failed > 0 ? .error : .done)
    return report
  }
}
