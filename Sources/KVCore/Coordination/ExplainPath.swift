import KVModel

/// What each owner of a key holds, for people. Asks everyone, waits for everyone, repairs nothing.
struct ExplainOperation: Sendable {
  let owners: OwnerSet
  let request: Request
  /// By place in `owners`.
  var states: [ReplicaView.State?]
}

extension Shard {
  mutating func startExplain(
    _ key: Key, _ owners: OwnerSet, _ request: Request, _ now: Now, _ effects: inout [Effect]
  ) {
    var operation = ExplainOperation(
      owners: owners, request: request, states: Array(repeating: nil, count: owners.nodes.count))
    for (place, node) in owners.nodes.enumerated() where node != identity.node && !reachability.isLinked(node) {
      operation.states[place] = .unreachable
    }
    let id = explains.insert(operation)
    track(request, id)
    for (place, node) in owners.nodes.enumerated() where operation.states[place] == nil {
      let whole = PeerMessage.replicaRead(key, inlineBytesMax: UInt32(Limits.recordBytesMax))
      send(whole, to: node, Envelope(operation: id.raw, deadline: request.deadline), now, &effects)
    }
    // Half of what is left, so that one silent owner does not keep the answer about the others from its asker.
    let left = request.deadline.since(now.instant)
    schedule(id, at: now.instant.advanced(by: Span64(nanoseconds: left.nanoseconds / 2)), &effects)
  }

  mutating func onExplainReply(
    _ reply: ReplicaReadReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    let state: ReplicaView.State =
      switch reply {
      case .record(let record): .record(record)
      case .unreadable, .incomplete, .digest: .unreadable
      }
    onExplained(peer, state, id, now, &effects)
  }

  mutating func onOwnerLost(_ peer: NodeID, ofExplain id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    onExplained(peer, .unreachable, id, now, &effects)
  }

  private mutating func onExplained(
    _ peer: NodeID, _ state: ReplicaView.State, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = explains[id], let place = operation.owners.place(of: peer),
      operation.states[place] == nil
    else { return }
    explains[id]?.states[place] = state
    if explains[id]?.states.allSatisfy({ $0 != nil }) == true { finishExplain(id, now, &effects) }
  }

  mutating func onExplainTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    finishExplain(id, now, &effects)
  }

  private mutating func finishExplain(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = explains.remove(id) else { return }
    let views = zip(operation.owners.nodes, operation.states).map { ReplicaView(node: $0, state: $1 ?? .unreachable) }
    respond(.explained(views), operation.request, now, &effects)
  }
}
