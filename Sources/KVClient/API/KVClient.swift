internal import KVModel
internal import KVNet
public import Logging
public import ServiceLifecycle
internal import Synchronization

/// A client of a RingKV cluster.
///
/// It holds one connection to each node that it needs, routes each call straight to an owner of its key, and does
/// nothing unless `run()` is running: as a task beside its use, as a service, or inside `withKVClient`.
public final class KVClient: Service {
  /// Or why there can be none: the process is out of descriptors.
  private let made: Result<ClientEngine, KVError>
  /// Random: with `sequence` it names each write of this client.
  private let identity: UInt64
  private let sequence = Atomic<UInt64>(0)

  /// A client that does not run yet; nothing is connected.
  public init(_ configuration: KVClientConfiguration, logger: Logger = Logger(label: "ringkv.client")) {
    var random = SystemRandomNumberGenerator()
    identity = random.next()
    let seed: UInt64 = random.next()
    made = Result { () throws(KVError) in
      do throws(SystemError) {
        return try ClientEngine(configuration: configuration, logger: logger, seed: seed)
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

  func start() async { if case .success(let engine) = made { _ = await engine.start() } }

  func stop() async { if case .success(let engine) = made { await engine.stop(atOnce: true) } }
}

/// Runs a client for as long as `body` runs.
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

extension KVClient {
  /// The newest version of a key and its siblings; nil when the key is absent.
  ///
  /// `deadline` replaces the configuration's. Throws `unavailable` when fewer owners than asked for can answer.
  public func get(
    _ key: some KVKeyConvertible, consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVRead? {
    let state = try await read(key, consistency: consistency, deadline: deadline)
    return state.value.map { KVRead(value: $0, versions: state.versions, context: state.context) }
  }

  /// What is known of a key, its absence included: the context lets a write replace exactly this.
  public func read(
    _ key: some KVKeyConvertible, consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVState {
    let key = try key.kvKey.modelKey()
    let request = ClientRequest.get(key, try consistency.modelQuorum())
    let response = try await engine().perform(request, .key(key.token), within: deadline)
    guard case .value(let answer) = response else { throw KVError.unexpectedReply }
    return try KVState(answer)
  }

  /// Writes a value.
  ///
  /// With a context it replaces exactly what was read under it, and stands beside what was written concurrently;
  /// without one it replaces everything. `ttl`: from then on the key is absent; more than zero, at most ten years.
  @discardableResult
  public func put(
    _ key: some KVKeyConvertible, _ value: [UInt8], context: KVContext? = nil, ttl: Duration? = nil,
    consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    guard value.count <= Limits.valueBytesMax else {
      throw KVError(.valueTooLarge, "the value has \(value.count) bytes; the most is \(Limits.valueBytesMax)")
    }
    let write = WriteRequest(
      key: try key.kvKey.modelKey(), quorum: try consistency.modelQuorum(), requestID: nextRequestID(),
      context: context?.token, ttlMs: try KVClient.ttlMs(ttl),
      payload: .put(value, checksum: Checksum.of(value)))
    return try await self.write(write, deadline)
  }

  /// Deletes a key; `context` as with `put`. Deleting an absent key is no error.
  @discardableResult
  public func delete(
    _ key: some KVKeyConvertible, context: KVContext? = nil, consistency: KVConsistency = .quorum,
    deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    let write = WriteRequest(
      key: try key.kvKey.modelKey(), quorum: try consistency.modelQuorum(), requestID: nextRequestID(),
      context: context?.token, payload: .delete)
    return try await self.write(write, deadline)
  }

  /// Writes text, as UTF-8.
  @discardableResult
  public func put(
    _ key: some KVKeyConvertible, _ value: String, context: KVContext? = nil, ttl: Duration? = nil,
    consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    try await put(
      key, Array(value.utf8), context: context, ttl: ttl, consistency: consistency, deadline: deadline)
  }

  private func write(_ write: WriteRequest, _ deadline: Duration?) async throws(KVError) -> KVReceipt {
    let response = try await engine().perform(.write(write), .key(write.key.token), within: deadline)
    guard case .written(let receipt) = response else {
      var error = KVError.unexpectedReply
      error.outcome = .unknown
      throw error
    }
    return KVReceipt(receipt)
  }

  private func nextRequestID() -> RequestID {
    RequestID(client: identity, sequence: sequence.add(1, ordering: .relaxed).newValue)
  }

  private static func ttlMs(_ ttl: Duration?) throws(KVError) -> UInt64? {
    guard let ttl else { return nil }
    guard ttl > .zero else {
      throw KVError(.invalidTTL, "the time to live is not above zero; leave it out for a value that stays")
    }
    guard ttl <= .milliseconds(Int64(Limits.ttlMsMax)) else {
      throw KVError(.invalidTTL, "the time to live is above ten years; leave it out for a value that stays")
    }
    return max(1, Span64(ttl).milliseconds)
  }
}

extension KVError {
  static let unexpectedReply = KVError(.protocolMismatch, "the node answered another question than was asked")
}
