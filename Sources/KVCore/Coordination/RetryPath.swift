import KVModel

/// A write that was sent before: every owner is asked whether it knows the request id before anything is minted.
///
/// ```
///              ┌─ some know it ──► read it, with write-back ──► ok: what is there, or what has replaced it
///   ask all ───┼─ none does ─────► mint, as if for the first time
///              └─ one is silent ─► unknown
/// ```
///
/// All of them, since the one that cannot be asked may have coordinated the first attempt: its version would come to
/// light later, beside whatever replaced the retry's, a deletion too. An owner that says no also fences the request id
/// for this retry: from then on it neither mints under it nor lets in what others minted under it. So a first attempt
/// that is still on its way finds the door closed, and of two retries at most one mints. A write with a context has one
/// version, and who has seen it has seen all of it; an overwrite may have a second one from its second round, so that
/// all must be heard there too.
struct RetryOperation: Sendable {
  let operation: WriteOperation
  var seen = OwnerMask()
  var unseen = OwnerMask()
  var failed = OwnerMask()
  /// The request id was found; the confirming read is under way.
  var isConfirming = false

  enum Decision {
    case waiting
    case confirm
    case mint
    case fail
  }

  var decision: Decision {
    if operation.write.context != nil, seen.count > 0 { return .confirm }
    let count = operation.owners.nodes.count
    guard seen.union(unseen).union(failed).count == count else { return .waiting }
    if seen.union(unseen).count < count { return .fail }
    return seen.count > 0 ? .confirm : .mint
  }
}

/// The retry for which an owner has fenced a request id.
struct RetryClaim: Hashable, Sendable {
  var asker: NodeID
  var operation: UInt64
}

/// A request id under which only the retry that claimed it may mint. Forgotten by a restart, and so is whatever waited
/// in front of it.
struct RequestFence: Equatable, Sendable {
  var claim: RetryClaim
  var until: Instant
}

extension Shard {
  mutating func startRetry(_ operation: WriteOperation, _ now: Now, _ effects: inout [Effect]) {
    counters.retries += 1
    if planted(.retryAppliedTwice) { return startWrite(operation, now, &effects) }
    var retry = RetryOperation(operation: operation)
    for (place, node) in operation.owners.nodes.enumerated()
    where node != identity.node && !reachability.isLinked(node) {
      retry.failed.insert(place)
    }
    let id = retries.insert(retry)
    track(operation.request, id)
    schedule(id, at: operation.request.deadline, &effects)
    let question = PeerMessage.requestCheck(operation.write.requestID, operation.write.key)
    for (place, node) in operation.owners.nodes.enumerated() where !retry.failed.contains(place) {
      send(question, to: node, Envelope(operation: id.raw, deadline: operation.request.deadline), now, &effects)
    }
    decideRetry(id, now, &effects)
  }

  mutating func onRequestCheckReply(
    _ reply: RequestCheckReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard id.kind == .retry, let retry = retries[id], let place = retry.operation.owners.place(of: peer) else { return }
    if retry.isConfirming { return }
    switch reply {
    case .seen: retries[id]?.seen.insert(place)
    case .notSeen: retries[id]?.unseen.insert(place)
    case .cannotTell: retries[id]?.failed.insert(place)
    }
    decideRetry(id, now, &effects)
  }

