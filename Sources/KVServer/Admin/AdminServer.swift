import KVModel
import KVNet
import Logging
import Synchronization

/// Whether the node serves its partitions.
public enum Readiness: Equatable, Sendable {
  /// With what there is to say beside it, for people.
  case ready(remark: String? = nil)
  /// With the reason, for people.
  case notReady(String)

  var isReady: Bool { if case .ready = self { true } else { false } }
}

/// Why the admin port could not be opened.
public struct AdminServerError: Error, Equatable, Sendable, CustomStringConvertible {
  public let listen: Address
  public let cause: String

  public var description: String {
    "cannot listen on \(listen) for HTTP: \(cause); free that port, or set listen.admin (--admin-listen) to another"
  }
}

/// The admin port: `/healthz` (alive), `/readyz` (serves its partitions), `/metrics` (Prometheus). GET only, one request
/// a connection, on a loop of its own.
///
/// What a client can take is bounded: `limits.admin_connections` connections at once, for each a request of
/// `AdminConnection.requestBytesMax` and `limits.admin_timeout` from its first byte to our last.
///
/// Why not FlyingFox: it keeps a header line of any length, waits for silent clients for ever, and ends when accepting
/// fails. Four clients with endless headers held both threads of Swift's pool, and with them the node's own start and stop.
public final class AdminServer: @unchecked Sendable {
  private static let tickNs: UInt64 = 1_000_000_000

  /// A page and how it is told.
  struct Page: Equatable, Sendable {
    var status: String
    var type = "text/plain; charset=utf-8"
    var text: String
  }

  private let listen: Address
  private let logger: Logger
  private let connectionsMax: Int
  private let connectionNs: UInt64
  private let metrics: @Sendable () async -> NodeMetrics
  private let readiness: @Sendable () async -> Readiness
  // Set by `start`; from then on of the loop.
  private var loop: EventLoop?
  private var listener: Listener?
  private var timers: TimerClient?
  private let refused = Atomic<UInt64>(0)
  private let scrapeNs = Atomic<UInt64>(0)
  private var connections: [ObjectIdentifier: (connection: Connection, until: UInt64)] = [:]

  /// - Parameters:
  ///   - listen: a numeric address; port 0 takes a free one.
  ///   - limits: of it, those of the admin port.
  ///   - metrics: asked at each scrape.
  ///   - readiness: asked at each `/readyz`.
  public init(
    listen: Address, logger: Logger, limits: NodeConfiguration.Limits = .init(),
    metrics: @escaping @Sendable () async -> NodeMetrics, readiness: @escaping @Sendable () async -> Readiness
  ) {
    self.listen = listen
    self.logger = logger
    connectionsMax = limits.adminConnections
    connectionNs = limits.adminTimeoutMs * 1_000_000
    self.metrics = metrics
    self.readiness = readiness
  }

  /// Returns once it listens, with the port.
  @discardableResult
  public func start() async throws(AdminServerError) -> UInt16 {
    guard let address = SocketAddress(numericHost: listen.host, port: listen.port) else {
      throw AdminServerError(listen: listen, cause: "it is no numeric address")
    }
    do throws(SystemError) {
      // Nobody is in a hurry here: the loop does not linger, as those of the shards do.
      let loop = try EventLoop(label: "ringkv.admin", lingerMilliseconds: 0)
      self.loop = loop
      return try await loop.run { () throws(SystemError) in try self.open(address, on: loop) }
    } catch {
      await stop()
      throw AdminServerError(listen: listen, cause: error.reason)
    }
  }

  /// Closes the port and what is connected.
  public func stop() async { await loop?.stopped() }

  // MARK: On the loop

  private func open(_ address: SocketAddress, on loop: EventLoop) throws(SystemError) -> UInt16 {
    let listener = try Listener.bind(to: address, on: loop) { [unowned self] descriptor, peer in
      onAccepted(descriptor, peer, loop)
    }
    self.listener = listener
    let timers = loop.makeTimerClient(self)
    self.timers = timers
    loop.schedule(at: loop.now + AdminServer.tickNs, 0, for: timers)
    return listener.boundPort
  }

  private func onAccepted(_ descriptor: Int32, _ peer: SocketAddress, _ loop: EventLoop) {
    guard connections.count < connectionsMax else {
      refused.add(1, ordering: .relaxed)
      return Posix.discard(descriptor: descriptor)
    }
    let handler = AdminConnection(server: self)
    guard
      let connection = try? Connection.adopt(
        descriptor, peer: peer, on: loop, options: ConnectionOptions(), handler: handler)
    else { return }
    connections[ObjectIdentifier(connection)] = (connection, loop.now + connectionNs)
  }

  func onClosed(_ connection: Connection) { connections[ObjectIdentifier(connection)] = nil }

  // MARK: The pages

  /// What a request gets, from its method and its target.
  func page(_ method: Substring, _ target: Substring) async -> Page {
    let path = target.prefix { $0 != "?" }
    guard ["/healthz", "/readyz", "/metrics"].contains(path) else {
      return Page(status: "404 Not Found", text: "no such page; there are /healthz, /readyz, /metrics\n")
    }
    guard method == "GET" else { return Page(status: "405 Method Not Allowed", text: "GET only\n") }
    switch path {
    case "/metrics":
      return Page(status: "200 OK", type: PrometheusText.contentType, text: await scrape())
    case "/readyz":
      switch await readiness() {
      case .ready(let remark): return Page(status: "200 OK", text: remark.map { "ready; \($0)\n" } ?? "ready\n")
      case .notReady(let reason): return Page(status: "503 Service Unavailable", text: "not ready: \(reason)\n")
      }
    default:
      return Page(status: "200 OK", text: "alive\n")
    }
  }
}

extension AdminServer {
  /// The node's metrics and this port's own; how long it takes shows in the next one.
  private func scrape() async -> String {
    let begin = ContinuousClock.now
    let families = await metrics().families + ownFamilies
    let text = PrometheusText.text(of: families)
    let taken = begin.duration(to: .now)
    scrapeNs.store(UInt64(max(0, taken / .nanoseconds(1))), ordering: .relaxed)
    return text
  }

  private var ownFamilies: [MetricFamily] {
    [
      .counter(
        "kvnode_admin_connections_refused_total", "Connections of the admin port beyond their limit.",
        refused.load(ordering: .relaxed)),
      .gauge(
        "kvnode_scrape_duration_seconds", "That the last scrape took, from its request to its text.",
        Double(scrapeNs.load(ordering: .relaxed)) / 1e9),
    ]
  }
}

extension AdminServer: TimerHandler {
  /// Cuts off who takes too long, in whatever way.
  public func onTimer(_ token: UInt64) {
    guard let loop, let timers else { return }
    for (connection, until) in connections.values where until <= loop.now { connection.close() }
    loop.schedule(at: loop.now + min(AdminServer.tickNs, connectionNs), 0, for: timers)
  }
}
