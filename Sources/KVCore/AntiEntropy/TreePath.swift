import KVModel

// What peers say about trees: answers go to the exchange that awaits them, questions to the storage and back.
extension Shard {
  mutating func onTree(
    _ message: TreeMessage, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    let id = OperationID(raw: envelope.operation)
    let asker = { TreeQuery.Asker(node: peer, envelope: envelope, question: $0) }
    switch message {
    case .differing(let places, let question):
      if isAwaited(question, bySurvey: id, from: peer) { return onSurveyed(places, id, now, &effects) }
      guard isAwaited(question, id, from: peer), let bits = view.current?.layout.settings.leafBits else { return }
      exchanges[id]?.onDiffering(places, leafBits: bits)
      advance(id, now, &effects)
    case .listed(let page, let question):
      if isAwaited(question, id, from: peer) { onPeerPage(page, id, now, &effects) }
    case .declined(let question):
      if isAwaited(question, bySurvey: id, from: peer) { endSurvey(id, now, &effects) }
      if isAwaited(question, id, from: peer) { endExchange(id, isComplete: false, now, &effects) }
    case .gaps(let gaps, let question):
      if isAwaited(question, id, from: peer) { onPeerGaps(gaps, id, now, &effects) }
    case .askGaps(let partition, let question): onAskGaps(partition, asker(question), now, &effects)
    case .roots(let roots, let question): onRoots(roots, asker(question), now, &effects)
    case .compare(let partition, let digests, let question):
      onCompare(partition, digests, asker(question), now, &effects)
    case .list(let partition, let leaf, let after, let limit, let question):
      let place = LeafPlace(partition: partition, leaf: leaf)
      onList(place, .listLeaf(place, after: after, limit: Int(limit)), asker(question), now, &effects)
    }
  }

  // MARK: Answers to an exchange

  /// A page that holds anything else than what was asked ends the exchange: nothing of it may be joined here.
  private mutating func onPeerPage(_ page: LeafPage, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if holdsOnlyWhatWasAsked(page, id) { return onPage(page, isMine: false, id, now, &effects) }
    counters.malformedTrees += 1
    endExchange(id, isComplete: false, now, &effects)
  }

  /// A key of another leaf, or one that was listed before, has no place in a page: it must not be joined here.
  private func holdsOnlyWhatWasAsked(_ page: LeafPage, _ id: OperationID) -> Bool {
    guard let exchange = exchanges[id], let listing = exchange.listing, let layout = view.current?.layout else {
      return false
    }
    let geometry = ShardGeometry(of: layout)
    let place = LeafPlace(partition: exchange.partition, leaf: listing.leaf)
    return page.entries.allSatisfy { entry in
      LeafPlace(of: entry.key, geometry) == place && listing.after.map { $0 < entry.key } ?? true
    }
  }

  private func isAwaited(_ question: UInt32, _ id: OperationID, from peer: NodeID) -> Bool {
    guard id.kind == .exchange, let exchange = exchanges[id] else { return false }
    return exchange.peer == peer && exchange.question == question
  }

  // MARK: Questions of a peer