  private mutating func decideRetry(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id] else { return }
    switch retry.decision {
    case .waiting: return
    case .confirm: confirm(id, now, &effects)
    case .fail: failRetry(id, now, &effects)
    case .mint:
      retries.remove(id)
      var operation = retry.operation
      operation.claim = RetryClaim(asker: identity.node, operation: id.raw)
      startWrite(operation, now, &effects)
    }
  }

  /// Reads all that know it, so that N−R+1 and at least W owners hold what is there, the retried version or what
  /// replaced it.
  private mutating func confirm(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id] else { return }
    counters.retriesApplied += 1
    retries[id]?.isConfirming = true
    var request = retry.operation.request
    request.origin = .retry(id)
    let quorum = max(view.current?.layout.settings.readQuorum ?? 1, retry.operation.needed)
    let read = ReadOperation(
      key: retry.operation.write.key, needed: max(quorum, retry.seen.count), owners: retry.operation.owners,
      request: request,
      durableNeeded: max(retry.operation.owners.copies - quorum + 1, retry.operation.needed), mustHear: retry.seen)
    startRead(read, now, &effects)
  }

  /// The confirming read has found this, and enough owners hold it.
  mutating func onConfirmed(_ record: Record, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries.remove(id) else { return }
    let write = retry.operation.write
    if write.context == nil, record.versions.count > 1 {
      // Whether the first attempt came to supersede what its quorum held cannot be told any more.
      let failure = Failure(.unavailable, .unknown, detail: "it was applied, and others wrote at the same time")
      return respond(.failed(failure), retry.operation.request, now, &effects)
    }
    // What lies beside the write was never shown to its author, so the receipt must not cover it.
    let isAlone = record.versions.allSatisfy { $0.requestID == write.requestID }
    let receipt = Receipt(
      context: isAlone ? token(of: record, write.key) : nil, stamp: record.highestStamp,
      acknowledgements: UInt8(retry.operation.needed), hints: 0,
      siblings: record.versions.count > 1 ? .present : .unknown, wasFound: true)
    respond(.written(receipt), retry.operation.request, now, &effects)
  }

  /// The confirming read has failed.
  mutating func onUnconfirmed(
    _ response: ClientResponse, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let retry = retries.remove(id) else { return }
    guard case .failed = response else { return invariant(false, "a read ended with \(response)") }
    respond(response, retry.operation.request, now, &effects)
  }

  mutating func onOwnerLost(_ peer: NodeID, ofRetry id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id], !retry.isConfirming, let place = retry.operation.owners.place(of: peer),
      !retry.unseen.union(retry.seen).contains(place)
    else { return }
    retries[id]?.failed.insert(place)
    decideRetry(id, now, &effects)
  }

  mutating func onRetryTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if retries.isLive(id) { failRetry(id, now, &effects) }
  }

  /// Whatever the first attempt did, it may still appear.
  private mutating func failRetry(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries.remove(id) else { return }
    let failure = quorumFailure(
      "know whether it was applied", needed: retry.operation.owners.nodes.count,
      got: retry.unseen.union(retry.seen).count, .unknown)
    respond(failure, retry.operation.request, now, &effects)
  }
}

// At an owner that is asked.
extension Shard {
  mutating func onRequestCheck(
    _ request: RequestID, _ key: Key, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    if dropsExpired(envelope, now) { return }
    let isUnderWay = writes.ids.contains { id in
      writes[id].map { $0.write.requestID == request && $0.mayStillMint } ?? false
    }
    let isForgetful = rebuild.census.isForgetful(at: now.wall)
    guard !isUnderWay, !isForgetful, view.standing == .confirmed, fences.count < settings.replicaOperationsMax else {
      return send(.requestCheckReply(.cannotTell), to: peer, envelope, now, &effects)
    }
    fences[request] = RequestFence(
      claim: RetryClaim(asker: peer, operation: envelope.operation),
      until: now.instant.advanced(by: .milliseconds(Limits.deadlineMsMax)))
    let id = requestChecks.insert(RequestCheck(request: request, key: key, asker: peer, envelope: envelope))
    // A merge that changes nothing: it ends when all that came before it is synced, and can be found.
    effects.append(.store(.merge(key, .join(Record())), StorageID(raw: id.raw)))
  }

  mutating func onRequestCheckStored(
    _ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let check = requestChecks[id] else { return }
    let reply: RequestCheckReply
    switch result {
    case .merged: return
    case .synced: return effects.append(.store(.findRequest(check.request, check.key), StorageID(raw: id.raw)))
    case .request(let seen): reply = seen ? .seen : .notSeen
    case .refused: reply = .cannotTell
    case .unreadable:
      rebuild.isStale = true
      reply = .cannotTell
    case .record, .leased, .digests, .listed, .hints, .census, .expired, .rescanned, .incomplete, .gaps, .scrubbed,
      .failed:
      return invariant(false, "a request check answered by \(result)")
    }
    requestChecks.remove(id)
    send(.requestCheckReply(reply), to: check.asker, check.envelope, now, &effects)
  }

  /// Whether a retry has claimed a request id, and not the one that asks.
  func isFenced(_ request: RequestID, for claim: RetryClaim?, _ now: Now) -> Bool {
    guard let fence = fences[request], fence.until > now.instant else { return false }
    return fence.claim != claim
  }

  /// The same for a version that a peer has minted.
  func isFenced(_ request: RequestID, mintedBy peer: NodeID, _ now: Now) -> Bool {
    guard let fence = fences[request], fence.until > now.instant else { return false }
    return fence.claim.asker != peer
  }
}
