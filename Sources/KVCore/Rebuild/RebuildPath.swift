import KVModel

// The side whose copy has gaps: census → pulls from each other owner → closed.
extension Shard {
  static let gapsID = OperationID(kind: .housekeeping, shard: 0, slot: 10, generation: 0)
  static let paceTimerID = OperationID(kind: .housekeeping, shard: 0, slot: 11, generation: 0)

  /// As of the last census.
  public var gaps: GapCensus { rebuild.census }

  /// Partitions of this node's that are whole, and all that it owns a copy of; single keys do not count.
  public var wholePartitions: (whole: Int, owned: Int) {
    let owned = Set(schedule.pairs.map(\.partition)).count
    return (max(0, owned - rebuild.census.partitions), owned)
  }

  // MARK: Clockwork

  mutating func lookForGaps(_ effects: inout [Effect]) {
    effects.append(.store(.listGaps, StorageID(raw: Shard.gapsID.raw)))
  }

  mutating func onRebuildTick(_ now: Now, _ effects: inout [Effect]) {
    endOverdue(now, &effects)
    rebuild.pullers = rebuild.pullers.filter { $0.value > now.instant }
    if rebuild.isStale || !rebuild.census.open.isEmpty || rebuild.census.barred.contains(actor) {
      lookForGaps(&effects)
    }
  }

  private var pulls: [OperationID] { exchanges.ids.filter { exchanges[$0]?.pull != nil } }

  mutating func onGaps(_ census: GapCensus, _ now: Now, _ effects: inout [Effect]) {
    if census.quarantined > rebuild.census.quarantined {
      let count = census.quarantined - rebuild.census.quarantined
      counters.damagedRecords += count
      effects.append(.note(.quarantined(records: count)))
    }
    noteProgress(from: rebuild.census, to: census, now, &effects)
    takeBackOwn(lostSince: rebuild.census, census, now, &effects)
    rebuild.census = census
    rebuild.isStale = false
    if census.barred.contains(actor), rebuild.askedAfter != actor.epoch {
      rebuild.askedAfter = actor.epoch
      effects.append(.renewEpoch(after: actor.epoch))
    }
    guard view.standing == .confirmed else { return }
    closeFilled(&effects)
    startPulls(now, &effects)
  }

  /// The node's data went back in time: before anything is asked of the store it knows that nothing in it is whole. Asked
  /// again at each start, in case it ended before this was synced.
  mutating func onLifeLost(_ now: Now, _ effects: inout [Effect]) {
    guard view.current != nil else { return }
    let until = WallTime(milliseconds: now.wall.milliseconds &+ RequestMemory.spanMs)
    let change = GapChange.forgotten(life: view.life, until: until, view.partitions(of: identity))
    effects.append(.store(.changeGaps([change]), StorageID(raw: Shard.gapsID.raw)))
    lookForGaps(&effects)
  }

  private mutating func noteProgress(
    from old: GapCensus, to new: GapCensus, _ now: Now, _ effects: inout [Effect]
  ) {
    if rebuild.since == nil, !new.open.isEmpty {
      (rebuild.since, rebuild.bytes, rebuild.records) = (now.instant, 0, 0)
      effects.append(.note(.rebuildBegins(partitions: new.partitions, keys: new.keys)))
    } else if let since = rebuild.since, new.open.isEmpty {
      rebuild.since = nil
      rebuild.notBefore.removeAll()
      effects.append(
        .note(.rebuilt(records: rebuild.records, bytes: rebuild.bytes, after: now.instant.since(since))))
    }
  }

  /// Writes under way of which this node has synced its own copy, and lost it since: that must not count, since nothing is
  /// pulled for them from whoever syncs his after the pull. Called before any begins.
  private mutating func takeBackOwn(
    lostSince old: GapCensus, _ new: GapCensus, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let bits = view.current?.layout.settings.partitionBits, !writes.ids.isEmpty else { return }
    let known = Set(old.open.map(\.sequence))
    let lost = Set(new.open.filter { !known.contains($0.sequence) }.map(\.gap.part))
    if lost.isEmpty { return }
    for id in writes.ids {
      guard let operation = writes[id], !operation.isAnswered else { continue }
      let key = operation.write.key
      if lost.contains(.key(key)) || lost.contains(.partition(key.token.partition(bits: bits))) {
        takeBackOwn(id, now, &effects)
      }
    }
  }

  private mutating func closeFilled(_ effects: inout [Effect]) {
    close(readyGaps { gap, owners, quorum in gap.isFilled(owners, writeQuorum: quorum, at: identity.node) }, &effects)
  }

  /// Open gaps whose leaves agree with the data, and of which `isSo` holds: by the owners of their partition and the write
  /// quorum.
  func readyGaps(where isSo: (Gap, OwnerSet, Int) -> Bool) -> [GapCensus.Entry] {
    guard let settings = view.current?.layout.settings else { return [] }
    return rebuild.census.open.filter { entry in
      entry.isReady
        && isSo(entry.gap, view.owners(of: entry.gap.partition(bits: settings.partitionBits)), settings.writeQuorum)
    }
  }

  mutating func close(_ gaps: [GapCensus.Entry], _ effects: inout [Effect]) {
    if gaps.isEmpty { return }
    rebuild.isStale = true
    let changes = gaps.map { GapChange.close($0.gap.part, sequence: $0.sequence) }
    effects.append(.store(.changeGaps(changes), StorageID(raw: Shard.gapsID.raw)))
  }

