internal import KVModel
internal import KVNet
internal import Logging
internal import Synchronization

/// The client's one loop and all that lives on it: the links to nodes, the layout, the open calls.
///
/// ```
///  put ──► submit ──► place ──► an owner whose link is up ──► send ──► slot ──► reply ──► end
///                       ▲  └──► no link up: queue at one that connects ──┐
///                       └────────────── it failed: the next one ◄────────┘
/// ```
///
/// Everything but the constants belongs to the loop; other threads come in through `onLoop`.
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
  let logger: Logger
  let loop: EventLoop

  private(set) var phase = Phase.idle
  private(set) var routes: Routes?
  var counters = ClientCounters()
  /// The timers of this engine on its loop, from the first one on.
  var timers: TimerClient?
  /// Every link there is; a link's place is its number.
  private(set) var linksByNumber: [NodeLink] = []
  private var links: [Address: NodeLink] = [:]
  private var endpoints: [NodeLink] = []
  private(set) var calls = OpenCalls()
  private var valueBytes = 0
  private var isFetchingLayout = false
  private var random: PRNG
  private var waitingForStart: [Call] = []
  private var onStopped: [CheckedContinuation<Void, Never>] = []
  /// Where the search for any node begins; moves on, so that no endpoint gets all.
  private var turn = 0

  /// How long a node that could not be reached is asked only when no other is left.
  static let coolDown = Span64.seconds(1)

  init(configuration: KVClientConfiguration, logger: Logger, seed: UInt64) throws(SystemError) {
    self.configuration = configuration
    self.logger = logger
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
        for call in engine.waitingForStart where !call.isEnded {
          engine.arm(call, at: call.deadline)
          engine.place(call)
        }
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

  private func stopIfIdle() {
    guard case .stopping = phase, calls.count == 0 else { return }
    phase = .stopped
    for link in linksByNumber { link.close(.stopped) }
    finishStopping()
  }

  private func finishStopping() {
    let waiting = onStopped
    onStopped = []
    loop.stop { for continuation in waiting { continuation.resume() } }
  }

  /// What was sent by a link and has not ended.
  func calls(sentBy link: NodeLink) -> [Call] { calls.all.filter { $0.isSent(by: link) } }

}

// MARK: Calls

extension ClientEngine {
  /// Runs a call to its end.
  func perform(
    _ request: ClientRequest, _ route: Route, within limit: Duration?
  ) async throws(KVError) -> ClientResponse {
    let call = Call(request, route, within: Span64(limit ?? configuration.deadline))
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        onLoop { engine in
          call.ending = .user(continuation)
          engine.submit(call)
        }
      }
    } onCancel: {
      call.isCancelled.store(true, ordering: .releasing)
      onLoop { $0.cancel(call) }
    }
    return try result.get()
  }

  private func submit(_ call: Call) {
    open(call)
    if call.isCancelled.load(ordering: .acquiring) { return cancel(call) }
    if let limit = exceededLimit { return end(call, .overloaded(limit)) }
    switch phase {
    case .idle:
      waitingForStart.append(call)
      arm(call, at: min(call.deadline, now.advanced(by: Span64(configuration.startGrace))))
    case .running:
      arm(call, at: call.deadline)
      place(call)
    case .stopping, .stopped: end(call, .notRunning())
    }
  }

  private func open(_ call: Call) {
    call.id = calls.add(call)
    call.attemptStart = now
    call.deadline = now.advanced(by: call.limit)
    valueBytes += call.valueBytes
  }

  private var exceededLimit: String? {
    if calls.count > configuration.callsInFlightMax { return "\(configuration.callsInFlightMax) calls" }
    if valueBytes > configuration.bytesInFlightMax { return "\(configuration.bytesInFlightMax) bytes of values" }
    return nil
  }

  /// Gives a call to the best link that it has not tried; ends it when none is left.
  func place(_ call: Call) {
    guard !call.isEnded else { return }
    call.attemptStart = now
    guard let link = nextLink(for: call) else { return end(call, .unreachable(call)) }
    link.take(call)
  }

  /// A link failed before it sent the call, which goes elsewhere.
  func onUnsent(_ call: Call, at link: NodeLink, _ fault: LinkFault) {
    guard !call.isEnded else { return }
    note(call, link, fault)
    call.tried.append(link)
    call.state = .new
    place(call)
  }

  /// A link broke after it sent the call.
  func onLost(_ call: Call, at link: NodeLink, _ fault: LinkFault) {
    guard !call.isEnded else { return }
    note(call, link, fault)
    end(call, KVError(fault.code, fault.message, outcome: call.outcome, attempts: call.attempts))
  }

  func onReply(_ call: Call, at link: NodeLink, _ response: ClientResponse) {
    guard !call.isEnded else { return }
    guard case .failed(let failure) = response else { return finish(call, .success(response), answered: true) }
    var error = KVError(failure)
    note(call, link, LinkFault(code: error.code, message: error.message))
    error.attempts = call.attempts
    finish(call, .failure(error), answered: true)
  }

  func onDeadline(_ call: Call) {
    if case .idle = phase { return end(call, .notRunning()) }
    // The timer of its wait for `run()` may come after `run()` has.
    guard call.deadline <= now else { return }
    if let link = call.link { note(call, link, LinkFault(code: .timedOut, message: "the deadline passed")) }
    end(call, .timedOut(call))
  }

  private func cancel(_ call: Call) {
    // A call that was not submitted yet is met by `submit`, which sees its flag.
    guard call.ending != nil else { return }
    end(call, KVError(.cancelled, "the task was cancelled", outcome: call.outcome, attempts: call.attempts))
  }

  private func note(_ call: Call, _ link: NodeLink, _ fault: LinkFault) {
    let elapsed = Duration.nanoseconds(Int64(now.since(call.attemptStart).nanoseconds))
    call.attempts.append(KVError.Attempt(node: link.name, elapsed: elapsed, code: fault.code))
    call.lastFault = fault
  }

  private func end(_ call: Call, _ error: KVError) { finish(call, .failure(error), answered: false) }

  private func finish(_ call: Call, _ result: Result<ClientResponse, KVError>, answered: Bool) {
    guard let ending = call.ending else { return }
    calls.remove(call.id)
    valueBytes -= call.valueBytes
    call.ending = nil
    let state = call.state
    call.state = .ended
    if case .sent(let link) = state { link.onEnded(call, answered: answered) }
    switch ending {
    case .user(let continuation): continuation.resume(returning: result)
    case .refresh: onLayoutFetched(result)
    }
    stopIfIdle()
  }
}

