import Foundation
import KVClient
import KVSimulator

/// What a load did.
struct LoadSummary {
  var plan: LoadPlan
  var history: String
  var seconds: Double
  var counts: LoadJournal.Counts
  /// Keys that could be read from all owners in the end.
  var finalReads: Int
  var wasStopped: Bool

  var isComplete: Bool { wasStopped || plan.finalSeconds == 0 || finalReads == plan.keys.count }

  var lines: [String] {
    var lines = OutcomeTable.lines(counts.outcomes)
    if !counts.errors.isEmpty {
      lines.append("errors: " + OutcomeTable.sorted(counts.errors).map { "\($0.0) \($0.1)" }.joined(separator: ", "))
    }
    if plan.finalSeconds > 0, !wasStopped {
      lines.append("\(finalReads) of \(plan.keys.count) keys were read from all of their owners in the end")
    }
    lines.append("history: \(history)")
    return lines
  }

  private struct Document: Encodable {
    var schema = "kvsim-load/1"
    var seed: String
    var seconds: Double
    var clients: Int
    var keys: Int
    var operations: [String: [String: Int]]
    var errors: [String: Int]
    var finalReads: Int
    var history: String
  }

  var json: String {
    JSONText.make(
      Document(
        seed: "\(plan.seed)", seconds: (seconds * 10).rounded() / 10, clients: plan.clients, keys: plan.keys.count,
        operations: OutcomeTable.names(counts.outcomes), errors: counts.errors, finalReads: finalReads,
        history: history))
  }
}

/// Operations by kind and outcome, for people.
enum OutcomeTable {
  static func lines(_ outcomes: [Operation.Kind: [Operation.Outcome: Int]]) -> [String] {
    let kinds: [Operation.Kind] = [.get, .put, .delete]
    let columns: [Operation.Outcome] = [.ok, .rejected, .unknown]
    let head = "operations" + columns.map { right($0.rawValue) }.joined()
    return [head]
      + kinds.filter { outcomes[$0] != nil }.map { kind in
        kind.rawValue.padding(toLength: 10, withPad: " ", startingAt: 0)
          + columns.map { right("\(outcomes[kind]?[$0] ?? 0)") }.joined()
      }
  }

  /// For JSON.
  static func names(_ outcomes: [Operation.Kind: [Operation.Outcome: Int]]) -> [String: [String: Int]] {
    outcomes.reduce(into: [:]) { names, kind in
      names[kind.key.rawValue] = kind.value.reduce(into: [:]) { $0[$1.key.rawValue] = $1.value }
    }
  }

  private static func right(_ text: String) -> String { String(repeating: " ", count: max(0, 10 - text.count)) + text }

  static func sorted(_ counts: [String: Int]) -> [(String, Int)] {
    counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { ($0.key, $0.value) }
  }
}

enum JSONText {
  static func make(_ document: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(document) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
  }
}

/// A line a second on stderr while a load runs: written over on a terminal, every ten seconds elsewhere.
enum LoadProgress {
  static func show(_ journal: LoadJournal, since began: UInt64) async {
    let isTerminal = isatty(STDERR_FILENO) == 1
    var before = LoadJournal.Counts()
    var second = 0
    while true {
      do { try await Task.sleep(for: .seconds(1)) } catch { break }
      second += 1
      let counts = journal.counts
      if isTerminal { write("\r\u{1b}[K\(line(second, counts, before, each: 1))") }
      if !isTerminal, second.isMultiple(of: 10) { write(line(second, counts, before, each: 10) + "\n") }
      if isTerminal || second.isMultiple(of: 10) { before = counts }
    }
    if isTerminal { write("\r\u{1b}[K") }
  }

  private static func line(
    _ second: Int, _ now: LoadJournal.Counts, _ before: LoadJournal.Counts, each seconds: Int
  ) -> String {
    "load: \(second) s, \((now.total - before.total) / seconds) operations/s; ok \(now.total(.ok)), "
      + "rejected \(now.total(.rejected)), unknown \(now.total(.unknown))"
  }

  private static func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
