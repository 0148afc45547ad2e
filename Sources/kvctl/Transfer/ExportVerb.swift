import ArgumentParser
import KVClient

struct ExportVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Prints listed keys and their values, for import to read back.",
    discussion: """
      Exports the keys that --keys lists, one a line: a key (with \\t \\n \\r \\\\ and \\xHH; what follows a tab is
      ignored), or JSON Lines with "key" and "sort_key", so that an import file serves as a list of its own keys.
      Exporting a whole cluster comes with scan, which this release does not have.

      Of concurrent versions the newest is exported. An expiry is written as the time that is left. Lines come in the
      order of the list. Absent keys are counted, and make the exit code 5 when they are all.

      With --checkpoint the same command, given again after an interruption, goes on behind the keys that were written:
      append its output. The keys of the last moment may then stand there twice, which import does not mind.

      Example: kvctl export --keys packages.jsonl > copy.jsonl
      Example: kvctl export --keys packages.jsonl --checkpoint copy.checkpoint >> copy.jsonl
      Example: cut -f1 table.tsv | kvctl export --keys - --format tsv
      """)

  @Option(name: .long, help: ArgumentHelp("The list of keys; - is standard input.", valueName: "file"))
  var keys: String
  @Option(name: .long, help: "What to write: jsonl (default) or tsv.")
  var format: EntryFormat = .jsonl
  @Option(name: .long, help: "What the list is: jsonl or tsv; else told by its name or its first byte.")
  var keysFormat: EntryFormat?
  @Option(name: .long, help: ArgumentHelp("Gets under way at once, 1 to 4096.", valueName: "count"))
  var inFlight = 64
  @Option(name: .long, help: ArgumentHelp("Where it is noted how far it has come.", valueName: "file"))
  var checkpoint: String?
  @Option(name: .long, help: "one, quorum (default) or all owners must answer.")
  var consistency: String?
  @Option(name: .customShort("r"), help: "So many owners must answer.")
  var r: Int?
  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) {
    _ = try Consistency.of(consistency, count: r, flag: "-r")
    guard (1...4_096).contains(inFlight) else { throw .usage("--in-flight \(inFlight): give 1 to 4096") }
    if global.format != .table {
      throw .usage("export writes its own formats; use --format jsonl or tsv in place of -o and --json")
    }
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    var lines = try LineReader(path: keys)
    defer { lines.finish() }
    let exporter = Exporter(
      session: session, consistency: try Consistency.of(consistency, count: r, flag: "-r"), inFlight: inFlight,
      format: format, checkpoint: checkpoint.map { Checkpoint(path: $0, subject: keys) })
    return try await exporter.run(&lines, path: keys, keysFormat: keysFormat)
  }
}

/// Reads listed keys, many at once, and writes them in the order of the list.
struct Exporter {
  let session: Session
  let consistency: KVConsistency
  let inFlight: Int
  let format: EntryFormat
  let checkpoint: Checkpoint?

  private enum Fate: Sendable {
    case line([UInt8], siblings: Int)
    case absent
    case broken(String)
    case failed(KVError)
  }

  fileprivate struct Tally {
    var exported = 0
    var absent = 0
    var withSiblings = 0
    var failures: [CommandFailure] = []
    var troubles = 0
    /// Reads that Ctrl-C ended.
    var interrupted = 0
    var exit = ShellStatus.done

    /// The first trouble decides the exit code.
    mutating func note(_ failure: CommandFailure) {
      troubles += 1
      if failures.count < ImportTally.toldMax { failures.append(failure) }
      if exit == .done { exit = failure.exit }
    }
  }

