import ArgumentParser
import KVModel

@testable import kvctl

/// kvctl's verbs in this process, from the command line to the report: all but the printing, at a tenth of a process'
/// cost. What becomes of a report on stdout, stderr and in the exit code is for the tests of the program.
struct KvctlInside {
  var endpoints: [String]

  struct Ended {
    var report: Report
    /// Of `--json`: the document.
    var document: JSON

    var status: ShellStatus { report.exit }
    var text: String { report.lines.map { $0 + "\n" }.joined() }
    var notes: String { report.notes.map { $0 + "\n" }.joined() }
  }

  func callAsFunction(_ arguments: String...) async -> Ended { await self(arguments) }

  func callAsFunction(_ arguments: [String]) async -> Ended {
    do {
      guard var verb = try Kvctl.parseAsRoot(LeadingOptions.moved(arguments)) as? any Verb else {
        return Self.ended(Report(.usage("\(arguments) is no verb")), nil)
      }
      return await Self.run(&verb, endpoints)
    } catch {
      // As the program has it: whatever the parser refuses is a wrong usage.
      return Self.ended(Report(.usage(Kvctl.message(for: error))), nil)
    }
  }

  private static func run(_ verb: inout some Verb, _ endpoints: [String]) async -> Ended {
    do throws(CommandFailure) {
      let addresses = try verb.ready(environment: ["KVCTL_ENDPOINTS": endpoints.joined(separator: ",")])
      let (report, identity) = await verb.connected(addresses) { [verb] session in await verb.answer(session) }
      return ended(report, identity)
    } catch { return ended(Report(error), nil) }
  }

  private static func ended(_ report: Report, _ identity: ClusterIdentity?) -> Ended {
    Ended(report: report, document: report.envelope(identity))
  }
}
