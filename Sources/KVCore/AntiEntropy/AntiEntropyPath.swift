import KVModel

// Owners compare their copies without being asked: ExchangeSchedule → Survey → Exchange → Mend.
extension Shard {
  static let exchangeTimerID = OperationID(kind: .housekeeping, shard: 0, slot: 3, generation: 0)

  /// Nobody compares before its start is confirmed: a copy that went back in time must not speak.
  private var mayExchange: Bool { settings.exchangeInterval > .zero && view.standing == .confirmed }

  // MARK: Clockwork

  mutating func scheduleExchange(_ now: Now, _ effects: inout [Effect]) {
    guard settings.exchangeInterval > .zero else { return }
    effects.append(.schedule(TimerID(raw: Shard.exchangeTimerID.raw), at: now.instant.advanced(by: exchangePace)))
  }

  private var exchangePace: Span64 {
    Span64(nanoseconds: settings.exchangeInterval.nanoseconds * UInt64(exchangeLoad))
  }

  /// 1 while the shard has little else to do, 8 when it has much: exchanges begin that much more seldom, and mend fewer
  /// keys at once. Never none, so that the owners become equal however busy they are.
  private var exchangeLoad: Int { min(8, load) }

  mutating func onExchangeTimer(_ now: Now, _ effects: inout [Effect]) {
    endOverdue(now, &effects)
    startExchange(now, &effects)
    scheduleExchange(now, &effects)
  }

  /// Called at each tick too: pulls and questions go on where nothing is compared by itself.
  mutating func endOverdue(_ now: Now, _ effects: inout [Effect]) {
    for id in exchanges.ids {
      if let exchange = exchanges[id], exchange.deadline <= now.instant {
        endExchange(id, isComplete: false, now, &effects)
      }
    }
    for id in surveys.ids {
      if let survey = surveys[id], survey.deadline <= now.instant { endSurvey(id, now, &effects) }
    }
    for id in treeQueries.ids {
      if let query = treeQueries[id], query.deadline <= now.instant { treeQueries.remove(id) }
    }
  }

  mutating func startExchange(onlyUrgent: Bool = false, _ now: Now, _ effects: inout [Effect]) {
    let underWay = exchanges.ids.count { exchanges[$0]?.pull == nil } + surveys.count
    guard mayExchange, underWay < max(1, settings.exchangesMax / exchangeLoad) else { return }
    let reachability = reachability
    let handoff = handoff
    let turn = schedule.next(
      at: now.instant, onlyUrgent: onlyUrgent, pace: exchangePace, butNot: rebuild.lacking
    ) {
      reachability.standing(of: $0, at: now.instant) == .near && !handoff.isPassing(with: $0, at: now.instant)
    }
    switch turn {
    case .exchange(let partition, let peer): startExchange(partition, peer, now, &effects)
    case .survey(let partitions, let peer, let isUrgent):
      startSurvey(partitions, peer, isUrgent: isUrgent, now, &effects)
    case nil: break
    }
  }

  private mutating func startExchange(
    _ partition: PartitionID, _ peer: NodeID, _ now: Now, _ effects: inout [Effect]
  ) {
    counters.exchanges += 1
    let id = exchanges.insert(
      Exchange(partition: partition, peer: peer, deadline: now.instant.advanced(by: Exchange.patience)))
    if handoff.census.isMarked(partition, for: peer) {
      effects.append(.store(.countHints, StorageID(raw: id.raw)))
    }
    advance(id, now, &effects)
  }

  /// One after the other while nobody is kept waiting by it; else at the timer's pace.
  mutating func goOn(_ now: Now, _ effects: inout [Effect]) {
    if exchangeLoad == 1 { startExchange(onlyUrgent: true, now, &effects) }
  }

  // MARK: The asking side

