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
  /// Whether its report is about the cluster at the endpoints, which JSON then names.
  var namesCluster: Bool { get }
  /// What can be checked and read before anything is connected.
  mutating func prepare() throws(CommandFailure)
  func execute(_ session: Session) async throws(CommandFailure) -> Report
}

extension Verb {
  var namesCluster: Bool { true }

  mutating func prepare() throws(CommandFailure) {}

  mutating func run() async throws {
    var report: Report
    var identity: ClusterIdentity?
    do throws(CommandFailure) {
      try prepare()
      let endpoints = try global.addresses(environment: ProcessInfo.processInfo.environment)
      (report, identity) = await connected(endpoints, try global.limit())
    } catch { report = Report(error) }
    Output.write(report, global.format, identity)
    if report.exit != .done { throw ExitCode(report.exit.rawValue) }
  }

  private func connected(_ endpoints: [Address], _ timeout: Duration) async -> (Report, ClusterIdentity?) {
    var configuration = KVClientConfiguration(endpoints: endpoints.map(\.description))
    configuration.deadline = timeout
    configuration.connectTimeout = min(timeout, .seconds(2))
    configuration.agent = "kvctl/1"
    let logger = Logger(label: "kvctl") { _ in SwiftLogNoOpLogHandler() }
    return await withKVClient(configuration, logger: logger) { client in
      let session = Session(
        client: client, endpoints: endpoints, timeout: timeout,
        colour: Colour(isOn: Terminal.hasColour(noColor: global.noColor)), isYes: global.yes)
      let report: Report
      do throws(CommandFailure) { report = try await execute(session) } catch { report = Report(error) }
      return (report, await identity(client, report))
    }
  }

  /// Of which cluster the report is; asked for where it is shown and somebody can be reached.
  private func identity(_ client: KVClient, _ report: Report) async -> ClusterIdentity? {
    guard namesCluster, global.format == .json, report.exit != .cannotConnect else { return nil }
    guard let (layout, _) = try? await client.admin.fetchLayout(deadline: .seconds(1)) else { return nil }
    return ClusterIdentity(cluster: layout.cluster, layoutVersion: layout.version)
  }
}

/// The cluster and the layout that a report was made under.
struct ClusterIdentity: Equatable {
  var cluster: ClusterID
  var layoutVersion: UInt32
}

/// Calls a client and names the failure as kvctl does.
func asking<Value>(
  node: String? = nil, isolation: isolated (any Swift.Actor)? = #isolation,
  _ call: () async throws(KVError) -> Value
) async throws(CommandFailure) -> Value {
  do { return try await call() } catch { throw CommandFailure(error, node: node) }
}
