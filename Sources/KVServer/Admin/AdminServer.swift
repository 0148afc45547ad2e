import FlyingFox
import FlyingSocks
import Foundation
import KVModel
import Logging
import Synchronization

/// Whether the node serves its partitions.
public enum Readiness: Equatable, Sendable {
  case ready
  /// With the reason, for people.
  case notReady(String)
}

/// Why the admin port could not be opened.
public struct AdminServerError: Error, Equatable, Sendable, CustomStringConvertible {
  public let listen: Address
  public let cause: String

  public var description: String {
    "cannot listen on \(listen) for HTTP: \(cause); free that port, or set listen.admin (--admin-listen) to another"
  }
}

/// The admin port: `/healthz` (alive), `/readyz` (serves its partitions), `/metrics` (Prometheus). GET only.
///
/// Each reply ends its connection: FlyingFox cannot set TCP_NODELAY, and on a connection that is kept a reply takes 42 ms.
/// A client has `AdminGuard.connectionLimit` for everything, and only so many may wait at once. When accepting fails (no
/// descriptor is left, say), which ends FlyingFox's server, a new one is started.
public final class AdminServer: Sendable {
  private struct State {
    var server: HTTPServer?
    var supervisor: Task<Void, Never>?
    var isStopped = false
  }

  private let listen: Address
  private let logger: Logger
  private let handler: ClosureHTTPHandler
  private let state = Mutex(State())

  /// - Parameters:
  ///   - listen: a numeric address; port 0 takes a free one.
  ///   - metrics: asked at each scrape.
  ///   - readiness: asked at each `/readyz`.
  public init(
    listen: Address, logger: Logger, metrics: @escaping @Sendable () async -> NodeMetrics,
    readiness: @escaping @Sendable () async -> Readiness
  ) {
    self.listen = listen
    self.logger = logger
    handler = ClosureHTTPHandler { request in
      await AdminServer.response(to: request, metrics: metrics, readiness: readiness)
    }
  }

  /// Returns once it listens, with the port.
  @discardableResult
  public func start() async throws(AdminServerError) -> UInt16 {
    let server = try makeServer(port: listen.port)
    let (outcomes, outcome) = AsyncStream<Result<UInt16, AdminServerError>>.makeStream()
    let running = Task {
      do { try await server.run() } catch { outcome.yield(.failure(self.failure(error))) }
    }
    let listening = Task {
      do {
        try await server.waitUntilListening(timeout: 10)
        outcome.yield(.success(AdminServer.port(of: await server.listeningAddress)))
      } catch {
        outcome.yield(.failure(self.failure(error)))
      }
    }
    defer { listening.cancel() }
    for await result in outcomes {
      let port = try result.get()
      state.withLock { state in
        state.server = server
        state.supervisor = Task { await self.supervise(running, port: port) }
      }
      return port
    }
    throw AdminServerError(listen: listen, cause: "it was cancelled")
  }

  /// Closes the port, and what is being answered with it.
  public func stop() async {
    let (server, supervisor) = state.withLock { state in
      state.isStopped = true
      return (state.server, state.supervisor)
    }
    supervisor?.cancel()
    await server?.stop()
  }

  private func supervise(_ first: Task<Void, Never>, port: UInt16) async {
    await first.value
    while !state.withLock({ $0.isStopped }) {
      logger.warning("admin port closed: opening it again", metadata: ["listen": "\(listen)"])
      guard (try? await Task.sleep(for: .seconds(1))) != nil, let server = try? makeServer(port: port) else { return }
      state.withLock { $0.server = server }
      do { try await server.run() } catch { logger.debug("admin port", metadata: ["cause": "\(failure(error).cause)"]) }
    }
  }

  private func makeServer(port: UInt16) throws(AdminServerError) -> HTTPServer {
    let pool = AdminGuard(HTTPServer.defaultPool())
    do {
      let configuration =
        if listen.host.contains(":") {
          HTTPServer.Configuration(
            address: try sockaddr_in6.inet6(ip6: listen.host, port: port), timeout: 5, sharedRequestReplaySize: 4_096,
            pool: pool, logger: .disabled)
        } else {
          HTTPServer.Configuration(
            address: try sockaddr_in.inet(ip4: listen.host, port: port), timeout: 5, sharedRequestReplaySize: 4_096,
            pool: pool, logger: .disabled)
        }
      return HTTPServer(config: configuration, handler: handler)
    } catch {
      throw AdminServerError(listen: listen, cause: "it is no numeric address")
    }
  }

  private func failure(_ error: any Error) -> AdminServerError {
    if case SocketError.failed(_, _, let message) = error { return AdminServerError(listen: listen, cause: message) }
    return AdminServerError(listen: listen, cause: error.localizedDescription)
  }

  private static func port(of address: Socket.Address?) -> UInt16 {
    switch address {
    case .ip4(_, let port), .ip6(_, let port): port
    case .unix, nil: 0
    }
  }
}

// MARK: - The three pages

extension AdminServer {
  private static func response(
    to request: HTTPRequest, metrics: @Sendable () async -> NodeMetrics, readiness: @Sendable () async -> Readiness
  ) async -> HTTPResponse {
    guard ["/healthz", "/readyz", "/metrics"].contains(request.path) else {
      return page(.notFound, "no such page; there are /healthz, /readyz, /metrics\n")
    }
    guard request.method == .GET else { return page(.methodNotAllowed, "GET only\n", allow: "GET") }
    switch request.path {
    case "/metrics":
      return page(.ok, PrometheusText.text(of: await metrics().families), type: PrometheusText.contentType)
    case "/readyz":
      switch await readiness() {
      case .ready: return page(.ok, "ready\n")
      case .notReady(let reason): return page(.serviceUnavailable, "not ready: \(reason)\n")
      }
    default:
      return page(.ok, "alive\n")
    }
  }

  private static func page(
    _ status: HTTPStatusCode, _ text: String, type: String = "text/plain; charset=utf-8", allow: String? = nil
  ) -> HTTPResponse {
    var headers: HTTPHeaders = [.contentType: type, .connection: "close"]
    if let allow { headers[HTTPHeader("Allow")] = allow }
    return HTTPResponse(statusCode: status, headers: headers, body: Data(text.utf8))
  }
}