  mutating func advance(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if exchanges[id]?.pull.map({ $0.phase != .comparing }) ?? false { return }
    let mendsMax = exchanges[id]?.pull == nil ? max(1, settings.mendsMax / exchangeLoad) : settings.pullMendsMax
    while let waiting = exchanges[id], !isPaced(waiting, id, now, &effects),
      let step = exchanges[id]?.next(mendsMax: mendsMax), let exchange = exchanges[id]
    {
      switch step {
      case .wait: return
      case .compare(let nodes): effects.append(.store(.digests(exchange.partition, nodes), StorageID(raw: id.raw)))
      case .list(let leaf, let after): list(leaf, after: after, id, exchange, now, &effects)
      case .mend(let key): startMend(key, id, exchange, now, &effects)
      case .done where exchange.pull != nil && !exchange.hasFailed: return onPulled(id, now, &effects)
      case .done: return endExchange(id, isComplete: !exchange.hasFailed, now, &effects)
      }
    }
  }

  mutating func ask(
    _ id: OperationID, _ now: Now, _ effects: inout [Effect], _ message: (UInt32) -> TreeMessage
  ) {
    let deadline = now.instant.advanced(by: Exchange.patience)
    exchanges[id]?.deadline = deadline
    treeQuestions &+= 1
    exchanges[id]?.question = treeQuestions
    guard let exchange = exchanges[id] else { return }
    send(
      .tree(message(exchange.question)), to: exchange.peer, Envelope(operation: id.raw, deadline: deadline), now,
      &effects)
  }

  private mutating func list(
    _ leaf: UInt32, after: Key?, _ id: OperationID, _ exchange: Exchange, _ now: Now, _ effects: inout [Effect]
  ) {
    let place = LeafPlace(partition: exchange.partition, leaf: leaf)
    let limit = TreeMessage.keysMax
    effects.append(.store(.listLeaf(place, after: after, limit: limit), StorageID(raw: id.raw)))
    ask(id, now, &effects) {
      .list(exchange.partition, leaf: leaf, after: after, limit: UInt16(limit), question: $0)
    }
  }