  func run(
    _ lines: inout LineReader, path: String, keysFormat: EntryFormat?
  ) async throws(CommandFailure) -> Report {
    var checkpoint = checkpoint
    var tally = Tally()
    let resumeAt = try checkpoint?.linesDone() ?? 0
    var (done, progress) = (resumeAt, Progress())
    var keysFormat = keysFormat
    var number = 0
    var isAtEnd = false
    // A batch is read, fetched at once, written in order: the output keeps the order of the list in bounded memory.
    while !isAtEnd, !Task.isCancelled, tally.exit != .cannotConnect {
      var batch: [(line: Int, key: Result<KVKey, LineFault>)] = []
      while batch.count < inFlight {
        guard let line = try lines.next() else {
          isAtEnd = true
          break
        }
        number += 1
        if number <= resumeAt { continue }
        guard case .bytes(let bytes) = line else {
          batch.append((number, .failure(LineFault("it is longer than \(LineReader.bytesMax) bytes"))))
          continue
        }
        if bytes.isEmpty { continue }
        let form = keysFormat ?? EntryFormat.guess(path: path, firstLine: bytes)
        keysFormat = form
        batch.append((number, Result { () throws(LineFault) in try form.key(bytes) }))
      }
      await export(batch, &tally)
      // What failed is tried again by the command that goes on.
      if tally.exit == .done, !Task.isCancelled {
        done = max(done, number)
        try checkpoint?.note(done)
      }
      progress.show(ProgressBar.line(lines.bytesRead, of: lines.size, "\(Units.count(tally.exported)) exported"))
    }
    progress.clear()
    try checkpoint?.finish(done, isWhole: isAtEnd && done == number)
    return report(tally, done)
  }

  private func export(_ batch: [(line: Int, key: Result<KVKey, LineFault>)], _ tally: inout Tally) async {
    let fates = await withTaskGroup(of: (Int, Fate).self) { group in
      for (place, entry) in batch.enumerated() {
        group.addTask {
          switch entry.key {
          case .success(let key): (place, await fetch(key))
          case .failure(let fault): (place, .broken(fault.message))
          }
        }
      }
      var fates = [Fate](repeating: .absent, count: batch.count)
      for await (place, fate) in group { fates[place] = fate }
      return fates
    }
    var output: [UInt8] = []
    for (entry, fate) in zip(batch, fates) {
      switch fate {
      case .line(let line, let siblings):
        tally.exported += 1
        if siblings > 1 { tally.withSiblings += 1 }
        output += line
        output.append(UInt8(ascii: "\n"))
      case .absent: tally.absent += 1
      case .broken(let message): tally.note(CommandFailure(.error, "broken_line", "line \(entry.line): \(message)"))
      case .failed(let error) where error.code == .cancelled:
        tally.interrupted += 1
      case .failed(let error):
        var failure = CommandFailure(error)
        failure.message = "line \(entry.line): \(failure.message)"
        tally.note(failure)
      }
    }
    Output.bytes(output)
  }

  private func fetch(_ key: KVKey) async -> Fate {
    do throws(KVError) {
      let now = WallClock.nowMs()
      guard let read = try await session.client.get(key, consistency: consistency) else { return .absent }
      let expiry = read.versions.first { $0.value == read.value }?.expiresAtMs
      let ttl = expiry.map { Duration.milliseconds($0 > now ? Int64($0 - now) : 1) }
      do throws(LineFault) {
        return .line(try format.line(Entry(key: key, value: read.value, ttl: ttl)), siblings: read.versions.count)
      } catch { return .broken(error.message) }
    } catch { return .failed(error) }
  }

  private func report(_ tally: Tally, _ done: Int) -> Report {
    var report = Report(.null)
    var summary = "\(Units.plural(tally.exported, "key")) exported"
    if tally.absent > 0 { summary += ", \(Units.count(tally.absent)) absent" }
    if tally.withSiblings > 0 {
      summary += ", \(Units.count(tally.withSiblings)) with concurrent versions (newest taken)"
    }
    if tally.troubles > 0 { summary += ", \(Units.count(tally.troubles)) not exported" }
    report.notes = [summary]
    report.failures = tally.failures
    if tally.interrupted > 0 {
      report.failures.append(.interrupted(behind: done, goesOn: checkpoint != nil))
      report.exit = .interrupted
      return report
    }
    report.exit = tally.exit == .done && tally.exported == 0 && tally.absent > 0 ? .notFound : tally.exit
    return report
  }
}
