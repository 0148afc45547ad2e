import KVModel

/// A request that reached a node which owns no copy of its key: handed to an owner, once.
struct ForwardOperation: Sendable {
  let message: ClientRequest
  let owners: OwnerSet
  let request: Request
  /// The owner that has it now.
  var place: Int
  /// Owners that it was handed to or that are away.
  var tried: OwnerMask

  /// A write that was handed on may be applied, whatever becomes of the answer.
  var isWrite: Bool { if case .write = message { true } else { false } }
}

extension Shard {
  mutating func forward(
    _ message: ClientRequest, _ owners: OwnerSet, _ request: Request, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let place = bestOwner(of: owners, except: OwnerMask(), now) else {
      let failure = quorumFailure("can be reached", needed: 1, got: 0)
      return respond(failure, request, now, &effects)
    }
    counters.forwarded += 1
    var operation = ForwardOperation(
      message: message, owners: owners, request: request, place: place, tried: OwnerMask())
    operation.tried.insert(place)
    let id = forwards.insert(operation)
    track(request, id)
    schedule(id, at: request.deadline, &effects)
    handOn(id, now, &effects)
  }

  private mutating func handOn(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = forwards[id] else { return }
    send(
      .forwarded(operation.message), to: operation.owners.nodes[operation.place],
      Envelope(operation: id.raw, deadline: operation.request.deadline), now, &effects)
  }

  /// The nearest and least busy owner that has a link; nil when none has.
  private func bestOwner(of owners: OwnerSet, except tried: OwnerMask, _ now: Now) -> Int? {
    let open = owners.nodes.indices.filter {
      !tried.contains($0) && reachability.standing(of: owners.nodes[$0], at: now.instant) != .away
    }
    func cost(_ place: Int) -> (Int, Int, Int) {
      let node = owners.nodes[place]
      let isSlow = reachability.standing(of: node, at: now.instant) == .slow
      return (isSlow ? 1 : 0, reachability.outstanding(node), place)
    }
    return open.min { cost($0) < cost($1) }
  }

  mutating func onForwardedReply(
    _ response: ClientResponse, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    // A second copy of the answer of an owner that was asked before says nothing of the one that has it now.
    guard id.kind == .forward, let operation = forwards[id], operation.owners.nodes[operation.place] == peer else {
      return
    }
    if response.suggestsAnotherCoordinator, handOnElsewhere(id, now, &effects) { return }
    forwards.remove(id)
    respond(response, operation.request, now, &effects)
  }

  /// False when there is nobody left to hand it to.
  private mutating func handOnElsewhere(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) -> Bool {
    guard let operation = forwards[id],
      let next = bestOwner(of: operation.owners, except: operation.tried, now)
    else { return false }
    forwards[id]?.place = next
    forwards[id]?.tried.insert(next)
    handOn(id, now, &effects)
    return true
  }

  /// A read goes to another owner; of a write nobody can say what became of it.
  mutating func onOwnerLost(_ peer: NodeID, ofForward id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = forwards[id], operation.owners.nodes[operation.place] == peer else { return }
    if operation.isWrite || !handOnElsewhere(id, now, &effects) { failForward(id, now, &effects) }
  }

  mutating func onForwardTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    failForward(id, now, &effects)
  }

  private mutating func failForward(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = forwards.remove(id) else { return }
    let failure = quorumFailure("answered as coordinator", needed: 1, got: 0, operation.isWrite ? .unknown : .rejected)
    respond(failure, operation.request, now, &effects)
  }
}

extension ClientResponse {
  /// Nothing happened, for a reason that lies with the coordinator.
  fileprivate var suggestsAnotherCoordinator: Bool {
    guard case .failed(let failure) = self, failure.outcome == .rejected else { return false }
    switch failure.code {
    case .unreadable, .overloaded, .notMember, .shuttingDown, .clockSkew: return true
    case .unavailable, .timedOut, .invalidRequest, .invalidKey, .valueTooLarge, .invalidTTL, .invalidQuorum,
      .invalidContext, .tooManySiblings, .checksumMismatch, .otherCluster, .invalidLayout, .cancelled, .storageFailed:
      return false
    }
  }
}