  /// What is missing here of a partition is asked of the store, which knows it first. Trees are of what is synced: who pulls
  /// may have acknowledged a write, and lost it, that is merged here and counts as soon as this copy of it is synced. So it
  /// is waited for: what is pulled from here then has it.
  private mutating func onAskGaps(
    _ partition: PartitionID, _ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect]
  ) {
    guard answerable(partition, asker.envelope, now) != nil else { return decline(asker, now, &effects) }
    rebuild.pullers[asker.node] = now.instant.advanced(by: Rebuild.pullerSpan)
    look(.settling(partition, for: asker), by: asker.envelope.deadline, .changeGaps([]), &effects)
  }

  private mutating func onCompare(
    _ partition: PartitionID, _ digests: [TreeDigest], _ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect]
  ) {
    guard speaksOf(partition, to: asker.node), let bits = answerable(partition, asker.envelope, now),
      digests.allSatisfy({ $0.node.exists(leafBits: bits) })
    else { return decline(asker, now, &effects) }
    let operation = StorageOperation.digests(partition, digests.map(\.node))
    look(.compare(digests.map(\.digest), for: asker), by: asker.envelope.deadline, operation, &effects)
  }

  private mutating func onList(
    _ place: LeafPlace, _ operation: StorageOperation, _ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect]
  ) {
    guard speaksOf(place.partition, to: asker.node), let bits = answerable(place.partition, asker.envelope, now),
      place.leaf >> UInt32(bits) == 0
    else { return decline(asker, now, &effects) }
    look(.list(for: asker), by: asker.envelope.deadline, operation, &effects)
  }

  /// Asks the storage what a question is about.
  mutating func look(
    _ matter: TreeQuery.Matter, by deadline: Instant, _ operation: StorageOperation, _ effects: inout [Effect]
  ) {
    let id = treeQueries.insert(TreeQuery(matter: matter, deadline: deadline))
    effects.append(.store(operation, StorageID(raw: id.raw)))
  }

  private mutating func answer(
    _ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect], _ message: (UInt32) -> TreeMessage
  ) {
    send(.tree(message(asker.question)), to: asker.node, asker.envelope, now, &effects)
  }

  mutating func decline(_ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect]) {
    answer(asker, now, &effects) { .declined(question: $0) }
  }

  /// The leaf bits of the tree, when a question about this partition can be answered here and now.
  private mutating func answerable(_ partition: PartitionID, _ envelope: Envelope, _ now: Now) -> Int? {
    guard let bits = answersTrees(envelope, now) else { return nil }
    return owns(partition) ? bits : nil
  }

  /// The same of any partition's.
  mutating func answersTrees(_ envelope: Envelope, _ now: Now) -> Int? {
    if dropsExpired(envelope, now) { return nil }
    guard view.standing == .confirmed, let layout = view.current?.layout.settings else { return nil }
    guard treeQueries.count < settings.treeQueriesMax else {
      counters.overloads += 1
      return nil
    }
    return layout.leafBits
  }

  func exists(_ partition: PartitionID) -> Bool {
    view.current.map { Int(partition.index) < $0.layout.settings.partitions } ?? false
  }

  func owns(_ partition: PartitionID) -> Bool {
    exists(partition) && view.owners(of: partition).place(of: identity.node) != nil
  }

  mutating func onTreeStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let query = treeQueries.remove(id) else { return }
    switch (query.matter, result) {
    case (.rescan(for: let client), _): onRescanned(result, client, &effects)
    case (.compare(let theirs, let untold, for: let asker), .digests(let digests)):
      var places = theirs.indices.filter { theirs[$0] != digests[$0] || untold.contains($0) }.map { UInt16($0) }
      if planted(.differenceSkipped) { _ = places.popLast() }
      answer(asker, now, &effects) { .differing(places, question: $0) }
    case (.settling(let partition, for: let asker), .synced):
      look(.gaps(partition, for: asker), by: query.deadline, .listGaps, &effects)
    case (.gaps(let partition, for: let asker), .gaps(let census)):
      let gaps = census.gaps(of: partition, bits: partitionBits)
      answer(asker, now, &effects) { .gaps(gaps, question: $0) }
    case (.list(for: let asker), .listed(let page)):
      if page.entries.contains(where: { $0.digest == .zero }) { rebuild.isStale = true }
      answer(asker, now, &effects) { .listed(page, question: $0) }
    case (.compare(_, _, for: let asker), .unreadable), (.list(for: let asker), .unreadable),
      (.gaps(_, for: let asker), .unreadable), (.settling(_, for: let asker), .unreadable):
      decline(asker, now, &effects)
    case (.compare, _), (.list, _), (.gaps, _), (.settling, _):
      invariant(false, "a question about a tree answered by \(result)")
    }
  }
}
