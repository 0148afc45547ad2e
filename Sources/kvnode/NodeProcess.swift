import Glibc
import KVModel
import KVServer
import KVStorage
import Logging
import Synchronization

/// The life of the process: start the node and its admin port, wait for a reason to leave, leave.
final class NodeProcess: Sendable {
  enum End: Equatable, Sendable {
    case signal(Int32)
    /// The node cannot go on.
    case halt(String)
  }

  private let loaded: LoadedConfiguration
  private let sink = LogSink()
  private let logger: Logger
  private let startedAt = ContinuousClock.now
  private let isLeaving = Atomic(false)

  init(_ loaded: LoadedConfiguration) {
    self.loaded = loaded
    let settings = loaded.configuration.log
    LoggingSystem.bootstrap { [sink] in LineLogHandler(label: $0, settings: settings, sink: sink) }
    logger = Logger(label: "kvnode")
  }

  private var configuration: NodeConfiguration { loaded.configuration.node }

  /// With the limits that the allowed descriptors leave room for.
  private func fitted() -> NodeConfiguration {
    var configuration = configuration
    let (allowed, needed) = (DescriptorLimit.raise(), DescriptorLimit.needed(by: configuration.limits))
    guard allowed < needed else { return configuration }
    DescriptorLimit.fit(&configuration.limits, into: allowed)
    logger.warning(
      "fewer descriptors are allowed than the limits may need; raise LimitNOFILE (ulimit -n)",
      metadata: [
        "allowed": "\(allowed)", "needed": "\(needed)", "connections": "\(configuration.limits.connections)",
      ])
    return configuration
  }

  /// From the start to the exit code.
  func run() async -> Int32 {
    defer { sink.flush() }
    let ends = Ends(logger: logger, sink: sink)
    ends.watchSignals()
    logStart()
    do {
      let node = try NodeServer(configuration: fitted(), logger: logger) { ends.onHalt($0) }
      let admin = makeAdmin(of: node)
      try await admin.start()
      try await node.start()
      logger.notice("started", metadata: ["client": "\(configuration.clientListen)"])
      return await leave(node, admin, after: await ends.first())
    } catch {
      logger.critical("cannot start", metadata: ["cause": "\(error)"])
      return Program.failed
    }
  }

  private func makeAdmin(of node: NodeServer) -> AdminServer {
    AdminServer(
      listen: configuration.adminListen, logger: logger, limits: configuration.limits,
      metrics: { await self.metrics(of: node) },
      readiness: { await self.readiness(of: node) })
  }

  /// A node that leaves is not asked: its loops end before the admin port does.
  private func metrics(of node: NodeServer) async -> NodeMetrics {
    var metrics = NodeMetrics(name: configuration.name, zone: configuration.zone)
    if !isLeaving.load(ordering: .relaxed) { metrics = await node.snapshot() }
    let uptime = (ContinuousClock.now - startedAt).components
    metrics.uptimeMs = UInt64(uptime.seconds) * 1_000 + UInt64(uptime.attoseconds / 1_000_000_000_000_000)
    return metrics
  }

  private func readiness(of node: NodeServer) async -> Readiness {
    isLeaving.load(ordering: .relaxed) ? .notReady("it is stopping") : await node.readiness()
  }

  private func leave(_ node: NodeServer, _ admin: AdminServer, after end: End) async -> Int32 {
    isLeaving.store(true, ordering: .relaxed)
    switch end {
    case .signal(let number):
      logger.notice("stopping", metadata: ["signal": "\(number)"])
      await node.stop()
      await admin.stop()
      return Program.stopped
    case .halt(let reason):
      logger.critical("the node cannot go on", metadata: ["cause": "\(reason)"])
      return Program.failed
    }
  }

  private func logStart() {
    logger.notice(
      "starting",
      metadata: [
        "version": "\(Release.version)", "name": "\(configuration.name)", "zone": "\(configuration.zone)",
        "data": "\(configuration.dataDirectory)", "durability": "\(configuration.storage.durability.rawValue)",
        "admin": "\(configuration.adminListen)", "pid": "\(getpid())",
      ])
    for warning in loaded.warnings { logger.warning("configuration", metadata: ["warning": "\(warning)"]) }
  }
}