// MARK: Routing

extension ClientEngine {
  /// The one link to an address.
  func link(to address: Address) -> NodeLink {
    if let link = links[address] { return link }
    let link = NodeLink(address, self, number: UInt32(linksByNumber.count))
    linksByNumber.append(link)
    links[address] = link
    return link
  }

  /// The partition of a call's key, once the layout is known.
  func partition(of call: Call) -> PartitionID {
    guard case .key(let token) = call.route, let routes else { return PartitionID(0) }
    return routes.partition(of: token)
  }

  private func nextLink(for call: Call) -> NodeLink? {
    switch call.route {
    case .address(let address):
      let link = link(to: address)
      return call.tried.contains { $0 === link } ? nil : link
    case .any: return nextLink(for: call, owners: [])
    case .key(let token):
      guard let routes else { return nextLink(for: call, owners: []) }
      let owners = routes.owners(of: token)
      if call.tried.isEmpty, let first = owners.first, first.isUp(for: cluster) { return first }
      return nextLink(for: call, owners: Array(owners))
    }
  }

  /// Owners that are up, then owners that may come up, then others likewise, then whoever failed lately, and at last the
  /// unfit, which can say why they are.
  private func nextLink(for call: Call, owners: [NodeLink]) -> NodeLink? {
    let now = now
    let cluster = cluster
    func first(_ links: [NodeLink], _ fits: (NodeLink) -> Bool) -> NodeLink? {
      links.first { link in fits(link) && !call.tried.contains { $0 === link } }
    }
    let others = rotated(endpoints) + (routes?.links ?? [])
    func isFresh(_ link: NodeLink) -> Bool { !link.isUnfit(for: cluster) && !link.hasFailed(lately: now) }
    for owner in owners where isFresh(owner) { owner.connect() }
    return first(owners) { $0.isUp(for: cluster) } ?? first(owners, isFresh)
      ?? first(others) { $0.isUp(for: cluster) } ?? first(others, isFresh)
      ?? first(owners + others) { !$0.isUnfit(for: cluster) } ?? first(owners + others) { _ in true }
  }

  private func rotated(_ links: [NodeLink]) -> [NodeLink] {
    guard !links.isEmpty else { return [] }
    turn = (turn + 1) % links.count
    return Array(links[turn...] + links[..<turn])
  }

  /// The cluster that this client belongs to since it learnt of a layout.
  var cluster: ClusterID { routes?.layout.cluster ?? .none }

  var layoutVersion: UInt32 { routes?.layout.version ?? 0 }
}

// MARK: Layout

extension ClientEngine {
  /// A node spoke of a layout: fetches it, once, when it is newer than the one known here.
  func onLayoutVersion(_ version: UInt32, from link: NodeLink) {
    guard configuration.followsLayout, version > layoutVersion, !isFetchingLayout, link.isUp(for: cluster),
      case .running = phase
    else { return }
    isFetchingLayout = true
    counters.layoutFetches += 1
    let call = Call(.fetchLayout, .address(link.address), within: Span64(configuration.deadline))
    call.ending = .refresh
    open(call)
    arm(call, at: call.deadline)
    place(call)
  }

  private func onLayoutFetched(_ result: Result<ClientResponse, KVError>) {
    isFetchingLayout = false
    switch result {
    case .success(.layout(let layout, let table)): install(layout, table)
    case .success: logger.warning("a node answered the question for its layout with something else")
    case .failure(let error): logger.debug("layout not fetched", metadata: ["error": "\(error)"])
    }
  }

  private func install(_ layout: Layout, _ table: PartitionTable) {
    guard layout.version > layoutVersion, cluster == .none || layout.cluster == cluster else { return }
    routes = Routes(layout: layout, table: table, links: layout.members.map(link(for:)))
    logger.debug("layout learnt", metadata: ["version": "\(layout.version)", "members": "\(layout.members.count)"])
  }

  /// The link to a member: one that is connected to that very node already, else one to its address.
  private func link(for member: Member) -> NodeLink {
    let link = linksByNumber.first { $0.node == member.id } ?? link(to: member.clientAddress)
    link.member = member
    return link
  }
}
