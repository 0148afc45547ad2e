import KVModel

/// Who asked for an operation, and so who is answered.
enum Origin: Equatable, Sendable {
  case client(ClientRef)
  /// A node that is no owner and handed the request on.
  case peer(NodeID, operation: UInt64)
  /// A retried write that turned out to be applied: the read makes it durable before it is answered.
  case retry(OperationID)
}

/// Names a request that another node handed on.
struct ForwardName: Hashable, Sendable {
  let peer: NodeID
  let operation: UInt64
}

/// What every operation of a coordinator carries.
struct Request: Equatable, Sendable {
  var origin: Origin
  var kind: ShardCounters.Kind
  var deadline: Instant
  var startedAt: Instant
  /// A write that was sent before: whatever this attempt comes to, the first one may still appear.
  var isRetry = false
}

extension Shard {
  /// A client's request. Checked whole before anything happens, so that what is refused never took effect.
  mutating func onRequest(
    _ request: ClientRequest, _ client: ClientRef, _ deadline: Instant, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let kind = request.counted, let key = request.key else {
      effects.append(.respond(.failed(Failure(.invalidRequest, detail: "not a request about a key")), to: client))
      return
    }
    let latest = now.instant.advanced(by: .milliseconds(Limits.deadlineMsMax))
    let context = Request(
      origin: .client(client), kind: kind, deadline: min(deadline, latest), startedAt: now.instant,
      isRetry: request.isRetry)
    guard let owners = admit(request, key, context, now, &effects) else { return }
    if owners.place(of: identity.node) == nil, !planted(.strangerMints) {
      forward(request, owners, context, now, &effects)
    } else {
      coordinate(request, owners, context, now, &effects)
    }
  }

  /// A request that another node handed on. It is coordinated here or refused: never handed on again.
  mutating func onForwarded(
    _ request: ClientRequest, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    let latest = now.instant.advanced(by: .milliseconds(Limits.deadlineMsMax))
    let context = Request(
      origin: .peer(peer, operation: envelope.operation), kind: request.counted ?? .get,
      deadline: min(envelope.deadline, latest), startedAt: now.instant, isRetry: request.isRetry)
    let name = ForwardName(peer: peer, operation: envelope.operation)
    guard forwardsSeen.updateValue(context.deadline, forKey: name) == nil else { return }
    guard request.counted != nil, let key = request.key else {
      return respond(.failed(Failure(.invalidRequest, detail: "not a request about a key")), context, now, &effects)
    }
    guard let owners = admit(request, key, context, now, &effects) else { return }
    guard owners.place(of: identity.node) != nil else {
      return respond(
        .failed(Failure(.notMember, detail: "node \(identity.node) owns no copy of this key")), context, now, &effects)
    }
    coordinate(request, owners, context, now, &effects)
  }

  private mutating func coordinate(
    _ request: ClientRequest, _ owners: OwnerSet, _ context: Request, _ now: Now, _ effects: inout [Effect]
  ) {
    switch request {
    case .get(let key, let quorum): startRead(key, quorum, owners, context, now, &effects)
    case .write(let write):
      if let failure = view.disk.refusal(of: write, at: identity.node), !planted(.diskReserveIgnored) {
        counters.diskRefusals += 1
        return respond(.failed(failure), context, now, &effects)
      }
      startWrite(write, owners, context, now, &effects)
    case .explain(let key): startExplain(key, owners, context, now, &effects)
    case .describe, .fetchLayout, .reserveCluster, .formCluster, .repair:
      invariant(false, "a shard was asked about the node")
    }
  }

  /// The owners, or nil when the request was refused.
  private mutating func admit(
    _ request: ClientRequest, _ key: Key, _ context: Request, _ now: Now, _ effects: inout [Effect]
  ) -> OwnerSet? {
    if let failure = refusal(of: request, key, context, now) {
      respond(.failed(failure), context, now, &effects)
      return nil
    }
    return owners(of: key)
  }

