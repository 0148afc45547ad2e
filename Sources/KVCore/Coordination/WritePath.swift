import KVModel

// The path of a PUT: startWrite → mint → onMinted (merged) → replicas → acknowledge → (second round) → finish.
extension Shard {
  mutating func startWrite(
    _ write: WriteRequest, _ owners: OwnerSet, _ request: Request, _ now: Now, _ effects: inout [Effect]
  ) {
    let settings = view.current?.layout.settings ?? ClusterSettings()
    let needed = write.quorum.count(default: settings.writeQuorum, replication: settings.replication)
    let operation = WriteOperation(
      write: write, needed: needed, owners: owners, request: request,
      expiry: write.ttlMs.map { WallTime(milliseconds: now.wall.milliseconds &+ $0) })
    if write.isRetry {
      startRetry(operation, now, &effects)
    } else {
      startWrite(operation, now, &effects)
    }
  }

  /// Refuses what cannot reach its quorum while nothing has happened yet; otherwise mints.
  mutating func startWrite(_ operation: WriteOperation, _ now: Now, _ effects: inout [Effect]) {
    var away = OwnerMask()
    for (place, node) in operation.owners.nodes.enumerated() where node != identity.node {
      if reachability.standing(of: node, at: now.instant) != .near { away.insert(place) }
    }
    let decision = operation.owners.decision(needed: operation.needed, succeeded: OwnerMask(), failed: away)
    if decision == .impossible {
      let got = operation.owners.nodes.count - away.count
      let failure = quorumFailure("can be reached", needed: operation.needed, got: got)
      return respond(failure, operation.request, now, &effects)
    }
    var operation = operation
    if settings.keepsHints { operation.hinted = away }
    let id = writes.insert(operation)
    track(operation.request, id)
    schedule(id, at: operation.request.deadline, &effects)
    mint(id, now, &effects)
  }

