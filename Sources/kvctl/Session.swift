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
  /// How often it is run anew until it is interrupted; nil: once.
  var watchEvery: Duration? { get }
  /// What can be checked and read before anything is connected.
  mutating func prepare() throws(CommandFailure)
  func execute(_ session: Session) async throws(CommandFailure) -> Report
}

extension Verb {
  var namesCluster: Bool { true }
  var watchEvery: Duration? { nil }

  mutating func prepare() throws(CommandFailure) {}

  mutating func run() async throws {
    let exit: ShellStatus
    do throws(CommandFailure) {
      let endpoints = try ready(environment: ProcessInfo.processInfo.environment)
      exit = await connected(endpoints) { session in
        guard let pause = watchEvery else { return await show(session, Screen(isOn: false)) }
        return await watch(session, every: pause)
      }
    } catch {
      let report = Report(error)
      Output.write(report, global.format, nil)
      exit = report.exit
    }
    if exit != .done { throw ExitCode(exit.rawValue) }
  }

  /// Checks and reads what it can before anything is connected; the endpoints in force.
  mutating func ready(environment: [String: String]) throws(CommandFailure) -> [Address] {
    try checkWatch()
    try prepare()
    try global.checkTimeout()
    return try global.addresses(environment: environment)
  }

  private func checkWatch() throws(CommandFailure) {
    guard let watch = global.watch?.duration else { return }
    guard watchEvery != nil else { throw .usage("--watch: this verb shows nothing that changes; use status or top") }
    guard watch >= .milliseconds(100) else { throw .usage("--watch is below 100ms; give for example 2s") }
  }

  /// Runs `body` with a client of its own.
  func connected<Value>(_ endpoints: [Address], _ body: (Session) async -> Value) async -> Value {
    let timeout = global.timeout.duration
    var configuration = KVClientConfiguration(endpoints: endpoints.map(\.description))
    configuration.deadline = timeout
    configuration.connectTimeout = min(timeout, .seconds(2))
    // Whoever waits at a terminal would rather wait than hear that a busy node is lost.
    configuration.silenceMax = min(timeout, .seconds(2))
    configuration.agent = "kvctl/1"
    let logger = Logger(label: "kvctl") { _ in SwiftLogNoOpLogHandler() }
    return await withKVClient(configuration, logger: logger) { client in
      await body(
        Session(
          client: client, endpoints: endpoints, timeout: timeout,
          colour: Colour(isOn: Terminal.hasColour(noColor: global.noColor)), isYes: global.yes))
    }
  }

  /// Runs once, and shows what came of it.
  private func show(_ session: Session, _ screen: Screen) async -> ShellStatus {
    let (report, identity) = await answer(session)
    screen.clear()
    Output.write(report, global.format, identity)
    return report.exit
  }

  /// What comes of running it once, and the cluster that this is about.
  func answer(_ session: Session) async -> (Report, ClusterIdentity?) {
    let report: Report
    do throws(CommandFailure) { report = try await execute(session) } catch { report = Report(error) }
    return (report, await identity(session.client, report))
  }

  /// Runs again and again, on a terminal in place, until it is interrupted. A cluster that is away for a while is shown
  /// as that.
  private func watch(_ session: Session, every pause: Duration) async -> ShellStatus {
    let screen = Screen(isOn: Terminal.isOutput && global.format == .table)
    while true {
      let exit = await show(session, screen)
      do { try await Task.sleep(for: pause) } catch { return exit }
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
