public import CoreMetrics
internal import KVModel
internal import KVNet
public import Logging
public import ServiceLifecycle
internal import Synchronization
internal import Tracing

/// A client of a RingKV cluster.
///
/// It holds one connection to each node that it needs, routes each call straight to an owner of its key, retries what
/// passes, and does nothing unless `run()` is running: as a task beside its use, as a service, or inside
/// ``withKVClient(_:logger:isolation:_:)``. What it can be asked stands at ``KVStore``.
public final class KVClient: Service {
  /// Or why there can be none: the process is out of descriptors.
  private let made: Result<ClientEngine, KVError>
  /// Random: with `sequence` it names each write of this client.
  private let identity: UInt64
  private let sequence = Atomic<UInt64>(0)

  /// A client that does not run yet; nothing is connected.
  ///
  /// - Parameters:
  ///   - configuration: Its endpoints, limits and times.
  ///   - logger: Hears of connections, layouts and nodes that fail.
  ///   - metricsFactory: Where its metrics go; nil: where `MetricsSystem` was told to send them before this.
  public init(
    _ configuration: KVClientConfiguration, logger: Logger = Logger(label: "ringkv.client"),
    metricsFactory: (any MetricsFactory)? = nil
  ) {
    var random = SystemRandomNumberGenerator()
    identity = random.next()
    let seed: UInt64 = random.next()
    let metrics = ClientMetrics(metricsFactory ?? MetricsSystem.factory)
    made = Result { () throws(KVError) in
      do throws(SystemError) {
        return try ClientEngine(configuration: configuration, logger: logger, metrics: metrics, seed: seed)
      } catch {
        throw KVError(.unreachable, "no event loop could be made: \(error.reason)")
      }
    }
  }

  deinit { if case .success(let engine) = made { engine.loop.stop() } }

  func engine() throws(KVError) -> ClientEngine { try made.get() }

  /// Serves calls until the task is cancelled, which ends open calls at once, or until a graceful shutdown, which lets
  /// them end within their deadlines. A client runs once.
  public func run() async {
    guard case .success(let engine) = made else { return }
    guard await engine.start() else {
      engine.logger.error("a KVClient runs once; this run() does nothing")
      return
    }
    do {
      try await gracefulShutdown()
      await engine.stop(atOnce: false)
    } catch { await engine.stop(atOnce: true) }
  }

  package func start() async { if case .success(let engine) = made { _ = await engine.start() } }

  package func stop() async { if case .success(let engine) = made { await engine.stop(atOnce: true) } }
}

/// Runs a client for as long as `body` runs.
///
/// ```swift
/// try await withKVClient(.init(endpoints: ["127.0.0.1:7420"])) { kv in
///   try await kv.put("user:1", "Ada")
/// }
/// ```
@discardableResult
public func withKVClient<Result, Failure: Error>(
  _ configuration: KVClientConfiguration, logger: Logger = Logger(label: "ringkv.client"),
  isolation: isolated (any Swift.Actor)? = #isolation, _ body: (KVClient) async throws(Failure) -> Result
) async throws(Failure) -> Result {
  let client = KVClient(configuration, logger: logger)
  await client.start()
  do {
    let result = try await body(client)
    await client.stop()
    return result
  } catch {
    await client.stop()
    throw error
  }
}

// MARK: Reads and writes

extension KVClient: KVStore {
  /// Reads a key, its absence included.
  public func perform(_ read: KVReadRequest) async throws(KVError) -> KVState {
    let key = try read.key.modelKey()
    let request = ClientRequest.get(key, try read.consistency.modelQuorum())
    return try await traced("ringkv get") { span throws(KVError) in
      let response = try await engine().perform(request, .key(key.token), within: read.deadline, span: span)
      guard case .value(let answer) = response else { throw KVError.unexpectedReply }
      return try KVState(answer)
    }
  }

  /// Carries out a put or a delete, once, however many attempts it takes.
  public func perform(_ write: KVWriteRequest) async throws(KVError) -> KVReceipt {
    let request = try write.modelRequest(id: nextRequestID())
    let name = if case .delete = write.operation { "ringkv delete" } else { "ringkv put" }
    return try await traced(name) { span throws(KVError) in
      let response = try await engine().perform(
        .write(request), .key(request.key.token), within: write.deadline, span: span)
      guard case .written(let receipt) = response else {
        var error = KVError.unexpectedReply
        error.outcome = .unknown
        throw error
      }
      return KVReceipt(receipt)
    }
  }

  /// Runs a call in a span of its own, if anybody traces.
  private func traced<Result>(
    _ name: String, _ body: ((any Tracing.Span)?) async throws(KVError) -> Result
  ) async throws(KVError) -> Result {
    guard let span = ClientTracing.start(name) else { return try await body(nil) }
    do throws(KVError) {
      let result = try await body(span)
      ClientTracing.end(span, nil)
      return result
    } catch {
      ClientTracing.end(span, error)
      throw error
    }
  }

  private func nextRequestID() -> RequestID {
    RequestID(client: identity, sequence: sequence.add(1, ordering: .relaxed).newValue)
  }
}

extension KVError {
  static let unexpectedReply = KVError(.protocolMismatch, "the node answered another question than was asked")
}