  private mutating func refusal(of request: ClientRequest, _ key: Key, _ context: Request, _ now: Now) -> Failure? {
    guard let layout = view.current?.layout else {
      return .notInCluster
    }
    if let failure = view.standing.failure { return failure }
    guard context.deadline > now.instant else {
      counters.expiredWork += 1
      return Failure(.timedOut, detail: "the deadline had passed on arrival")
    }
    guard inFlight < settings.operationsMax else {
      counters.overloads += 1
      return Failure(.overloaded, retryAfterMs: 50, detail: "\(inFlight) operations are under way")
    }
    switch request {
    case .get(_, let quorum):
      return Shard.refusal(of: quorum, named: "R", default: layout.settings.readQuorum, layout)
    case .write(let write):
      return Shard.refusal(of: write.quorum, named: "W", default: layout.settings.writeQuorum, layout)
        ?? refusal(of: write, key, layout)
    case .explain, .describe, .fetchLayout, .reserveCluster, .formCluster, .repair: return nil
    }
  }

  private static func refusal(
    of quorum: Quorum, named name: String, default count: Int, _ layout: Layout
  ) -> Failure? {
    let copies = layout.settings.replication
    let count = quorum.count(default: count, replication: copies)
    if (1...copies).contains(count) { return nil }
    return Failure(.invalidQuorum, detail: "\(name) is \(count); it must be 1 to \(copies), the copies of a key")
  }

  private func refusal(of write: WriteRequest, _ key: Key, _ layout: Layout) -> Failure? {
    if case .put(let value, let checksum) = write.payload {
      guard value.count <= Limits.valueBytesMax else {
        return Failure(
          .valueTooLarge, detail: "the value has \(value.count) bytes; at most \(Limits.valueBytesMax) are allowed")
      }
      guard Checksum.of(value) == checksum else {
        return Failure(.checksumMismatch, detail: "the value does not agree with its checksum; send it again")
      }
    }
    if let ttl = write.ttlMs, !(1...Limits.ttlMsMax).contains(ttl) {
      return Failure(.invalidTTL, detail: "the time to live must be 1 to \(Limits.ttlMsMax) ms")
    }
    guard let token = write.context else { return nil }
    guard token.belongs(to: key, of: layout.cluster) || planted(.foreignTokenAccepted), token.isSealed(by: view.secret),
      !claimsUnminted(token.vector)
    else {
      return Failure(.invalidContext, detail: "the context was not handed out for this key by this cluster")
    }
    return nil
  }

  /// Answers whoever asked, and counts the request as ended.
  mutating func respond(_ response: ClientResponse, _ request: Request, _ now: Now, _ effects: inout [Effect]) {
    var response = response
    if request.isRetry, case .failed(var failure) = response {
      failure.outcome = .unknown
      response = .failed(failure)
    }
    switch request.origin {
    case .client(let client):
      clients[client] = nil
      counters.onEnd(request.kind, response.ending, after: now.instant.since(request.startedAt))
      effects.append(.respond(response, to: client))
    case .peer(let node, let operation):
      counters.onEnd(request.kind, response.ending, after: now.instant.since(request.startedAt))
      send(
        .forwardedReply(response), to: node, Envelope(operation: operation, deadline: request.deadline), now, &effects)
    case .retry(let id): onUnconfirmed(response, id, now, &effects)
    }
  }

  /// Remembers which operation a client's request became, for its cancellation.
  mutating func track(_ request: Request, _ id: OperationID) {
    if case .client(let client) = request.origin { clients[client] = id }
  }

  /// The client no longer waits. A read ends, which its connection is told; a write that is under way goes on.
  mutating func onCancel(_ client: ClientRef, _ now: Now, _ effects: inout [Effect]) {
    guard let id = clients[client] else { return }
    let request: Request?
    switch id.kind {
    case .read: request = reads.remove(id)?.request
    case .explain: request = explains.remove(id)?.request
    case .write, .forward, .retry, .replicaRead, .replicaWrite, .requestCheck, .exchange, .mend, .treeQuery, .delivery,
      .transfer, .offerQuery, .survey, .housekeeping, nil:
      request = nil
    }
    if let request { respond(.failed(Failure(.cancelled)), request, now, &effects) }
  }

  /// Why a quorum was not reached, in numbers.
  mutating func quorumFailure(
    _ what: String, needed: Int, got: Int, _ outcome: Failure.Outcome = .rejected
  ) -> ClientResponse {
    counters.quorumFailures += 1
    return .failed(
      Failure(.unavailable, outcome, needed: needed, got: got, detail: "\(got) of \(needed) owners \(what)"))
  }
}
