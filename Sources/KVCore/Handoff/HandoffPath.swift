import KVModel

// The side that holds hints: census → Delivery → offer → transfer → forget.
extension Shard {
  static let hintID = OperationID(kind: .housekeeping, shard: 0, slot: 4, generation: 0)
  static let censusID = OperationID(kind: .housekeeping, shard: 0, slot: 5, generation: 0)

  // MARK: Noting

  /// Notes that these owners may have missed what this copy has of a key, in a batch of its own.
  mutating func hint(_ key: Key, _ targets: [NodeID], _ effects: inout [Effect]) {
    if targets.isEmpty || !settings.keepsHints { return }
    countHints(targets)
    effects.append(.store(.hint(key, targets), StorageID(raw: Shard.hintID.raw)))
  }

  mutating func countHints(_ targets: [NodeID]) {
    if targets.isEmpty { return }
    counters.hintsWritten += UInt64(targets.count)
    handoff.isStale = true
  }

  /// For how long the oldest hint for a node has waited, since this start; nil when there is none.
  public func hintAge(of node: NodeID, at now: Now) -> Span64? {
    handoff[node].waitingSince.map { now.instant.since($0) }
  }

  /// As of the last census, a quarter of a second ago at most.
  public var hints: HintCensus { handoff.census }

  // MARK: Clockwork

  mutating func onHandoffTick(_ now: Now, _ effects: inout [Effect]) {
    guard settings.keepsHints else { return }
    for id in deliveries.ids {
      if let delivery = deliveries[id], delivery.deadline <= now.instant { endDelivery(id, now) }
    }
    for id in offerQueries.ids {
      if let query = offerQueries[id], query.envelope.deadline <= now.instant { offerQueries.remove(id) }
    }
    if handoff.isStale || !handoff.census.targets.isEmpty {
      effects.append(.store(.countHints, StorageID(raw: Shard.censusID.raw)))
    }
  }

  mutating func onCensus(_ census: HintCensus, _ now: Now, _ effects: inout [Effect]) {
    handoff.onCensus(census, at: now.instant)
    guard view.standing == .confirmed else { return }
    for target in census.targets where reachability.standing(of: target.node, at: now.instant) == .near {
      if target.marks > 0, handoff[target.node].marksAt <= now.instant {
        handoff[target.node].marksAt = now.instant.advanced(by: Handoff.pause)
        for partition in target.marked { schedule.onMarked(partition, target.node) }
      }
      if target.keys > 0, handoff[target.node].notBefore <= now.instant,
        !deliveries.ids.contains(where: { deliveries[$0]?.target == target.node })
      {
        startDelivery(to: target.node, now, &effects)
      }
    }
  }

  private mutating func startDelivery(to target: NodeID, _ now: Now, _ effects: inout [Effect]) {
    let members = view.peers.map(\.id) + [identity.node]
    let rank = UInt64(members.filter { $0 < identity.node }.count)
    let begin = Token((UInt64.max / UInt64(members.count)) &* rank)
    let id = deliveries.insert(
      Delivery(
        target: target, begin: begin, deadline: now.instant.advanced(by: Delivery.patience), resumeAt: now.instant))
    listHints(id, now, &effects)
  }

  // MARK: A page

  private mutating func listHints(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    deliveries[id]?.phase = .listing
    deliveries[id]?.deadline = now.instant.advanced(by: Delivery.patience)
    guard let delivery = deliveries[id] else { return }
    let limit = max(1, Int(delivery.credit.keys))
    let from = delivery.hasWrapped ? Token(0) : delivery.begin
    effects.append(
      .store(.listHints(delivery.target, from: from, after: delivery.after, limit: limit), StorageID(raw: id.raw)))
  }