  // MARK: Pulls

  private mutating func startPulls(_ now: Now, _ effects: inout [Effect]) {
    guard let bits = view.current?.layout.settings.partitionBits, !rebuild.census.open.isEmpty else { return }
    var running = Set(
      pulls.compactMap { id in exchanges[id].map { Rebuild.Source(partition: $0.partition, peer: $0.peer) } })
    var last: PartitionID?
    for entry in rebuild.census.open where entry.isReady && running.count < settings.pullsMax {
      let partition = entry.gap.partition(bits: bits)
      if partition == last { continue }
      last = partition
      for peer in view.owners(of: partition).nodes where peer != identity.node && running.count < settings.pullsMax {
        let source = Rebuild.Source(partition: partition, peer: peer)
        guard !running.contains(source), rebuild.notBefore[source].map({ $0 <= now.instant }) ?? true,
          reachability.standing(of: peer, at: now.instant) == .near
        else { continue }
        let wanted = rebuild.ready(in: partition, bits: bits).filter { !$0.gap.pulled.contains(peer) }
        if wanted.isEmpty { continue }
        running.insert(source)
        startPull(source, wanted, now, &effects)
      }
    }
  }

  private mutating func startPull(
    _ source: Rebuild.Source, _ gaps: [GapCensus.Entry], _ now: Now, _ effects: inout [Effect]
  ) {
    var exchange = Exchange(
      partition: source.partition, peer: source.peer, deadline: now.instant.advanced(by: Exchange.patience))
    exchange.pull = Pull(gaps: gaps)
    counters.pulls += 1
    askGaps(exchanges.insert(exchange), now, &effects)
  }

  private mutating func askGaps(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let partition = exchanges[id]?.partition else { return }
    ask(id, now, &effects) { .askGaps(partition, question: $0) }
  }

  /// The peer has said what is missing there.
  mutating func onPeerGaps(_ gaps: PartitionGaps, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    exchanges[id]?.pull?.missing.join(gaps)
    switch exchanges[id]?.pull?.phase {
    case .askingBefore:
      exchanges[id]?.pull?.phase = .comparing
      advance(id, now, &effects)
    case .askingAfter: endExchange(id, isComplete: true, now, &effects)
    case .comparing, nil: break
    }
  }

  /// All that differed was joined: whatever the peer has lost meanwhile was not.
  mutating func onPulled(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    exchanges[id]?.pull?.phase = .askingAfter
    askGaps(id, now, &effects)
  }

  /// Called as the exchange of a pull ends.
  mutating func onPullEnded(
    _ exchange: Exchange, _ pull: Pull, isComplete: Bool, _ now: Now, _ effects: inout [Effect]
  ) {
    let source = Rebuild.Source(partition: exchange.partition, peer: exchange.peer)
    let changes = pull.changes(from: exchange.peer)
    rebuild.isStale = true
    if !isComplete || pull.missing.isWhole || !pull.missing.keys.isEmpty {
      rebuild.notBefore[source] = now.instant.advanced(by: Rebuild.pause)
    }
    if isComplete {
      effects.append(.store(.changeGaps(changes), StorageID(raw: Shard.gapsID.raw)))
      lookForGaps(&effects)
    }
  }

  // MARK: Pace

  /// Whether a pull has to wait before it asks for another record.
  mutating func isPaced(_ exchange: Exchange, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) -> Bool {
    guard exchange.pull != nil, rebuild.freeAt > now.instant else { return false }
    exchanges[id]?.deadline = rebuild.freeAt.advanced(by: Exchange.patience)
    if !rebuild.isPaceTimerSet {
      rebuild.isPaceTimerSet = true
      effects.append(.schedule(TimerID(raw: Shard.paceTimerID.raw), at: rebuild.freeAt))
    }
    return true
  }

  mutating func onPaceTimer(_ now: Now, _ effects: inout [Effect]) {
    rebuild.isPaceTimerSet = false
    for id in pulls { advance(id, now, &effects) }
  }

  /// A record has been pulled, of so many bytes.
  mutating func onPulled(bytes: Int, _ exchange: OperationID, _ now: Now) {
    guard exchanges[exchange]?.pull != nil else { return }
    rebuild.bytes += UInt64(bytes)
    rebuild.records += 1
    counters.pulledBytes += UInt64(bytes)
    counters.pulledRecords += 1
    guard settings.pullBytesPerSecond > 0 else { return }
    let (nanoseconds, rest) = (UInt64(bytes) &* 1_000_000_000).quotientAndRemainder(
      dividingBy: settings.pullBytesPerSecond)
    // What comes late is not made up for by a burst of more than a tick.
    let floor = Instant(
      nanoseconds: now.instant.nanoseconds &- min(now.instant.nanoseconds, Shard.paceSlack.nanoseconds))
    rebuild.freeAt = max(rebuild.freeAt, floor)
      .advanced(by: Span64(nanoseconds: nanoseconds + (rest > 0 ? 1 : 0)))
  }

  private static let paceSlack = Span64.milliseconds(20)

  // MARK: The side that is pulled from

  /// A partition of which anything may be missing is no truth to compare with: only who pulls is answered, and takes what
  /// there is. Others would push all of it here, unasked and unpaced.
  func speaksOf(_ partition: PartitionID, to peer: NodeID) -> Bool {
    !rebuild.lacking.contains(partition) || rebuild.pullers[peer] != nil
  }
}
