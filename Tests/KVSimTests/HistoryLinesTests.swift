import ArgumentParser
import Foundation
import KVSimulator
import Testing

@testable import kvsim

typealias Operation = KVSimulator.Operation

@Suite struct HistoryLinesTests {
  static let head = #"{"history":1,"copies":3,"read_quorum":2,"write_quorum":2,"keys":["a","b \"c\""]}"#
  static let put =
    #"{"op":1,"client":4,"kind":"put","key":1,"quorum":2,"ttl_ms":50,"invoke_ns":10,"outcome":"unknown"}"#
  static let answeredPut =
    #"{"op":1,"client":4,"kind":"put","key":1,"quorum":2,"ttl_ms":50,"invoke_ns":10,"return_ns":20,"outcome":"ok"}"#
  static let get =
    #"{"op":2,"client":0,"kind":"get","key":1,"quorum":3,"invoke_ns":5,"return_ns":30,"outcome":"ok","seen":[1]}"#
  static let delete =
    #"{"op":3,"client":0,"kind":"delete","key":0,"quorum":2,"context":2,"invoke_ns":40,"return_ns":41,"#
    + #""outcome":"rejected","error":"timed_out","attempts":2}"#

  private static func read(_ lines: [String], end: String = "\n") throws(HistoryLines.Fault) -> History {
    try HistoryLines.read(Data((lines.joined(separator: "\n") + end).utf8))
  }

  @Test func `what is written is read, by invocation`() throws {
    let lines = [Self.head, Self.put, Self.get, Self.delete]
    let history = try Self.read(lines)
    #expect(history.keys == ["a", #"b "c""#])
    #expect(history.copies == 3 && history.readQuorum == 2 && history.writeQuorum == 2)
    #expect(history.operations.map(\.number) == [2, 1, 3])
    let written = [HistoryLines.head(history)] + [1, 0, 2].map { HistoryLines.line(history.operations[$0]) }
    #expect(written == lines)
    #expect(history.operations[0].seen == [1] && history.operations[1].ttlMs == 50)
    #expect(history.operations[2].context == 2 && history.operations[2].attempts == 2)
  }

  @Test func `of lines with one number the last counts`() throws {
    let history = try Self.read([Self.head, Self.put, Self.get, Self.answeredPut])
    #expect(history.operations.count == 2)
    #expect(history.operations[1].outcome == .ok && history.operations[1].returnedAt == 20)
  }

  @Test func `a line that a killed load had begun is left out`() throws {
    for cut in 1..<Self.get.utf8.count {
      let history = try Self.read([Self.head, Self.put, String(Self.get.prefix(cut))], end: "")
      #expect(history.operations.map(\.number) == [1])
    }
  }

  @Test func `a fault is told with its line`() {
    let faults: [(String, String)] = [
      ("nonsense", "no JSON, or a number out of range"), ("{}", "'op' is missing"),
      (Self.get.replacing(#""key":1"#, with: #""key":"x""#), "'key' has a value of another kind"),
      (Self.get.replacing(#""key":1"#, with: #""key":2"#), "there is no key 2"),
      (Self.get.replacing(#""get""#, with: #""scan""#), "kind 'scan'"),
      (Self.get.replacing(#""ok""#, with: #""fine""#), "outcome 'fine'"),
      (Self.get.replacing(#""quorum":3"#, with: #""quorum":4"#), "a quorum of 4"),
      (Self.get.replacing(#""op":2"#, with: #""op":0"#), "operations count from 1"),
      (Self.get.replacing(#""return_ns":30"#, with: #""return_ns":3"#), "it returned before its invocation"),
      (Self.get.replacing(#""return_ns":30,"#, with: ""), "it is ok and never returned"),
      (Self.get.replacing("get", with: "put"), "a put sees nothing"),
      (Self.get.replacing(#""invoke_ns":5"#, with: #""invoke_ns":-5"#), "'invoke_ns' has a value of another kind"),
    ]
    for (line, reason) in faults {
      do throws(HistoryLines.Fault) {
        _ = try Self.read([Self.head, Self.put, line, Self.delete])
        Issue.record("read: \(line)")
      } catch {
        #expect(error.line == 3)
        #expect(error.reason == reason || error.reason.hasPrefix("no JSON"), "\(line): \(error)")
      }
    }
    for head in ["", "{}", Self.head.replacing(#""history":1"#, with: #""history":2"#)] {
      #expect(throws: HistoryLines.Fault.self) { try Self.read([head, Self.put]) }
    }
  }
}

@Suite struct CheckTests {
  private static func operation(
    _ number: Int, _ kind: Operation.Kind, _ times: (UInt64, UInt64), seen: [Int] = []
  ) -> Operation {
    var operation = Operation(
      number: number, client: 0, kind: kind, key: 0, quorum: 2, invokedAt: times.0 * 1_000_000_000)
    operation.returnedAt = times.1 * 1_000_000_000
    operation.outcome = .ok
    operation.seen = seen
    return operation
  }

  private static func file(_ history: History) throws -> String {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("check-\(UUID().uuidString)").path
    let lines = [HistoryLines.head(history)] + history.operations.map(HistoryLines.line)
    try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: path))
    return path
  }

  private static func history(seen: [Int]) -> History {
    History(
      copies: 3, readQuorum: 2, writeQuorum: 2, keys: ["a"],
      operations: [operation(1, .put, (10, 11)), operation(2, .get, (15, 16), seen: seen)])
  }

  @Test func `a history that holds ends with 0, a lost write with 1, a malformed file with 2`() throws {
    let (good, bad) = (try Self.file(Self.history(seen: [1])), try Self.file(Self.history(seen: [])))
    let malformed = try Self.file(History(copies: 3, readQuorum: 9, writeQuorum: 2))
    defer { for path in [good, bad, malformed] { try? FileManager.default.removeItem(atPath: path) } }
    try CheckVerb.parse([good]).run()
    #expect(throws: ExitCode(1)) { try CheckVerb.parse([good, bad]).run() }
    #expect(throws: ExitCode(1)) { try CheckVerb.parse([bad, "--json"]).run() }
    #expect(throws: ExitCode(2)) { try CheckVerb.parse([malformed]).run() }
    #expect(throws: ExitCode(2)) { try CheckVerb.parse(["/nowhere/history.jsonl"]).run() }
  }

  @Test func `a violation is shown with the lines of its operations`() {
    let history = Self.history(seen: [])
    let lines = CheckReport(history: history, violations: HistoryChecker.check(history)).lines
    #expect(lines.contains { $0.hasPrefix("NLA: ") })
    #expect(Array(lines.suffix(2)) == history.operations.map { "  " + HistoryLines.line($0) })
  }

  @Test func `the stretches in which all that was asked failed or waited are told`() {
    var history = Self.history(seen: [1])
    history.operations.append(Self.operation(3, .get, (16, 16)))
    history.operations.append(Self.operation(4, .get, (17, 30)))
    history.operations[3].outcome = .rejected
    let report = CheckReport(history: history, violations: [])
    let seconds = report.outages.map { [$0.from / 1_000_000_000, $0.until / 1_000_000_000] }
    #expect(seconds == [[0, 1], [5, 6], [7, 20]])
    #expect(report.length == 20_000_000_000)
  }
}
