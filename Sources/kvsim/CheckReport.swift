import KVSimulator

/// What is to be said of a history: how much of it there is, when nothing worked, and what did not hold.
struct CheckReport {
  /// A stretch in which operations were under way and none succeeded, nanoseconds after the first invocation.
  struct Outage: Equatable {
    var from: UInt64
    var until: UInt64

    var length: UInt64 { until - from }
  }

  /// Shorter ones are deadlines and restarts of single operations.
  static let outageMin: UInt64 = 1_000_000_000

  let history: History
  let violations: [Violation]

  var outcomes: [Operation.Kind: [Operation.Outcome: Int]] {
    history.operations.reduce(into: [:]) { $0[$1.kind, default: [:]][$1.outcome, default: 0] += 1 }
  }

  private var begin: UInt64 { history.operations.map(\.invokedAt).min() ?? 0 }

  /// From the first invocation to the last return, nanoseconds.
  var length: UInt64 {
    let end = history.operations.map { max($0.invokedAt, $0.returnedAt ?? 0) }.max() ?? 0
    return end - begin
  }

  var outages: [Outage] {
    let begin = begin
    var outages: [Outage] = []
    var last: UInt64 = 0
    let successes = history.operations.filter { $0.outcome == .ok }.compactMap(\.returnedAt).map { $0 - begin }.sorted()
    for at in successes + [length] {
      if at - last >= CheckReport.outageMin, let from = beganAsking(between: last, and: at),
        at - from >= CheckReport.outageMin
      {
        outages.append(Outage(from: from, until: at))
      }
      last = at
    }
    return outages
  }

  /// Since when something was under way, of a stretch.
  private func beganAsking(between from: UInt64, and until: UInt64) -> UInt64? {
    let begin = begin
    let asked = history.operations.filter {
      $0.invokedAt - begin < until && ($0.returnedAt ?? $0.invokedAt) - begin > from
    }
    return asked.map { max(from, $0.invokedAt - begin) }.min()
  }

  /// Every violation of safety; the others make a history no less true.
  var isSafe: Bool { !violations.contains { $0.invariant.isSafety } }

  // MARK: For people

  var lines: [String] {
    let clients = Set(history.operations.map(\.client)).count
    var lines = [
      "\(history.operations.count) operations of \(clients) clients on \(history.keys.count) keys in "
        + "\(CheckReport.seconds(length)) s; N=\(history.copies) R=\(history.readQuorum) W=\(history.writeQuorum)"
    ]
    lines += OutcomeTable.lines(outcomes)
    lines += outageLines
    if violations.isEmpty { lines.append("held: no violation") }
    for violation in violations { lines += CheckReport.lines(violation, history) }
    return lines
  }

  private var outageLines: [String] {
    let outages = outages
    if outages.isEmpty { return ["at no time did nothing succeed for a second"] }
    let whole = outages.reduce(0) { $0 + $1.length }
    return [
      "nothing succeeded for \(CheckReport.seconds(whole)) s in \(outages.count) stretches of a second or more: "
        + outages.map { "\(CheckReport.seconds($0.from))–\(CheckReport.seconds($0.until)) s" }.joined(separator: ", ")
    ]
  }

  /// The violation, and the lines of the operations that show it.
  private static func lines(_ violation: Violation, _ history: History) -> [String] {
    let concerned = history.operations.filter { violation.operations.contains($0.number) }
    let place = Dictionary(violation.operations.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    return ["\(violation)"]
      + concerned.sorted { place[$0.number, default: 0] < place[$1.number, default: 0] }.map {
        "  " + HistoryLines.line($0)
      }
  }

  private static func seconds(_ nanoseconds: UInt64) -> String {
    let tenths = (nanoseconds + 50_000_000) / 100_000_000
    return "\(tenths / 10).\(tenths % 10)"
  }
}
