import KVModel

// The path of a GET: startRead → ask owners → onReplicaReadReply → evaluate → (fetch, settle) → finish.
extension Shard {
  mutating func startRead(
    _ key: Key, _ quorum: Quorum, _ owners: OwnerSet, _ request: Request, _ now: Now, _ effects: inout [Effect]
  ) {
    let settings = view.current?.layout.settings ?? ClusterSettings()
    let needed = quorum.count(default: settings.readQuorum, replication: settings.replication)
    startRead(ReadOperation(key: key, needed: needed, owners: owners, request: request), now, &effects)
  }

  mutating func startRead(_ operation: ReadOperation, _ now: Now, _ effects: inout [Effect]) {
    var operation = operation
    for (place, node) in operation.owners.nodes.enumerated() where node != identity.node {
      if reachability.standing(of: node, at: now.instant) == .away { operation.failed.insert(place) }
    }
    if operation.decision == .impossible {
      let got = operation.owners.nodes.count - operation.failed.count
      let failure = quorumFailure("can be reached", needed: operation.needed, got: got)
      return respond(failure, operation.request, now, &effects)
    }
    let id = reads.insert(operation)
    track(operation.request, id)
    ask(id, now, &effects)
    schedule(id, at: hedgeTime(operation, now), &effects)
  }

  /// Asks as many owners as are still needed: this node first, then the nearest and least busy.
  private mutating func ask(_ id: OperationID, extra: Int = 0, _ now: Now, _ effects: inout [Effect]) {
    guard var missing = reads[id]?.missing else { return }
    missing += extra
    while missing > 0, let place = nextToAsk(id, now) {
      missing -= 1
      reads[id]?.asked.insert(place)
      askForRecord(id, place, now, &effects)
    }
  }

  private func nextToAsk(_ id: OperationID, _ now: Now) -> Int? {
    guard let operation = reads[id] else { return nil }
    return preferred(among: operation, except: operation.asked.union(operation.failed), now)
  }

  /// The best place other than these; nil when there is none.
  private func preferred(among operation: ReadOperation, except taken: OwnerMask, _ now: Now) -> Int? {
    var best: (place: Int, cost: (Int, Int))?
    for (place, node) in operation.owners.nodes.enumerated() where !taken.contains(place) {
      let cost = cost(of: node, isNeeded: operation.mustHear.contains(place), now)
      if best.map({ cost < $0.cost }) ?? true { best = (place, cost) }
    }
    return best?.place
  }

  private func cost(of node: NodeID, isNeeded: Bool, _ now: Now) -> (Int, Int) {
    if isNeeded { return (-2, 0) }
    if node == identity.node { return (-1, 0) }
    let isNear = reachability.standing(of: node, at: now.instant) == .near
    return (isNear ? 0 : 1, reachability.outstanding(node))
  }

  /// Asks for the record: a long one may be answered by its digest, unless all of it is wanted.
  private mutating func askForRecord(
    _ id: OperationID, _ place: Int, whole: Bool = false, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let question = reads[id]?.question(to: place) else { return }
    let isWhole = whole || question.isWhole || question.node == identity.node
    if isWhole { reads[id]?.askedWhole.insert(place) }
    send(
      .replicaRead(question.key, inlineBytesMax: isWhole ? UInt32(Limits.recordBytesMax) : settings.inlineBytesMax),
      to: question.node, Envelope(operation: id.raw, deadline: question.deadline), now, &effects)
  }

  // MARK: Replies

  mutating func onReplicaReadReply(
    _ reply: ReplicaReadReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    switch id.kind {
    case .read: onReadReply(reply, peer, id, now, &effects)
    case .explain: onExplainReply(reply, peer, id, now, &effects)
    case .mend: onMendReply(reply, peer, id, now, &effects)
    case .write, .forward, .retry, .replicaRead, .replicaWrite, .requestCheck, .exchange, .treeQuery, .delivery,
      .transfer, .offerQuery, .survey, .housekeeping, nil:
      break
    }
  }

  private mutating func onReadReply(
    _ reply: ReplicaReadReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let place = reads[id]?.owners.place(of: peer), let taken = reads[id]?.take(reply, at: place) else { return }
    if peer != identity.node, let startedAt = reads[id]?.request.startedAt {
      readLatency.record(now.instant.since(startedAt))
    }
    switch taken {
    case .counted: evaluate(id, now, &effects)
    case .tooLate: break
    case .wantsWhole: askForRecord(id, place, whole: true, now, &effects)
    case .failed: onOwnerFailed(place, ofRead: id, now, &effects)
    }
  }

