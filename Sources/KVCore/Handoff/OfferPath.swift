import KVModel

// The side that was away: it says which of the offered keys it lacks, and how much it can take.
extension Shard {
  mutating func onOffer(
    _ offer: HintOffer, _ question: UInt32, _ peer: NodeID, _ envelope: Envelope, _ now: Now,
    _ effects: inout [Effect]
  ) {
    if dropsExpired(envelope, now) { return }
    guard isForHere(offer, from: peer) else {
      counters.offersRefused += 1
      return decline(.notHere, question, peer, envelope, now, &effects)
    }
    guard view.standing == .confirmed, offerQueries.count < settings.offersMax else {
      return decline(.busy, question, peer, envelope, now, &effects)
    }
    let query = OfferQuery(asker: peer, envelope: envelope, question: question, entries: offer.entries)
    let id = offerQueries.insert(query)
    effects.append(.store(.keyDigests(offer.entries.map(\.key)), StorageID(raw: id.raw)))
  }

  /// Hints are for this node when it is named, and when both own a copy of the keys.
  private func isForHere(_ offer: HintOffer, from peer: NodeID) -> Bool {
    guard offer.target == identity.node, let layout = view.current?.layout.settings,
      Int(offer.partition.index) < layout.partitions
    else { return false }
    let owners = view.owners(of: offer.partition)
    return owners.place(of: identity.node) != nil && owners.place(of: peer) != nil
      && offer.entries.allSatisfy { view.partition(of: $0.key) == offer.partition }
  }

  private mutating func decline(
    _ reason: HandoffMessage.Reason, _ question: UInt32, _ peer: NodeID, _ envelope: Envelope, _ now: Now,
    _ effects: inout [Effect]
  ) {
    let credit = HintCredit(keys: 16, bytes: Delivery.firstCredit.bytes, pauseMs: 1_000)
    send(.handoff(.declined(reason, credit, question: question)), to: peer, envelope, now, &effects)
  }

  mutating func onOfferStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let query = offerQueries.remove(id) else { return }
    guard case .digests(let digests) = result else {
      return decline(.busy, query.question, query.asker, query.envelope, now, &effects)
    }
    // The digest of nothing: there is no record here, or a damaged one.
    let places = query.entries.indices.filter { query.entries[$0].digest != digests[$0] || digests[$0] == .zero }
    if !places.isEmpty { handoff.onPassing(with: query.asker, at: now.instant) }
    let credit = grant(wanted: places.map { query.entries[$0] }, offered: query.entries.count, now)
    let answer = HandoffMessage.wanted(places.map { UInt16($0) }, credit, question: query.question)
    send(.handoff(answer), to: query.asker, query.envelope, now, &effects)
  }

  /// How much comes next, and when. All holders together get through so many units a second: a key, or 4 KiB of its
  /// record, is one; a key that only had to be looked at an eighth. The more this shard has under way, the dearer.
  private mutating func grant(wanted: [HintOffer.Entry], offered: Int, _ now: Now) -> HintCredit {
    let eighths = wanted.reduce(UInt64(offered)) { $0 + 8 * max(1, UInt64($1.bytes) >> 12) }
    let load = UInt64(self.load)
    let span = Span64(
      nanoseconds: eighths * load * 125_000_000 / max(1, settings.handoffUnitsPerSecond))
    handoffFreeAt = max(handoffFreeAt, now.instant).advanced(by: span)
    let pause = handoffFreeAt.since(now.instant).milliseconds
    return HintCredit(
      keys: UInt16(max(8, settings.handoffPageKeys / Int(load))), bytes: 1 << 20, pauseMs: UInt16(min(pause, 10_000)))
  }
}
