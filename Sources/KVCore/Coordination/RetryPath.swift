import KVModel

/// A write that was sent before: the owners are asked whether they know its request id before anything is minted. All
/// that can be reached are heard; when one is late, R are enough.
///
/// Known: what is there is made durable by a read with write-back, and acknowledged. Known to none of R owners: no
/// quorum read can have returned it (a read writes back what it returns), so it is written as if for the first time.
struct RetryOperation: Sendable {
  let operation: WriteOperation
  let needed: Int
  var unseen = OwnerMask()
  var failed = OwnerMask()
  /// The request id was found; the confirming read is under way.
  var isConfirming = false
  /// Time to do with R answers.
  var isImpatient = false

  var decision: OwnerSet.Decision {
    let decision = operation.owners.decision(needed: needed, succeeded: unseen, failed: failed)
    let heardAll = unseen.union(failed).count == operation.owners.nodes.count
    return decision == .met && !heardAll && !isImpatient ? .waiting : decision
  }
}

extension Shard {
  mutating func startRetry(_ operation: WriteOperation, _ now: Now, _ effects: inout [Effect]) {
    counters.retries += 1
    if planted(.retryAppliedTwice) { return startWrite(operation, now, &effects) }
    let needed = view.current?.layout.settings.readQuorum ?? 1
    var retry = RetryOperation(operation: operation, needed: needed)
    for (place, node) in operation.owners.nodes.enumerated()
    where node != identity.node && !reachability.isLinked(node) {
      retry.failed.insert(place)
    }
    let id = retries.insert(retry)
    track(operation.request, id)
    schedule(id, at: min(now.instant.advanced(by: settings.retryPatience), operation.request.deadline), &effects)
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
    case .seen: return confirm(id, knownAt: place, now, &effects)
    case .notSeen: retries[id]?.unseen.insert(place)
    case .unreadable: retries[id]?.failed.insert(place)
    }
    decideRetry(id, now, &effects)
  }

  private mutating func decideRetry(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id] else { return }
    switch retry.decision {
    case .waiting: return
    case .impossible: failRetry(id, now, &effects)
    case .met:
      retries.remove(id)
      startWrite(retry.operation, now, &effects)
    }
  }

  /// Reads so that N−R+1 and at least W owners hold what is there, the retried version or what replaced it.
  private mutating func confirm(
    _ id: OperationID, knownAt place: Int, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let retry = retries[id] else { return }
    var mustHear = OwnerMask()
    mustHear.insert(place)
    counters.retriesApplied += 1
    retries[id]?.isConfirming = true
    var request = retry.operation.request
    request.origin = .retry(id)
    let needed = max(retry.needed, retry.operation.needed)
    let read = ReadOperation(
      key: retry.operation.write.key, needed: needed, owners: retry.operation.owners, request: request,
      durableNeeded: max(retry.operation.owners.copies - needed + 1, retry.operation.needed), mustHear: mustHear)
    startRead(read, now, &effects)
  }

  /// The confirming read has ended.
  mutating func onConfirmed(
    _ response: ClientResponse, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let retry = retries.remove(id) else { return }
    switch response {
    case .value(let answer):
      let receipt = Receipt(
        context: answer.context, stamp: answer.context.stamp, acknowledgements: UInt8(retry.operation.needed), hints: 0)
      respond(.written(receipt), retry.operation.request, now, &effects)
    case .failed(var failure):
      failure.outcome = .unknown
      respond(.failed(failure), retry.operation.request, now, &effects)
    case .written, .explained, .described, .layout, .done, .reserved: invariant(false, "a read ended with \(response)")
    }
  }

  mutating func onOwnerLost(_ peer: NodeID, ofRetry id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id], !retry.isConfirming, let place = retry.operation.owners.place(of: peer),
      !retry.unseen.contains(place)
    else { return }
    retries[id]?.failed.insert(place)
    decideRetry(id, now, &effects)
  }

  mutating func onRetryTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries[id] else { return }
    if now.instant >= retry.operation.request.deadline { return failRetry(id, now, &effects) }
    retries[id]?.isImpatient = true
    schedule(id, at: retry.operation.request.deadline, &effects)
    if !retry.isConfirming { decideRetry(id, now, &effects) }
  }

  /// Whatever the first attempt did, it may still appear.
  private mutating func failRetry(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let retry = retries.remove(id) else { return }
    let failure = quorumFailure(
      "know whether it was applied", needed: retry.needed, got: retry.unseen.count, .unknown)
    respond(failure, retry.operation.request, now, &effects)
  }
}