  mutating func onDeliveryStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let delivery = deliveries[id] else { return }
    switch (result, delivery.phase) {
    case (.hints(let page), .listing): onHints(page, id, delivery, now, &effects)
    case (.synced, .forgetting): onForgotten(id, now, &effects)
    case (.unreadable, _): endDelivery(id, now)
    default: invariant(false, "a delivery that is \(delivery.phase) answered by \(result)")
    }
  }

  /// Offers what was listed, a partition at a time. A record that is damaged here waits until it is rebuilt.
  private mutating func onHints(
    _ page: HintPage, _ id: OperationID, _ delivery: Delivery, _ now: Now, _ effects: inout [Effect]
  ) {
    var entries = page.entries
    var isLast = page.isLast
    if delivery.hasWrapped, let end = entries.firstIndex(where: { $0.key.token >= delivery.begin }) {
      entries.removeSubrange(end...)
      isLast = true
    }
    deliveries[id]?.phase = .passing
    deliveries[id]?.sequence = page.sequence
    deliveries[id]?.isLastPage = isLast
    if let last = entries.last { deliveries[id]?.after = last.key }
    let sound = entries.filter { $0.digest != .zero }
    deliveries[id]?.failed += entries.count - sound.count
    for group in sound.chunked(by: { view.partition(of: $0.key) == view.partition(of: $1.key) }) {
      offer(group, id, delivery.target, now, &effects)
    }
    advanceDelivery(id, now, &effects)
  }

  private mutating func offer(
    _ entries: [HintOffer.Entry], _ id: OperationID, _ target: NodeID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let first = entries.first, let partition = view.partition(of: first.key) else { return }
    handoffQuestions &+= 1
    deliveries[id]?.offers.append(Delivery.Offer(question: handoffQuestions, entries: entries))
    let offer = HintOffer(target: target, partition: partition, entries: entries)
    let envelope = Envelope(operation: id.raw, deadline: now.instant.advanced(by: Delivery.patience))
    send(.handoff(.offer(offer, question: handoffQuestions)), to: target, envelope, now, &effects)
  }

  private mutating func advanceDelivery(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    while let delivery = deliveries[id], delivery.maySend, let entry = deliveries[id]?.wanted.popLast() {
      let transfer = transfers.insert(Transfer(delivery: id, key: entry.key, bytes: Int(entry.bytes)))
      deliveries[id]?.transfers += 1
      deliveries[id]?.bytesUnderWay += Int(entry.bytes)
      effects.append(.store(.read(entry.key), StorageID(raw: transfer.raw)))
    }
    guard let delivery = deliveries[id], delivery.phase == .passing, delivery.isPagePassed else { return }
    if delivery.done.isEmpty { return nextPage(id, now, &effects) }
    deliveries[id]?.phase = .forgetting
    deliveries[id]?.deadline = now.instant.advanced(by: Delivery.patience)
    let forget = StorageOperation.forgetHints(delivery.target, delivery.done, upTo: delivery.sequence)
    effects.append(.store(forget, StorageID(raw: id.raw)))
  }

  private mutating func onForgotten(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let delivery = deliveries[id] else { return }
    counters.hintsDelivered += UInt64(delivery.done.count)
    deliveries[id]?.delivered += delivery.done.count
    deliveries[id]?.done = []
    handoff.isStale = true
    nextPage(id, now, &effects)
  }

  private mutating func nextPage(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let delivery = deliveries[id] else { return }
    if delivery.isLastPage {
      if delivery.hasWrapped || delivery.begin == Token(0) { return endDelivery(id, now) }
      deliveries[id]?.hasWrapped = true
      deliveries[id]?.after = nil
    }
    if delivery.resumeAt <= now.instant { return listHints(id, now, &effects) }
    deliveries[id]?.phase = .pausing
    deliveries[id]?.deadline = delivery.resumeAt.advanced(by: Delivery.patience)
    schedule(id, at: delivery.resumeAt, &effects)
  }

  mutating func onDeliveryTimer(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if deliveries[id]?.phase == .pausing { listHints(id, now, &effects) }
  }

  private mutating func endDelivery(_ id: OperationID, _ now: Now) {
    guard let delivery = deliveries.remove(id) else { return }
    for transfer in transfers.ids where transfers[transfer]?.delivery == id { transfers.remove(transfer) }
    if delivery.delivered == 0 { handoff[delivery.target].notBefore = now.instant.advanced(by: Handoff.pause) }
  }

  mutating func onTargetLost(_ peer: NodeID, ofDelivery id: OperationID, _ now: Now) {
    if deliveries[id]?.target == peer { endDelivery(id, now) }
  }

  // MARK: The target's answers

  mutating func onHandoff(
    _ message: HandoffMessage, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    let id = OperationID(raw: envelope.operation)
    switch message {
    case .offer(let offer, let question): onOffer(offer, question, peer, envelope, now, &effects)
    case .wanted(let places, let credit, let question):
      guard let offer = takeOffer(question, id, from: peer, credit, now) else { return }
      let isWanted = Set(places)
      for (place, entry) in offer.entries.enumerated() {
        if isWanted.contains(UInt16(place)) {
          deliveries[id]?.wanted.append(entry)
        } else {
          deliveries[id]?.done.append(entry.key)
        }
      }
      if !places.isEmpty { handoff.onPassing(with: peer, at: now.instant) }
      advanceDelivery(id, now, &effects)
    case .declined(_, let credit, let question):
      guard let offer = takeOffer(question, id, from: peer, credit, now) else { return }
      counters.hintsRefused += UInt64(offer.entries.count)
      deliveries[id]?.failed += offer.entries.count
      advanceDelivery(id, now, &effects)
    }
  }

  /// The offer that an answer is about; nil when it is late, a duplicate, or of somebody else.
  private mutating func takeOffer(
    _ question: UInt32, _ id: OperationID, from peer: NodeID, _ credit: HintCredit, _ now: Now
  ) -> Delivery.Offer? {
    guard id.kind == .delivery, let delivery = deliveries[id], delivery.target == peer,
      let place = delivery.offers.firstIndex(where: { $0.question == question })
    else { return nil }
    deliveries[id]?.credit = credit
    deliveries[id]?.resumeAt = max(delivery.resumeAt, now.instant.advanced(by: .milliseconds(UInt64(credit.pauseMs))))
    deliveries[id]?.deadline = now.instant.advanced(by: Delivery.patience)
    return deliveries[id]?.offers.remove(at: place)
  }

  // MARK: A record

  /// The record as it is now, whatever it was when the hint was written.
  mutating func onTransferStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let transfer = transfers[id], let delivery = deliveries[transfer.delivery] else { return }
    switch result {
    case .record(let record):
      var write = ReplicaWrite(key: transfer.key, purpose: .repair, record: record)
      #if Planted
        if planted(.hintCarriesOldValue), let old = plantedPayloads.removeValue(forKey: transfer.key) {
          write.record = old
        }
      #endif
      let envelope = Envelope(operation: id.raw, deadline: now.instant.advanced(by: Delivery.patience))
      send(.replicaWrite(write), to: delivery.target, envelope, now, &effects)
    // What may lack something is handed over once it is whole again.
    case .incomplete: endTransfer(id, isDelivered: false, now, &effects)
    case .unreadable:
      noteDamage(transfer.key, &effects)
      endTransfer(id, isDelivered: false, now, &effects)
    default: invariant(false, "a transfer answered by \(result)")
    }
  }

  mutating func onTransferWritten(
    _ reply: ReplicaWriteReply, _ peer: NodeID, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let transfer = transfers[id], deliveries[transfer.delivery]?.target == peer else { return }
    switch reply {
    case .stored, .contested: endTransfer(id, isDelivered: true, now, &effects)
    case .refused:
      counters.hintsRefused += 1
      endTransfer(id, isDelivered: planted(.hintDroppedOnRefusal), now, &effects)
    }
  }

  private mutating func endTransfer(
    _ id: OperationID, isDelivered: Bool, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let transfer = transfers.remove(id), deliveries.isLive(transfer.delivery) else { return }
    deliveries[transfer.delivery]?.transfers -= 1
    deliveries[transfer.delivery]?.bytesUnderWay -= transfer.bytes
    deliveries[transfer.delivery]?.deadline = now.instant.advanced(by: Delivery.patience)
    if isDelivered {
      deliveries[transfer.delivery]?.done.append(transfer.key)
    } else {
      deliveries[transfer.delivery]?.failed += 1
    }
    advanceDelivery(transfer.delivery, now, &effects)
  }
}

extension Array {
  /// Runs of neighbours that belong together.
  fileprivate func chunked(by belongs: (Element, Element) -> Bool) -> [[Element]] {
    var runs: [[Element]] = []
    for element in self {
      if let last = runs.last?.last, belongs(last, element) {
        runs[runs.count - 1].append(element)
      } else {
        runs.append([element])
      }
    }
    return runs
  }
}
