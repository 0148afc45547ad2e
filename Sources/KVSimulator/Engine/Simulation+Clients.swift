import KVCore
import KVModel

// Clients: what they ask, whom, and what they make of the answers. Everything that they see goes into the history.
extension Simulation {
  func makeClients() {
    clients = (0..<options.workload.clients).map { SimulatedClient(index: $0) }
  }

  // MARK: Asking

  func onClientTurn(_ client: Int) {
    guard clients[client].current == nil, !clients[client].isResting else { return }
    if let key = clients[client].planned.take() { return read(key, .quorum, at: client) }
    begin(draw(), at: client)
  }

  private func draw() -> SimulationOptions.Workload.Kind {
    let weights = options.workload.weights
    let total = weights.values.reduce(0, +)
    var place = clientDraws.below(total)
    for kind in SimulationOptions.Workload.Kind.allCases {
      guard let weight = weights[kind] else { continue }
      if place < weight { return kind }
      place -= weight
    }
    return .get
  }

  private func drawKey() -> Int {
    clientDraws.chance(options.workload.hotShare, of: 100) ? 0 : clientDraws.index(keys.count)
  }

  private func begin(_ kind: SimulationOptions.Workload.Kind, at client: Int) {
    let key = drawKey()
    switch kind {
    case .get: read(key, drawReadQuorum(), at: client)
    case .readModifyWrite: read(key, .quorum, at: client, isReadModifyWrite: true)
    case .put: write(key, .put, context: nil, at: client)
    case .putContext: write(key, .put, context: drawContext(key), at: client)
    case .delete: write(key, .delete, context: nil, at: client)
    case .deleteContext: write(key, .delete, context: drawContext(key), at: client)
    case .putExpiring:
      write(key, .put, context: nil, ttlMs: clientDraws.within(1...options.workload.ttlMsMax), at: client)
    case .getAtExpiry: planRead(key, at: client)
    case .foreignContext:
      let other = clientDraws.index(keys.count)
      guard other != key, let context = drawContext(other) else { return read(key, .quorum, at: client) }
      write(key, .put, context: context, isForeign: true, at: client)
    }
  }

  /// Waits until what was put there last with a time to live is about to expire, or has just done so by the clock of the
  /// node that will say so; reads at once when there is nothing to wait for.
  private func planRead(_ key: Int, at client: Int) {
    let soon = 3_000_000_000 + time
    let jitter = clientDraws.within(0...2 * (options.clocks.offsetMs + 2)) * 1_000_000
    let begin = (options.clocks.offsetMs + 2) * 1_000_000
    guard let at = expiries[key], at + jitter > begin + time, at + jitter - begin < soon else {
      return read(key, .quorum, at: client)
    }
    clients[client].planned = key
    queue.push(.clientTurn(client: client), at: at + jitter - begin)
  }

  private func drawReadQuorum() -> Quorum {
    if clientDraws.chance(options.workload.weakReads, of: 100) { return .owners(1) }
    return clientDraws.chance(options.workload.allReads, of: 100) ? .all : .quorum
  }

  /// The newest context of a key, or an older one.
  private func drawContext(_ key: Int) -> HeldContext? {
    let held = contexts[key]
    guard let newest = held.last else { return nil }
    return clientDraws.chance(options.workload.staleContext, of: 100) ? held[clientDraws.index(held.count)] : newest
  }

  func read(_ key: Int, _ quorum: Quorum, at client: Int, isReadModifyWrite: Bool = false) {
    let count = quorum.count(default: options.readQuorum, replication: options.copies)
    let place = record(.get, client, key, quorum: count)
    send(.get(keys[key], quorum), operation: place, at: client)
    clients[client].current?.isReadModifyWrite = isReadModifyWrite
  }

  func write(
    _ key: Int, _ kind: Operation.Kind, context: HeldContext?, ttlMs: UInt64? = nil, isForeign: Bool = false,
    at client: Int
  ) {
    let place = record(kind, client, key, quorum: options.writeQuorum)
    history.operations[place].context = isForeign ? nil : context?.operation
    history.operations[place].ttlMs = ttlMs
    if let ttlMs { expiries[key] = time + ttlMs * 1_000_000 }
    let number = history.operations[place].number
    let value = value(of: number)
    let payload: WriteRequest.Payload = kind == .delete ? .delete : .put(value, checksum: Checksum.of(value))
    let request = WriteRequest(
      key: keys[key], requestID: RequestID(client: UInt64(client) + 1, sequence: UInt64(number)),
      context: context?.token, ttlMs: ttlMs, payload: payload)
    send(.write(request), operation: place, at: client)
    clients[client].current?.hasForeignContext = isForeign
  }