  /// Asks the store to mint the version onto what it holds. Waits for a lease of dots when there is none.
  mutating func mint(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id] else { return }
    let write = operation.write
    if operation.round == 1, isFenced(write.requestID, for: operation.claim, now) {
      writes.remove(id)
      let failure = Failure(.cancelled, .unknown, detail: "a retry has taken the place of this attempt")
      return respond(.failed(failure), operation.request, now, &effects)
    }
    let ceiling = HybridClock.ceiling(at: now.wall)
    let floor = write.context?.stamp ?? .zero
    guard let (dot, stamp) = mintable(for: id, above: floor, now, &effects) else { return }
    writes[id]?.phase = .minting
    var mint = Mint(
      dot: dot, basis: operation.basis, stamp: stamp, stampCeiling: ceiling, requestID: write.requestID,
      expiry: operation.expiry, checksum: 0, content: .tombstone)
    if case .put(let value, let checksum) = write.payload {
      mint.content = .value(value)
      mint.checksum = checksum
    }
    let targets = hints(for: operation)
    countHints(targets)
    effects.append(.store(.merge(write.key, .mint(mint), hints: targets), StorageID(raw: id.raw)))
  }

  mutating func onMinted(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard writes.isLive(id) else { return }
    switch result {
    case .merged(let merged): replicate(merged, id, now, &effects)
    case .synced: acknowledge(identity.node, beside: nil, id, now, &effects)
    case .refused(let failure): onMintRefused(failure, id, now, &effects)
    case .unreadable:
      rebuild.isStale = true
      onMintRefused(Failure(.unreadable, detail: "node \(identity.node)'s copy is damaged"), id, now, &effects)
    case .record, .leased, .request, .digests, .listed, .hints, .census, .expired, .rescanned, .incomplete, .gaps,
      .scrubbed, .failed:
      invariant(false, "a mint answered by \(result)")
    }
  }

  /// Nothing was minted in this round; what the first round wrote stays.
  private mutating func onMintRefused(
    _ failure: Failure, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = writes.remove(id) else { return }
    if operation.round == 2 { hintAll(operation, &effects) }
    if operation.isAnswered {
      laggingWrites -= 1
      return
    }
    // With a damaged copy this node cannot coordinate the key; another owner can.
    if failure.code == .unreadable, operation.round == 1, case .client = operation.request.origin {
      return forward(.write(operation.write), operation.owners, operation.request, now, &effects)
    }
    var failure = failure
    failure.outcome = operation.round == 1 ? .rejected : .unknown
    respond(.failed(failure), operation.request, now, &effects)
  }

  /// Sends the full record, never a delta: a delta would let a vector claim what a replica has not seen. The syncs
  /// overlap: this node's is still under way.
  private mutating func replicate(_ merged: Merged, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id] else { return }
    guard let minted = merged.minted else { return invariant(false, "a mint without a version") }
    clock.observe(minted.stamp)
    #if Planted
      if planted(.hintCarriesOldValue), operation.hinted.bits != 0, plantedPayloads[operation.write.key] == nil {
        plantedPayloads[operation.write.key] = merged.record
      }
    #endif
    if operation.isAnswered {
      // Too late to be acknowledged, and merged all the same.
      writes.remove(id)
      laggingWrites -= 1
      return hintAll(operation, &effects)
    }
    writes[id]?.phase = .replicating
    writes[id]?.merged = merged
    writes[id]?.hasSiblings = merged.beside != nil
    let write = replicaWrite(of: operation.write.key, merged, minted.dot)
    let envelope = Envelope(operation: id.raw, deadline: operation.request.deadline)
    for (place, node) in operation.owners.nodes.enumerated() where node != identity.node {
      if reachability.isLinked(node) {
        send(.replicaWrite(write), to: node, envelope, now, &effects)
      } else {
        writes[id]?.failed.insert(place)
      }
    }
    settleWrite(id, now, &effects)
  }

  private func replicaWrite(of key: Key, _ merged: Merged, _ dot: Dot) -> ReplicaWrite {
    var record = merged.record
    if planted(.deltaSent), let minted = merged.minted {
      record = EncodedRecord(Record(context: merged.context, versions: [minted]))
    }
    return ReplicaWrite(key: key, purpose: .write(minted: dot), record: record)
  }

  /// An owner came back while the write is under way: it gets the record after all.
  mutating func onOwnerFound(_ peer: NodeID, ofWrite id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id], operation.phase == .replicating, !operation.isAnswered,
      let place = operation.owners.place(of: peer), operation.failed.contains(place), let merged = operation.merged,
      let minted = operation.minted
    else { return }
    writes[id]?.failed.remove(place)
    send(
      .replicaWrite(replicaWrite(of: operation.write.key, merged, minted.dot)), to: peer,
      Envelope(operation: id.raw, deadline: operation.request.deadline), now, &effects)
  }

  // MARK: Acknowledgements

  mutating func onReplicaWriteReply(
    _ reply: ReplicaWriteReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    switch (id.kind, reply) {
    case (.read, _): onWriteBackReply(reply, peer, id, now, &effects)
    case (.write, .stored(let beside)): acknowledge(peer, beside: beside, id, now, &effects)
    case (.write, .contested): onContested(peer, id, now, &effects)
    case (.write, .refused): onOwnerFailed(peer, ofWrite: id, now, &effects)
    case (.mend, _): onMendWritten(reply, peer, id, now, &effects)
    case (.transfer, _): onTransferWritten(reply, peer, id, now, &effects)
    case (.forward, _), (.explain, _), (.retry, _), (.replicaRead, _), (.replicaWrite, _), (.requestCheck, _),
      (.exchange, _), (.treeQuery, _), (.delivery, _), (.offerQuery, _), (.survey, _), (.housekeeping, _),
      (nil, _):
      break
    }
  }

  /// An overwrite must supersede all that its write quorum held, and of this owner nobody can say what it held. A write
  /// with a context has nothing more to supersede; nor has a second round.
  private mutating func onContested(_ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id] else { return }
    if operation.write.context == nil, operation.round == 1, !operation.isAnswered {
      onOwnerFailed(peer, ofWrite: id, now, &effects)
    } else {
      acknowledge(peer, beside: nil, id, now, &effects)
    }
  }

  private mutating func acknowledge(
    _ node: NodeID, beside: Beside?, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let place = writes[id]?.owners.place(of: node) else { return }
    if planted(.ownerCountedTwice), let operation = writes[id], operation.acknowledged.contains(place) {
      writes[id]?.acknowledged.insert((place + 1) % operation.owners.nodes.count)
    }
    writes[id]?.acknowledge(place, beside: beside)
    settleWrite(id, now, &effects)
  }

  /// This node's own copy does not count for a write any more.
  mutating func takeBackOwn(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id], let place = operation.owners.place(of: identity.node),
      operation.acknowledged.contains(place)
    else { return }
    writes[id]?.acknowledged.remove(place)
    writes[id]?.failed.insert(place)
    settleWrite(id, now, &effects)
  }

  private mutating func settleWrite(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let isAnswered = writes[id]?.isAnswered else { return }
    if isAnswered { return settleLag(id, &effects) }
    switch writes[id]?.decision {
    case .waiting, nil: return
    case .impossible: failWrite(id, now, &effects)
    case .met:
      let isOverwriteOfMore = writes[id]?.needsSecondRound == true
      if isOverwriteOfMore { writeOnceMore(id, now, &effects) } else { finishWrite(id, now, &effects) }
    }
  }

  /// A new operation id, so that a late acknowledgement of the first round does not count for the second.
  private mutating func writeOnceMore(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard var operation = writes.remove(id) else { return }
    counters.secondRounds += 1
    operation.round = 2
    operation.phase = .leasing
    if settings.keepsHints { operation.hinted = operation.hinted.union(operation.failed) }
    operation.acknowledged = OwnerMask()
    operation.failed = OwnerMask()
    let next = writes.insert(operation)
    track(operation.request, next)
    schedule(next, at: operation.request.deadline, &effects)
    mint(next, now, &effects)
  }

  // MARK: Owners that are lost, time that is up

  mutating func onOwnerLost(_ peer: NodeID, ofWrite id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id], operation.phase == .replicating else { return }
    onOwnerFailed(peer, ofWrite: id, now, &effects)
  }

  private mutating func onOwnerFailed(
    _ peer: NodeID, ofWrite id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = writes[id], let place = operation.owners.place(of: peer) else { return }
    if operation.acknowledged.contains(place) { return }
    writes[id]?.failed.insert(place)
    settleWrite(id, now, &effects)
  }

  mutating func onWriteTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let isAnswered = writes[id]?.isAnswered, !planted(.deadlineIgnored) else { return }
    if isAnswered { return settleLag(id, isOver: true, &effects) }
    failWrite(id, isOver: true, now, &effects)
  }

  // MARK: Ends

  /// Once the dot may be minted, the write may be there, or appear later.
  mutating func failWrite(
    _ id: OperationID, isOver: Bool = false, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = writes[id] else { return }
    if operation.round == 1, operation.phase == .leasing {
      writes.remove(id)
    } else {
      lag(id, isOver: isOver, &effects)
    }
    let nothingHappened = operation.round == 1 && operation.phase == .leasing || planted(.rejectedAfterMint)
    let failure = quorumFailure(
      "synced it", needed: operation.needed, got: operation.acknowledged.count,
      nothingHappened ? .rejected : .unknown)
    respond(failure, operation.request, now, &effects)
  }

  private mutating func finishWrite(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = writes[id], let minted = operation.minted, let merged = operation.merged else {
      return invariant(false, "a write ends before it was minted")
    }
    lag(id, &effects)
    let token = merged.covered.map {
      ContextToken(cluster: cluster, key: operation.write.key, vector: $0, stamp: minted.stamp, secret: view.secret)
    }
    let receipt = Receipt(
      context: token, stamp: minted.stamp, acknowledgements: UInt8(operation.acknowledged.count),
      hints: UInt8(operation.hinted.count), siblings: operation.siblings)
    respond(.written(receipt), operation.request, now, &effects)
  }
}
