import Dispatch
import KVCore
import KVModel
import KVNet
import KVStorage
import Logging
import Synchronization

/// What a start of the node begins with, synced already.
struct NodeStart {
  let configuration: NodeConfiguration
  let store: NodeStore
  let state: NodeState
  let logger: Logger
}

/// A node: one `Control` and S shards on their loops, and what they share.
///
/// ```
///   NodeServer ── ControlHost ── Control        (listeners, node store)
///       └──────── ShardHost 0…S−1 ── Shard      (storage, clients, peer links)
/// ```
public final class NodeServer: @unchecked Sendable {
  let configuration: NodeConfiguration
  let logger: Logger
  let clientAdmission: Admission
  let peerAdmission: Admission
  let clientOptions: ConnectionOptions
  let peerOptions: ConnectionOptions
  private let onHalt: @Sendable (String) -> Void
  private let isHalted = Atomic(false)
  private let state: NodeState
  private let member: Member
  private let seed: UInt64

  // Set by `init`, never changed afterwards: read from every loop.
  private(set) var hosts: [ShardHost] = []
  private(set) var control: ControlHost!

  /// A node that is not running yet. Takes the data directory's lock, raises generation and (after an unclean stop)
  /// epoch, and syncs both.
  ///
  /// `onHalt` is told, once and on any thread, why the node must not go on; the process is to end then.
  public init(
    configuration: NodeConfiguration, logger: Logger, onHalt: @escaping @Sendable (String) -> Void
  ) throws(NodeStartError) {
    self.configuration = configuration
    self.logger = logger
    self.onHalt = onHalt
    let limits = configuration.limits
    clientAdmission = Admission(
      connections: limits.connections, beforeHello: limits.connectionsBeforeHello,
      perAddress: limits.connectionsPerAddress)
    peerAdmission = Admission(connections: limits.peerConnections, beforeHello: limits.connectionsBeforeHello)
    clientOptions = limits.clientOptions
    peerOptions = limits.peerOptions
    var random = SystemRandomNumberGenerator()
    seed = random.next()
    let store: NodeStore
    do {
      store = try NodeStore(directory: configuration.dataDirectory)
      state = try NodeServer.begin(store, configuration, nonce: random.next(), newID: random.next())
    } catch { throw NodeStartError("\(error)") }
    if state.shards != configuration.shards {
      logger.warning(
        "the configuration's shards differ from those of the data directory, which rule",
        metadata: ["configured": "\(configuration.shards)", "data": "\(state.shards)"])
    }
    member = configuration.member(id: state.id)
    let start = NodeStart(configuration: configuration, store: store, state: state, logger: logger)
    do {
      for index in 0..<state.shards {
        hosts.append(try ShardHost(index: index, node: self, start: start, seed: seed &+ UInt64(index)))
      }
      control = try ControlHost(node: self, start: start)
    } catch { throw NodeStartError("\(error)") }
  }

  private static func begin(
    _ store: NodeStore, _ configuration: NodeConfiguration, nonce: UInt64, newID: UInt64
  ) throws(NodeStoreError) -> NodeState {
    let previous: NodeState
    do { previous = try store.load() } catch {
      guard case .missing = error else { throw error }
      previous = NodeState(id: NodeID(newID), shards: configuration.shards)
    }
    let started = previous.started(nonce: nonce)
    try store.save(started)
    return started
  }

  // MARK: Start

  /// Opens the shards if the node belongs to a cluster, then listens.
  public func start() async throws {
    for host in hosts { await host.loop.run { host.start() } }
    var recovery = ControlRecovery(
      state: state, member: member, settings: configuration.cluster,
      syncs: configuration.storage.durability == .sync, release: Release.version)
    recovery.seed = seed ^ 0x6f55_1b00
    recovery.seeds = configuration.seeds
    recovery.diskLimitPercent = configuration.limits.diskPercent
    await control.loop.run { [control, recovery] in control!.start(recovery) }
    if let failure = openFailure { throw failure }
    let client = try await resolve(configuration.clientListen)
    let peer = try await resolve(configuration.peerListen)
    try await control.loop.run { [control] () throws(SystemError) in try control!.listen(client: client, peer: peer) }
    logger.info(
      "listening",
      metadata: [
        "node": "\(state.id)", "name": "\(member.name)", "client": "\(configuration.clientListen)",
        "peer": "\(configuration.peerListen)", "generation": "\(state.generation.number)", "epoch": "\(state.epoch)",
      ])
  }

  private func resolve(_ address: Address) async throws -> SocketAddress {
    let loop = control.loop
    return try await withCheckedThrowingContinuation { continuation in
      SocketAddress.resolve(host: address.host, port: address.port, on: loop) { result in
        continuation.resume(with: result.map { $0[0] })
      }
    }
  }

  /// A layout is there: shards that are not open yet are opened, and all live by it. On the control loop.
  func adopt(_ view: ClusterView) {
    guard let layout = view.current?.layout else { return }
    if !isOpen {
      do { try open(layout) } catch {
        openFailure = error
        return halt(error.description)
      }
      control.step(.shardsOpened)
    }
    for host in hosts { host.loop.execute { host.adopt(view) } }
  }

  // Control loop only.
  private var isOpen = false
  private var openFailure: NodeStartError?