  private func record(_ kind: Operation.Kind, _ client: Int, _ key: Int, quorum: Int) -> Int {
    let operation = Operation(
      number: history.operations.count, client: client, kind: kind, key: key, quorum: quorum, invokedAt: time)
    history.operations.append(operation)
    return history.operations.count - 1
  }

  /// The operation's number, then padding.
  private func value(of number: Int) -> [UInt8] {
    let count = 8 + clientDraws.below(options.workload.valueBytesMax)
    var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: Int(count))
    for place in 0..<8 { bytes[place] = UInt8(truncatingIfNeeded: number >> (8 * place)) }
    return bytes
  }

  private func number(in value: [UInt8]) -> Int {
    var number = 0
    for place in 0..<min(8, value.count) { number |= Int(value[place]) << (8 * place) }
    return number
  }

  // MARK: Sending

  private func send(_ request: ClientRequest, operation: Int, at client: Int) {
    let key = history.operations[operation].key
    clients[client].current = SimulatedClient.Attempt(
      operation: operation, request: request, frame: 0, node: drawNode(for: key, except: []))
    transmit(client)
  }

  /// An owner, or sometimes anybody; not one that could not be reached.
  private func drawNode(for key: Int, except refused: [Int]) -> Int {
    if phase == .faulty, clientDraws.chance(options.workload.strayRequests, of: 100) {
      return clientDraws.index(nodes.count)
    }
    let owners = ownersOfKeys[key].filter { !refused.contains($0) && isReachable($0) }
    return owners.isEmpty ? clientDraws.index(nodes.count) : owners[clientDraws.index(owners.count)]
  }

  /// In the end clients know which nodes are there.
  private func isReachable(_ node: Int) -> Bool {
    phase == .faulty || (nodes[node].condition == .running && !nodes[node].takesNoPart)
  }

  /// Sends the attempt's request in a frame of its own.
  private func transmit(_ client: Int) {
    clients[client].lastRequest += 1
    let frame = clients[client].lastRequest
    clients[client].current?.frame = frame
    guard let attempt = clients[client].current else { return }
    let node = nodes[attempt.node]
    let deadlineMs = phase == .faulty ? options.workload.deadlineMs : 5_000
    trace.line(time) { "c\(client) → \(node.name) \(describe(attempt))" }
    let delay = clientDelay()
    guard node.isUp else {
      queue.push(.reset(client: client, request: frame, wasSent: false), at: time + delay)
      return
    }
    clients[client].current?.wasSent = true
    let due = now(node).instant.advanced(by: .milliseconds(deadlineMs)).milliseconds
    let header = FrameHeader(type: attempt.request.frameType, requestID: frame, deadlineMs: due)
    var bytes: [UInt8] = []
    header.appendFrame(to: &bytes) { attempt.request.encode(into: &$0) }
    // A client waits a little longer than it lets the node work.
    let patience = (deadlineMs + 50) * 1_000_000 + 4 * delay
    queue.push(.clientGivesUp(client: client, request: frame), at: time + patience)
    if isLost() { return }
    queue.push(
      .clientFrame(node: node.index, incarnation: node.incarnation, client: client, bytes: bytes), at: time + delay)
    if phase == .faulty, clientDraws.chance(options.workload.cancels, of: 100) {
      planCancel(frame, client, node, delay)
    }
  }

  /// The client will withdraw the request, which the node may have answered by then.
  private func planCancel(_ frame: UInt64, _ client: Int, _ node: SimulatedNode, _ delay: UInt64) {
    var bytes: [UInt8] = []
    FrameHeader(type: .cancel, requestID: frame).appendFrame(to: &bytes) { _ in }
    queue.push(
      .clientFrame(node: node.index, incarnation: node.incarnation, client: client, bytes: bytes),
      at: time + delay + clientDelay())
  }

  private func clientDelay() -> UInt64 {
    Exponential.draw(mean: phase == .faulty ? options.network.delay : 100_000, &clientDraws) + 10_000
  }

  private func isLost() -> Bool {
    phase == .faulty && options.workload.lost > 0 && clientDraws.chance(options.workload.lost, of: 10_000)
  }

  private func describe(_ attempt: SimulatedClient.Attempt) -> String {
    let operation = history.operations[attempt.operation]
    let context = operation.context.map { " with the context of #\($0)" } ?? ""
    let retry = operation.attempts > 1 ? ", attempt \(operation.attempts)" : ""
    return "#\(operation.number) \(operation.kind.rawValue) \(history.keys[operation.key])\(context)\(retry)"
  }

  // MARK: At the node

  func onClientFrame(_ node: SimulatedNode, _ incarnation: UInt32, _ client: Int, _ bytes: [UInt8]) {
    let event = Event.clientFrame(node: node.index, incarnation: incarnation, client: client, bytes: bytes)
    guard running(node.index, incarnation, event) != nil else { return }
    bytes.withUnsafeBytes { bytes in
      guard case .frame(let header, let body, _) = FrameScan.next(in: bytes, bodyBytesMax: Limits.requestBytesMax)
      else { return fail(Violation(.bounded, "a frame of client \(client) cannot be scanned")) }
      trace.mix(time, header.checksum)
      if header.type == .cancel { return cancel(header.requestID, client, node) }
      guard let request = try? ClientRequest(header.type, body) else {
        return fail(Violation(.bounded, "a request of client \(client) cannot be decoded"))
      }
      route(request, header, client, node)
    }
  }

  private func route(_ request: ClientRequest, _ header: FrameHeader, _ client: Int, _ node: SimulatedNode) {
    let reference = ClientRef(connection: UInt64(client), request: header.requestID)
    guard let key = request.key, let partition = node.shards[0].view.partition(of: key) else {
      return respond(.failed(.notInCluster(for: request)), to: reference, node)
    }
    node.requests[client] = header.requestID
    watchReserve(node, request, header.requestID, client, partition)
    turn(
      node, partition.shard(of: node.shards.count),
      .request(request, from: reference, deadline: Instant(nanoseconds: header.deadlineMs &* 1_000_000)))
  }

  private func cancel(_ request: UInt64, _ client: Int, _ node: SimulatedNode) {
    for shard in node.shards.indices where node.isUp {
      turn(node, shard, .cancel(ClientRef(connection: UInt64(client), request: request)))
    }
  }

  func respond(_ response: ClientResponse, to client: ClientRef, _ node: SimulatedNode) {
    guard client.connection < clients.count else { return }
    let index = Int(client.connection)
    if node.requests[index] == client.request { node.requests[index] = nil }
    checkReserve(node, response, client)
    var bytes: [UInt8] = []
    let header = FrameHeader(type: response.frameType, requestID: client.request)
    header.appendFrame(to: &bytes) { response.encode(into: &$0) }
    if isLost() { return }
    queue.push(.answer(client: index, bytes: bytes), at: time + clientDelay())
  }

  /// The process has died: its clients' connections break.
  func dropRequests(of node: SimulatedNode) {
    for client in node.requests.keys.sorted() {
      guard let request = node.requests[client] else { continue }
      queue.push(.reset(client: client, request: request, wasSent: true), at: time + clientDelay())
    }
    node.requests.removeAll()
  }

  // MARK: Answers

  func onAnswer(_ client: Int, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { bytes in
      guard case .frame(let header, let body, _) = FrameScan.next(in: bytes, bodyBytesMax: Limits.recordBytesMax),
        let response = try? ClientResponse(header.type, body)
      else { return fail(Violation(.bounded, "an answer to client \(client) cannot be decoded")) }
      guard let attempt = clients[client].current, attempt.frame == header.requestID else { return }
      trace.mix(time, header.checksum)
      onAnswer(response, attempt, client)
    }
  }

  private func onAnswer(_ response: ClientResponse, _ attempt: SimulatedClient.Attempt, _ client: Int) {
    let place = attempt.operation
    switch response {
    case .value(let answer):
      history.operations[place].seen = answer.siblings.compactMap { $0.value.map { number(in: $0.copied) } }
      hold(answer.context, of: place)
      if answer.siblings.count > Limits.siblingsMax * options.copies {
        fail(Violation(.bounded, "\(answer.siblings.count) siblings", operations: [place]))
      }
      finish(client, .ok, nil)
      if attempt.isReadModifyWrite { writeBack(place, at: client) }
    case .written(let receipt):
      if attempt.hasForeignContext {
        fail(Violation(.definiteFailure, "a token of another key was accepted", operations: [place]))
      }
      if let context = receipt.context { hold(context, of: place) }
      if receipt.siblings == .absent { toldAlone.insert(place) }
      finish(client, .ok, nil)
    case .failed(let failure): onFailure(failure, attempt, client)
    case .explained, .described, .layout, .done, .reserved, .repaired:
      fail(Violation(.bounded, "client \(client) was answered what it did not ask", operations: [place]))
    }
  }

  private func hold(_ token: ContextToken, of place: Int) {
    let key = history.operations[place].key
    contexts[key].append(HeldContext(operation: place, token: token))
    if contexts[key].count > 6 { contexts[key].removeFirst() }
  }

  private func writeBack(_ place: Int, at client: Int) {
    guard let held = contexts[history.operations[place].key].last, held.operation == place else { return }
    write(history.operations[place].key, .put, context: held, at: client)
  }

  private func onFailure(_ failure: Failure, _ attempt: SimulatedClient.Attempt, _ client: Int) {
    if followPlan(failure, at: client) { return }
    let isWrite = history.operations[attempt.operation].isWrite
    if isWrite, failure.outcome == .unknown { return retryOrEnd("\(failure.code)", client) }
    finish(client, .rejected, "\(failure.code)")
  }

  func onReset(_ client: Int, _ request: UInt64, _ wasSent: Bool) {
    guard var attempt = clients[client].current, attempt.frame == request else { return }
    trace.mix(time, request)
    if wasSent { return retryOrEnd("reset", client) }
    // Nobody got it: another node may be asked, and nothing has happened.
    attempt.refused.append(attempt.node)
    if attempt.refused.count > nodes.count {
      return finish(client, attempt.wasSent ? .unknown : .rejected, "unreachable")
    }
    attempt.node = drawNode(for: history.operations[attempt.operation].key, except: attempt.refused)
    clients[client].current = attempt
    transmit(client)
  }

  func onClientGivesUp(_ client: Int, _ request: UInt64) {
    guard clients[client].current?.frame == request else { return }
    trace.mix(time, request)
    retryOrEnd("timed_out", client)
  }

  /// What became of the attempt is not known. A write may be sent again under its request id; a read has failed.
  private func retryOrEnd(_ error: String, _ client: Int) {
    if followPlan(nil, at: client) { return }
    guard var attempt = clients[client].current else { return }
    let operation = history.operations[attempt.operation]
    guard operation.isWrite, case .write(var write) = attempt.request, operation.attempts < 4, phase == .faulty,
      clientDraws.chance(options.workload.retries, of: 100)
    else { return finish(client, operation.isWrite ? .unknown : .rejected, error) }
    history.operations[attempt.operation].attempts += 1
    write.isRetry = true
    attempt.request = .write(write)
    clients[client].current = attempt
    transmitAgain(client)
  }

  /// To any owner.
  func transmitAgain(_ client: Int) {
    guard let place = clients[client].current?.operation else { return }
    clients[client].current?.refused = []
    clients[client].current?.node = drawNode(for: history.operations[place].key, except: [])
    transmit(client)
  }

  func finish(_ client: Int, _ outcome: Operation.Outcome, _ error: String?) {
    guard let attempt = clients[client].current.take() else { return }
    let place = attempt.operation
    history.operations[place].returnedAt = time
    history.operations[place].outcome = outcome
    history.operations[place].error = error
    trace.line(time) { "c\(client) #\(place) \(outcome.rawValue)\(error.map { " \($0)" } ?? "") \(seenText(place))" }
    switch outcome {
    case .ok:
      completed += 1
      counts.completed += 1
    case .rejected: counts.rejected += 1
    case .unknown: counts.unknown += 1
    }
    clients[client].failures = outcome == .ok ? 0 : min(5, clients[client].failures + 1)
    if clients[client].isResting { return }
    // 10 ms after the first failure, 160 ms after the fifth.
    let backoff: UInt64 = outcome == .ok ? 0 : 5_000_000 << UInt64(clients[client].failures)
    let pause = max(options.workload.think, backoff)
    queue.push(.clientTurn(client: client), at: time + Exponential.draw(mean: pause, &clientDraws) + 1_000)
  }

  private func seenText(_ place: Int) -> String {
    let operation = history.operations[place]
    if operation.kind != .get || operation.outcome != .ok { return "" }
    return "sees \(operation.seen)"
  }
}