  mutating func onExchangeStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let exchange = exchanges[id] else { return }
    switch result {
    case .digests(let digests):
      let mine = zip(exchange.comparing, digests).map { TreeDigest(node: $0, digest: $1) }
      ask(id, now, &effects) { .compare(exchange.partition, mine, question: $0) }
    case .listed(let page): onPage(page, isMine: true, id, now, &effects)
    case .census(let census): exchanges[id]?.marksUpTo = census.sequence
    case .unreadable: endExchange(id, isComplete: false, now, &effects)
    case .record, .merged, .synced, .refused, .leased, .request, .hints, .expired, .rescanned, .incomplete, .gaps,
      .scrubbed, .failed:
      invariant(false, "an exchange answered by \(result)")
    }
  }

  mutating func onPage(
    _ page: LeafPage, isMine: Bool, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    if isMine, page.entries.contains(where: { $0.digest == .zero }) { rebuild.isStale = true }
    guard let next = exchanges[id]?.onListed(page, isMine: isMine), let exchange = exchanges[id],
      let leaf = exchange.listing?.leaf
    else { return advance(id, now, &effects) }
    list(leaf, after: next, id, exchange, now, &effects)
    advance(id, now, &effects)
  }

  mutating func endExchange(_ id: OperationID, isComplete: Bool, _ now: Now, _ effects: inout [Effect]) {
    guard let exchange = exchanges.remove(id) else { return }
    for mend in mends.ids where mends[mend]?.exchange == id { mends.remove(mend) }
    if !isComplete { counters.exchangesFailed += 1 }
    counters.keysMended += UInt64(exchange.found)
    schedule.onEnded(
      exchange.partition, exchange.peer, isComplete: isComplete, found: exchange.found, at: now.instant)
    if let pull = exchange.pull { onPullEnded(exchange, pull, isComplete: isComplete, now, &effects) }
    if let sequence = exchange.marksUpTo, isComplete {
      let forget = StorageOperation.forgetMarks(exchange.peer, exchange.partition, upTo: sequence)
      effects.append(.store(forget, StorageID(raw: Shard.hintID.raw)))
      handoff.isStale = true
    }
    goOn(now, &effects)
  }

  mutating func onOwnerLost(_ peer: NodeID, ofExchange id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if exchanges[id]?.peer == peer { endExchange(id, isComplete: false, now, &effects) }
  }

  // MARK: A key

  private mutating func startMend(
    _ key: Key, _ exchange: OperationID, _ of: Exchange, _ now: Now, _ effects: inout [Effect]
  ) {
    let id = mends.insert(Mend(exchange: exchange, key: key, peer: of.peer))
    let deadline = now.instant.advanced(by: Exchange.patience)
    exchanges[exchange]?.deadline = deadline
    let question = PeerMessage.replicaRead(key, inlineBytesMax: UInt32(Limits.recordBytesMax))
    send(question, to: of.peer, Envelope(operation: id.raw, deadline: deadline), now, &effects)
  }

  mutating func onMendReply(
    _ reply: ReplicaReadReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let mend = mends[id], mend.peer == peer, mend.theirs == nil else { return }
    let encoded: EncodedRecord
    switch reply {
    case .record(let record), .incomplete(let record): encoded = record
    case .digest, .unreadable: return endMend(id, hasFailed: true, now, &effects)
    }
    guard let record = try? encoded.decoded() else { return endMend(id, hasFailed: true, now, &effects) }
    onPulled(bytes: mend.key.bytes.count + encoded.bytes.count, mend.exchange, now)
    if goBack(record.context, peer, now, &effects) != nil { return endMend(id, hasFailed: true, now, &effects) }
    mends[id]?.theirs = encoded
    if exchanges.isLive(mend.exchange) { exchanges[mend.exchange]?.onRecord(bytes: encoded.bytes.count) }
    effects.append(.store(.merge(mend.key, .join(record)), StorageID(raw: id.raw)))
  }

  mutating func onMendStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let mend = mends[id] else { return }
    switch result {
    case .merged(let merged):
      if exchanges.isLive(mend.exchange) { exchanges[mend.exchange]?.onRecord(bytes: merged.record.bytes.count) }
      if merged.record == mend.theirs {
        mends[id]?.isAcknowledged = true
      } else {
        let deadline = now.instant.advanced(by: Exchange.patience)
        let write = ReplicaWrite(key: mend.key, purpose: .repair, record: merged.record)
        send(.replicaWrite(write), to: mend.peer, Envelope(operation: id.raw, deadline: deadline), now, &effects)
      }
    case .synced:
      mends[id]?.isSynced = true
      if mend.isAcknowledged { endMend(id, hasFailed: false, now, &effects) }
    case .unreadable:
      noteDamage(mend.key, &effects)
      endMend(id, hasFailed: true, now, &effects)
    case .refused: endMend(id, hasFailed: true, now, &effects)
    case .record, .leased, .request, .digests, .listed, .hints, .census, .expired, .rescanned, .incomplete, .gaps,
      .scrubbed, .failed:
      invariant(false, "a mend answered by \(result)")
    }
  }

  mutating func onMendWritten(
    _ reply: ReplicaWriteReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let mend = mends[id], mend.peer == peer else { return }
    switch reply {
    case .stored, .contested:
      mends[id]?.isAcknowledged = true
      if mend.isSynced { endMend(id, hasFailed: false, now, &effects) }
    case .refused: endMend(id, hasFailed: true, now, &effects)
    }
  }

  private mutating func endMend(_ id: OperationID, hasFailed: Bool, _ now: Now, _ effects: inout [Effect]) {
    guard let mend = mends.remove(id), exchanges.isLive(mend.exchange) else { return }
    exchanges[mend.exchange]?.mendsUnderWay -= 1
    if hasFailed { exchanges[mend.exchange]?.hasFailed = true }
    exchanges[mend.exchange]?.deadline = now.instant.advanced(by: Exchange.patience)
    advance(mend.exchange, now, &effects)
  }
}