  private func open(_ layout: Layout) throws(NodeStartError) {
    isOpen = true
    for (index, host) in hosts.enumerated() {
      let storage: RocksDBStorage
      var options = configuration.storage
      options.hintKeysMax = configuration.hintKeysMax / hosts.count
      let directory = control.shardDirectory(index)
      if state.hasShards, !NodeStore.holdsDatabase(directory) {
        throw NodeStartError(
          "\(directory) is missing or empty, but this node had data in it; mount or restore it, or start with an empty "
            + "data directory to be rebuilt from the peers")
      }
      do {
        storage = try RocksDBStorage.open(
          directory: directory, identity: host.identity, geometry: ShardGeometry(of: layout),
          generation: state.generation.number, options: options,
          onResults: { [unowned host] in host.onStorageResults() })
      } catch { throw NodeStartError("\(error)") }
      if storage.filesGivenUp > 0 {
        logger.error(
          "table files with damaged blocks were given up; what was in them is rebuilt from the other owners",
          metadata: ["files": "\(storage.filesGivenUp)", "shard": "\(index)", "directory": "\(directory)"])
      }
      var settings = ShardSettings()
      settings.exchangeInterval = .milliseconds(configuration.exchangeIntervalMs)
      settings.handoffUnitsPerSecond = UInt64(max(1, configuration.handoffRate / hosts.count))
      settings.sweepKeysPerSecond = max(1, configuration.sweepRate / hosts.count)
      settings.sweepMargin = .milliseconds(configuration.sweepMarginMs)
      if configuration.sweepRate == 0 { settings.sweepInterval = .zero }
      settings.pullBytesPerSecond = configuration.share(of: configuration.pullBytesPerSecond)
      settings.scrubBytesPerSecond = configuration.share(of: configuration.scrubBytesPerSecond)
      settings.scrubInterval = .milliseconds(configuration.scrubIntervalMs)
      let recovery = ShardRecovery(
        identity: host.identity, actor: Actor(node: state.id, epoch: state.epoch), lease: storage.recoveredLease,
        settings: settings, seed: seed ^ UInt64(index + 1))
      let confined = LoopConfined(storage)
      host.loop.execute { host.recover(recovery, confined.value) }
    }
  }

  // MARK: Stop

  /// Finishes what is under way, closes the shards, notes the clean stop. Takes `limits.drainMs` at most, and the time
  /// that the last sync takes.
  public func stop() async {
    await control.loop.run { [control] in control!.beginDrain() }
    for host in hosts { await host.loop.run { host.drain() } }
    await waitUntilIdle()
    for host in hosts {
      let storage = await host.loop.run { LoopConfined(host.shutDown()) }
      if let fault = (storage.value as? RocksDBStorage)?.close() {
        return halt("storage failed at the end: \(fault.path): \(fault.detail)")
      }
    }
    let control = control!
    await withCheckedContinuation { continuation in
      control.loop.execute { control.finishDrain { continuation.resume() } }
    }
    for host in hosts { await host.loop.stopped() }
    await control.loop.stopped()
    logger.info("stopped cleanly", metadata: ["node": "\(state.id)"])
  }

  private func waitUntilIdle() async {
    for _ in 0..<(configuration.limits.drainMs / 20) {
      var isIdle = true
      for host in hosts where isIdle { isIdle = await host.loop.run { host.isIdle } }
      if isIdle { return }
      try? await Task.sleep(for: .milliseconds(20))
    }
    for host in hosts {
      let left = await host.loop.run { host.underWay }
      logger.warning(
        "the time to drain is over", metadata: ["shard": "\(host.index)", "under_way": "\(left)"])
    }
  }

  /// The node must not go on.
  func halt(_ reason: String) {
    guard !isHalted.exchange(true, ordering: .relaxed) else { return }
    logger.critical("the node stops", metadata: ["reason": "\(reason)"])
    onHalt(reason)
  }

  // MARK: State

  /// The ports that the listeners have, which matters when the configuration says 0: client, peer.
  public func boundPorts() async -> [UInt16] { await control.loop.run { [control] in control!.boundPorts } }
}

extension NodeConfiguration.Limits {
  var clientOptions: ConnectionOptions {
    var options = ConnectionOptions()
    options.keepAlive = true
    options.keepAliveIdleSeconds = Int32(clamping: idleProbeMs / 1_000)
    // Replies stop at `bytesPerConnection`; the last one may be a whole record.
    options.outputBytesMax = bytesPerConnection + KVModel.Limits.recordBytesMax + options.outputHighWater
    return options
  }

  var peerOptions: ConnectionOptions {
    var options = ConnectionOptions()
    options.isUrgent = true
    // Pings are always under way, so a silent drop shows within this time (hazard 49).
    options.userTimeoutMilliseconds = 3_000
    options.outputBytesMax = peerBacklogBytes
    return options
  }
}

/// Why a node could not start: cause and remedy, for people.
public struct NodeStartError: Error, CustomStringConvertible, Sendable {
  public let description: String

  public init(_ description: String) { self.description = description }
}

extension NodeConfiguration {
  /// Of a rate of the node, what a shard has; 0 stays what it is.
  func share(of rate: Int) -> UInt64 { rate == 0 ? 0 : UInt64(max(1, rate / max(1, shards))) }

  /// This node as a member of a layout.
  func member(id: NodeID) -> Member {
    Member(
      id: id, name: name, clientAddress: clientAdvertise ?? clientListen, peerAddress: peerAdvertise ?? peerListen,
      zone: zone, host: host ?? name, weight: weight)
  }
}

extension EventLoop {
  /// Runs `body` on the loop and waits for it.
  func run<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () throws(Failure) -> Value
  ) async throws(Failure) -> Value {
    let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
      execute {
        do throws(Failure) { continuation.resume(returning: .success(try body())) } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try result.get()
  }

  /// Stops the loop and waits until it has.
  func stopped() async {
    await withCheckedContinuation { continuation in stop { continuation.resume() } }
  }
}
