import ArgumentParser
import Foundation
import KVSimulator

/// Holds histories against the promises.
struct CheckVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Checks histories of real clusters, as 'kvsim load' writes them.",
    discussion: """
      The same checker as the simulator's. It looks at nothing but what clients saw.

      Exit codes: 0 all held, 1 something did not, 2 usage, or a file that cannot be read.

      Example: kvsim check /tmp/history.jsonl
      """)

  @Argument(help: "Histories, as JSON Lines.") var files: [String]
  @Flag(help: "Prints JSON.") var json = false
  @Option(help: "Violations to show of each history, at most.") var limit = 16
  @Option(
    help: """
      No node works on a write for longer than this after its invocation, milliseconds: the longest deadline and the \
      longest pause of a process. The more is known, the more the check sees.
      """)
  var writeLimitMs: UInt64?

  func run() throws {
    do { try check() } catch let failure as Failure {
      FileHandle.standardError.write(Data("kvsim check: \(failure.text)\n".utf8))
      throw ExitCode(2)
    }
  }

  private func check() throws {
    var isSafe = true
    var reports: [(file: String, report: CheckReport)] = []
    for file in files {
      let history = try history(file)
      let bounds = HistoryChecker.Bounds(deadlineMs: writeLimitMs)
      let report = CheckReport(
        history: history, violations: HistoryChecker.check(history, bounds: bounds, limit: limit))
      if !report.isSafe { isSafe = false }
      reports.append((file, report))
    }
    if json {
      print(CheckReport.json(reports))
    } else {
      for (file, report) in reports {
        if files.count > 1 { print("\(file):") }
        for line in report.lines { print(line) }
      }
    }
    if !isSafe { throw ExitCode(1) }
  }

  private func history(_ file: String) throws -> History {
    guard let data = FileManager.default.contents(atPath: file) else { throw Failure("cannot read \(file)") }
    do throws(HistoryLines.Fault) { return try HistoryLines.read(data) } catch { throw Failure("\(file): \(error)") }
  }

  private struct Failure: Error {
    var text: String

    init(_ text: String) { self.text = text }
  }
}

extension CheckReport {
  private struct Document: Encodable {
    struct File: Encodable {
      var file: String
      var operations: [String: [String: Int]]
      var seconds: Double
      var outagesMs: [[UInt64]]
      var violations: [Shown]
    }

    struct Shown: Encodable {
      var invariant: String
      var message: String
      var operations: [Int]
    }

    var schema = "kvsim-check/1"
    var files: [File]
  }

  static func json(_ reports: [(file: String, report: CheckReport)]) -> String {
    JSONText.make(
      Document(
        files: reports.map { file, report in
          Document.File(
            file: file, operations: OutcomeTable.names(report.outcomes),
            seconds: Double(report.length / 100_000_000) / 10,
            outagesMs: report.outages.map { [$0.from / 1_000_000, $0.until / 1_000_000] },
            violations: report.violations.map {
              Document.Shown(invariant: $0.invariant.rawValue, message: $0.message, operations: $0.operations)
            })
        }))
  }
}
