import ArgumentParser
import Foundation
import KVClient
import KVModel
import Logging

/// What a verb works with: a running client, the endpoints, and how to write.
struct Session: Sendable {
  let client: KVClient
  let endpoints: [Address]
  let timeout: Duration
  let format: OutputFormat
  let colour: Colour
  /// Do not ask.
  let isYes: Bool

  var admin: KVAdmin { client.admin }

  /// What is said while a verb runs: on stderr, so that stdout holds nothing but results.
  func say(_ line: String) { Output.note(line) }
}

/// A verb of kvctl: arguments in, report out.
protocol Verb: AsyncParsableCommand {
  var global: GlobalOptions { get }
  /// What can be checked and read before anything is connected.
  mutating func prepare() throws(CommandFailure)
  func execute(_ session: Session) async throws(CommandFailure) -> Report
}

extension Verb {
  mutating func prepare() throws(CommandFailure) {}

  mutating func run() async throws {
    var report: Report
    var identity: (cluster: ClusterID, layoutVersion: UInt32)?
    do throws(CommandFailure) {
      try prepare()
      let endpoints = try global.addresses(environment: ProcessInfo.processInfo.environment)
      let timeout = try global.limit()
      (report, identity) = try await connected(endpoints, timeout)
    } catch {
      report = Report(.null)
      report.failures = [error]
      report.exit = error.exit
    }
    Output.write(report, global.format, identity)
    if report.exit != .done { throw ExitCode(report.exit.rawValue) }
  }

  private func connected(
    _ endpoints: [Address], _ timeout: Duration
  ) async throws(CommandFailure) -> (Report, (cluster: ClusterID, layoutVersion: UInt32)?) {
    var configuration = KVClientConfiguration(endpoints: endpoints.map(\.description))
    configuration.deadline = timeout
    configuration.connectTimeout = min(timeout, .seconds(2))
    configuration.agent = "kvctl/1"
    let logger = Logger(label: "kvctl") { _ in SwiftLogNoOpLogHandler() }
    return try await withKVClient(configuration, logger: logger) { client throws(CommandFailure) in
      let session = Session(
        client: client, endpoints: endpoints, timeout: timeout, format: global.format,
        colour: Colour(isOn: Terminal.hasColour(noColor: global.noColor)), isYes: global.yes)
      let report = try await execute(session)
      return (report, await client.admin.known())
    }
  }
}

/// Calls a client and names the failure as kvctl does.
func asking<Value>(
  node: String? = nil, isolation: isolated (any Swift.Actor)? = #isolation,
  _ call: () async throws(KVError) -> Value
) async throws(CommandFailure) -> Value {
  do { return try await call() } catch { throw CommandFailure(error, node: node) }
}
