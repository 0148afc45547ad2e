import ArgumentParser
import Dispatch
import Foundation
import Synchronization

/// The root of the command line.
struct Kvctl: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kvctl", abstract: "Talks to a RingKV cluster.",
    discussion: """
      Nodes are found through --endpoints, else through the environment's KVCTL_ENDPOINTS, else at 127.0.0.1:7420.

      Exit codes: 0 done, 1 error, 2 usage, 3 cannot connect, 5 not found, 6 conflict, 7 quorum not reachable,
      8 outcome unknown, 9 degraded, 10 refused as unsafe, 124 timed out, 130 interrupted.

      Example: kvctl put greeting hello && kvctl get greeting
      """,
    version: "kvctl 1",
    subcommands: [
      GetVerb.self, PutVerb.self, DeleteVerb.self, ExplainVerb.self, ImportVerb.self, ExportVerb.self,
      StatusVerb.self, HealthVerb.self, DoctorVerb.self, RingVerbs.self, ClusterVerbs.self,
      HintsVerbs.self, RepairVerbs.self, TombstonesVerbs.self, ConfigVerbs.self, TopVerb.self, BenchVerb.self,
    ])

  /// Verbs that people look for and that come later, and what to do until then.
  static let absentVerbs = [
    "scan": "keys cannot be listed yet; 'kvctl export --keys FILE' reads the keys that FILE lists"
  ]
}

@main
enum Program {
  static func main() async {
    // A reader that goes away is told by write(2), not by a signal.
    signal(SIGPIPE, SIG_IGN)
    let work = Task { await perform(LeadingOptions.moved(Array(CommandLine.arguments.dropFirst()))) }
    let (interrupt, source) = Interrupt.watch { work.cancel() }
    let status = await work.value
    source.cancel()
    exit(interrupt.wasSeen ? ShellStatus.interrupted.rawValue : status)
  }

  private static func perform(_ arguments: [String]) async -> Int32 {
    do {
      var command = try Kvctl.parseAsRoot(arguments)
      if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
      return ShellStatus.done.rawValue
    } catch { return status(of: error, arguments) }
  }

  /// ArgumentParser's own errors are told in kvctl's way: one line, and 2 for a usage that it does not understand.
  private static func status(of error: any Error, _ arguments: [String]) -> Int32 {
    if let code = error as? ExitCode { return code.rawValue }
    let text = Kvctl.fullMessage(for: error)
    guard Kvctl.exitCode(for: error) != .success else {
      Output.line(text)
      return ShellStatus.done.rawValue
    }
    if let word = arguments.first(where: { !$0.hasPrefix("-") }), let advice = Kvctl.absentVerbs[word] {
      Output.note("kvctl: error: there is no \(word) in this release: \(advice)")
      return ShellStatus.usage.rawValue
    }
    let verb = arguments.prefix { !$0.hasPrefix("-") }.prefix(2).joined(separator: " ")
    Output.note("kvctl: error: \(Kvctl.message(for: error))")
    Output.note(usageHint(text, verb))
    return ShellStatus.usage.rawValue
  }

  private static func usageHint(_ text: String, _ verb: String) -> String {
    let usage = text.split(separator: "\n").first { $0.hasPrefix("Usage:") }
    return usage.map(String.init) ?? "see 'kvctl \(verb) --help'"
  }
}

/// Watches for Ctrl-C: the first lets the verb end in good order, a second ends the process.
final class Interrupt: Sendable {
  private let seen = Atomic<Int>(0)

  var wasSeen: Bool { seen.load(ordering: .acquiring) > 0 }

  /// Not on an actor: Dispatch runs the handler on its own queue.
  nonisolated static func watch(_ onFirst: @escaping @Sendable () -> Void) -> (Interrupt, any DispatchSourceSignal) {
    let interrupt = Interrupt()
    signal(SIGINT, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: DispatchQueue(label: "kvctl.interrupt"))
    source.setEventHandler { interrupt.onSignal(onFirst) }
    source.activate()
    return (interrupt, source)
  }

  private func onSignal(_ onFirst: () -> Void) {
    guard seen.add(1, ordering: .acquiringAndReleasing).newValue == 1 else { exit(ShellStatus.interrupted.rawValue) }
    onFirst()
    // A read from a terminal or a pipe hears of no cancellation.
    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(1)) { exit(ShellStatus.interrupted.rawValue) }
  }
}