  private mutating func evaluate(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    switch reads[id]?.decision {
    case .waiting, nil: return
    case .impossible: return failRead(id, now, &effects)
    case .met: break
    }
    switch reads[id]?.compare(seed: digestSeed) {
    case .equal(let record?): finishRead(id, record, now, &effects)
    case .damaged(at: let place): onMalformedReply(place, ofRead: id, now, &effects)
    case .equal(nil): fetch(id, fromAll: false, now, &effects)
    case .different: onDifference(id, now, &effects)
    case nil: break
    }
  }

  private mutating func onMalformedReply(
    _ place: Int, ofRead id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let question = reads[id]?.question(to: place) else { return }
    counters.malformedRecords += 1
    effects.append(.note(.malformedRecord(from: question.node)))
    onOwnerFailed(place, ofRead: id, now, &effects)
  }

  private mutating func onDifference(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id] else { return }
    if operation.phase == .gathering { counters.mismatches += 1 }
    let hasDigests = operation.replies.contains { if case .digest? = $0 { true } else { false } }
    if hasDigests { fetch(id, fromAll: true, now, &effects) } else { settle(id, now, &effects) }
  }

  /// Asks for the full records behind the digests: of all when they differ, of one when they agree.
  private mutating func fetch(_ id: OperationID, fromAll: Bool, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id] else { return }
    let digests = operation.replies.indices.filter {
      if case .digest? = operation.replies[$0] { true } else { false }
    }
    reads[id]?.phase = .fetching
    for place in fromAll ? digests : Array(digests.prefix(1)) {
      reads[id]?.replies[place] = nil
      askForRecord(id, place, whole: true, now, &effects)
    }
  }

  // MARK: Write-back

  private mutating func settle(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id] else { return }
    let (join, holders) = operation.joined(seed: digestSeed)
    reads[id]?.phase = .settling(join)
    reads[id]?.durable = planted(.writeBackSkipped) ? operation.answered : holders
    let behind = OwnerMask(bits: operation.answered.bits & ~holders.bits)
    writeBack(id, to: behind, now, &effects)
    if !finishIfDurable(id, now, &effects) { widenWriteBack(id, enough: true, now, &effects) }
  }

  private mutating func writeBack(_ id: OperationID, to owners: OwnerMask, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id], case .settling(let join) = operation.phase else { return }
    let write = ReplicaWrite(key: operation.key, purpose: .repair, record: EncodedRecord(join))
    for (place, node) in operation.owners.nodes.enumerated() where owners.contains(place) {
      counters.repairs += 1
      reads[id]?.written.insert(place)
      send(
        .replicaWrite(write), to: node, Envelope(operation: id.raw, deadline: operation.request.deadline), now,
        &effects)
    }
  }

  /// Brings owners in that were not read: as many as the write-back needs, or all of them when it is late.
  private mutating func widenWriteBack(
    _ id: OperationID, enough: Bool, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = reads[id] else { return }
    let hopeful = operation.durable.union(operation.written)
    var targets = OwnerMask(bits: hopeful.bits & ~operation.failed.bits)
    var added = OwnerMask()
    var taken = hopeful.union(operation.failed)
    while let place = preferred(among: operation, except: taken, now) {
      let decision = operation.owners.decision(needed: operation.durableNeeded, succeeded: targets, failed: OwnerMask())
      if enough, decision == .met { break }
      taken.insert(place)
      targets.insert(place)
      added.insert(place)
    }
    writeBack(id, to: added, now, &effects)
  }

  private mutating func finishIfDurable(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) -> Bool {
    guard let operation = reads[id], case .settling(let join) = operation.phase else { return false }
    let decision = operation.owners.decision(
      needed: operation.durableNeeded, succeeded: operation.durable, failed: operation.failed)
    switch decision {
    case .waiting: return false
    case .impossible: failRead(id, now, &effects)
    case .met: finishRead(id, join, now, &effects)
    }
    return true
  }

  mutating func onWriteBackReply(
    _ reply: ReplicaWriteReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let operation = reads[id], let place = operation.owners.place(of: peer) else { return }
    switch reply {
    case .stored, .contested:
      reads[id]?.durable.insert(place)
      _ = finishIfDurable(id, now, &effects)
    case .refused: onOwnerFailed(place, ofRead: id, now, &effects)
    }
  }

  // MARK: Owners that are lost, time that is up

  mutating func onOwnerLost(_ peer: NodeID, ofRead id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id], let place = operation.owners.place(of: peer) else { return }
    let hasReplied = operation.replies[place] != nil && operation.phase == .gathering
    if hasReplied || operation.durable.contains(place) { return }
    onOwnerFailed(place, ofRead: id, now, &effects)
  }

  private mutating func onOwnerFailed(_ place: Int, ofRead id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    reads[id]?.failed.insert(place)
    guard let operation = reads[id] else { return }
    if case .settling = operation.phase {
      if !finishIfDurable(id, now, &effects) { widenWriteBack(id, enough: true, now, &effects) }
      return
    }
    reads[id]?.replies[place] = nil
    if reads[id]?.decision == .impossible { return failRead(id, now, &effects) }
    ask(id, now, &effects)
  }

  /// A hedge, another one while there are owners to ask, then the deadline.
  mutating func onReadTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads[id] else { return }
    if now.instant >= operation.request.deadline { return failRead(id, now, &effects) }
    if case .settling = operation.phase {
      widenWriteBack(id, enough: false, now, &effects)
      return schedule(id, at: operation.request.deadline, &effects)
    }
    let hopeful = OwnerMask(bits: operation.asked.bits & ~operation.failed.bits)
    ask(id, extra: max(0, hopeful.count - operation.needed) + 1, now, &effects)
    let hasHedged = reads[id]?.asked != operation.asked
    if hasHedged { counters.hedges += 1 }
    schedule(id, at: hasHedged ? hedgeTime(operation, now) : operation.request.deadline, &effects)
  }

  private func hedgeTime(_ operation: ReadOperation, _ now: Now) -> Instant {
    min(operation.request.deadline, now.instant.advanced(by: hedgeAfter))
  }

  func schedule(_ id: OperationID, at deadline: Instant, _ effects: inout [Effect]) {
    effects.append(.schedule(TimerID(raw: id.raw), at: deadline))
  }

  // MARK: Ends

  private mutating func failRead(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads.remove(id) else { return }
    let response: ClientResponse
    if case .settling = operation.phase {
      response = quorumFailure(
        "hold what was read", needed: operation.durableNeeded, got: operation.durable.count)
    } else {
      response = quorumFailure("answered", needed: operation.needed, got: operation.answered.count)
    }
    respond(response, operation.request, now, &effects)
  }

  private mutating func finishRead(_ id: OperationID, _ record: Record, _ now: Now, _ effects: inout [Effect]) {
    guard let operation = reads.remove(id) else { return }
    if case .retry(let retry) = operation.request.origin { return onConfirmed(record, retry, now, &effects) }
    if record.versions.count > 1 { counters.siblingsSeen += 1 }
    respond(.value(answer(record, of: operation.key, now)), operation.request, now, &effects)
  }

  /// Only here is a record filtered: expired is absent. Siblings of one request are one write, shown once.
  func answer(_ record: Record, of key: Key, _ now: Now) -> ReadAnswer {
    let wall = planted(.expiredReturned) ? WallTime(milliseconds: 0) : now.wall
    var siblings: [ReadAnswer.Sibling] = []
    var shown: [Version] = []
    for version in record.newestFirst {
      if shown.contains(where: { $0.requestID == version.requestID && $0.checksum == version.checksum }) { continue }
      shown.append(version)
      siblings.append(
        ReadAnswer.Sibling(
          stamp: version.stamp, expiry: version.expiry, checksum: version.checksum, value: version.value(at: wall)))
    }
    return ReadAnswer(context: token(of: record, key), siblings: siblings)
  }

  func token(of record: Record, _ key: Key) -> ContextToken {
    ContextToken(
      cluster: cluster, key: key, vector: record.context, stamp: record.highestStamp, secret: view.secret)
  }

  var cluster: ClusterID { view.current?.layout.cluster ?? .none }

  /// Keys the digests of records; the same on every node of a cluster.
  var digestSeed: UInt64 { cluster.value }
}
