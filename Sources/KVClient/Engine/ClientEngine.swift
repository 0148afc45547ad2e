internal import KVModel
internal import KVNet
internal import Logging

/// The client's one loop and all that lives on it: the links to nodes, the layout, the open calls.
///
/// ```
///  put ──► submit ──► begin ──► an owner whose link is up ──► send ──► slot ──► reply ──► finish
///                       ▲  └──► no link up: queue at one that connects ──┐         │
///                       ├────────────── it failed: the next one ◄────────┘         │
///                       └────────────── retry, after a wait ◄─── a passing failure ┘
/// ```
///
/// Everything but the constants belongs to the loop; other threads come in through `onLoop`. What to do when is decided
/// by the values of `Policy`; here their answers are carried out.
final class ClientEngine: @unchecked Sendable {
  enum Phase {
    /// Calls that come before `run` wait for it, as long as `startGrace`.
    case idle
    case running
    /// No new calls; the open ones end first.
    case stopping
    case stopped
  }

  let configuration: KVClientConfiguration
  let policy: RetryPolicy
  let logger: Logger
  let metrics: ClientMetrics
  let loop: EventLoop

  var phase = Phase.idle
  var routes: Routes?
  var counters = ClientCounters()
  /// The timers of this engine on its loop, from the first one on.
  var timers: TimerClient?
  /// Every link there is; a link's place is its number.
  var linksByNumber: [NodeLink] = []
  var links: [Address: NodeLink] = [:]
  var endpoints: [NodeLink] = []
  var calls = Slots<Call>()
  /// What was sent and has not ended, by its name on the wire.
  var attempts = Slots<Attempt>()
  var valueBytes = 0
  var random: PRNG
  var waitingForStart: [Call] = []
  var onStopped: [CheckedContinuation<Void, Never>] = []
  /// Where the search for any node begins; moves on, so that no endpoint gets all.
  var turn = 0

  var retryBudget: TokenBudget
  var hedgeBudget: TokenBudget
  var readLatency = LatencyWindow()
  var layoutRefresh = LayoutRefresh()

  init(
    configuration: KVClientConfiguration, logger: Logger, metrics: ClientMetrics, seed: UInt64
  ) throws(SystemError) {
    self.configuration = configuration
    self.logger = logger
    self.metrics = metrics
    policy = configuration.retryPolicy
    retryBudget = configuration.retryBudget
    hedgeBudget = configuration.hedgeBudget
    loop = try EventLoop(label: "ringkv.client")
    random = PRNG(seed: seed)
  }
}

// MARK: Start and stop

extension ClientEngine {
  /// False when it was started before.
  func start() async -> Bool {
    await withCheckedContinuation { continuation in
      onLoop { engine in
        guard case .idle = engine.phase else { return continuation.resume(returning: false) }
        engine.phase = .running
        engine.endpoints = engine.configuration.endpoints.compactMap(Address.init).map(engine.link)
        engine.turn = engine.endpoints.isEmpty ? 0 : engine.random.index(engine.endpoints.count)
        if !engine.endpoints.isEmpty { engine.endpoints[engine.turn].connect() }
        for call in engine.waitingForStart where !call.isEnded { engine.admit(call) }
        engine.waitingForStart = []
        continuation.resume(returning: true)
      }
    }
  }

  /// Takes no new calls, lets the open ones end within their deadlines or, when `atOnce`, ends them now.
  func stop(atOnce: Bool) async {
    await withCheckedContinuation { continuation in
      onLoop { engine in
        for call in engine.waitingForStart { engine.end(call, .notRunning()) }
        engine.waitingForStart = []
        if case .stopped = engine.phase { return continuation.resume() }
        engine.onStopped.append(continuation)
        engine.phase = .stopping
        if atOnce { for call in engine.calls.all { engine.end(call, .stopped(call)) } }
        engine.stopIfIdle()
      }
    }
  }

  func stopIfIdle() {
    guard case .stopping = phase, calls.count == 0 else { return }
    phase = .stopped
    for link in linksByNumber { link.close(.stopped) }
    let waiting = onStopped
    onStopped = []
    loop.stop { for continuation in waiting { continuation.resume() } }
  }
}
