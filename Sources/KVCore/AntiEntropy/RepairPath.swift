import KVModel

// What `kvctl repair` asks of a shard.
extension Shard {
  mutating func onRepair(
    _ request: RepairRequest, _ client: ClientRef, _ deadline: Instant, _ now: Now, _ effects: inout [Effect]
  ) {
    if let failure = refusal(of: request, deadline, now) {
      return effects.append(.respond(.failed(failure), to: client))
    }
    switch request {
    case .status: effects.append(.respond(.repaired(.status(repairStatus(at: now))), to: client))
    case .losses: onLossesAsked(client, &effects)
    case .acceptLoss(let partition): onLossAccepted(partition, client, &effects)
    case .compare(let partition):
      let pairs = schedule.onAsked(partition, at: now.instant)
      effects.append(.respond(.repaired(.comparing(pairs: UInt32(pairs))), to: client))
      startExchange(now, &effects)
    case .rescan(let partition, let leaf, let bytesMax):
      let bytes = min(Int(bytesMax), Rescan.bytesMax)
      look(.rescan(for: client), by: deadline, .rescan(partition, from: leaf, bytesMax: bytes), &effects)
    }
  }

  private mutating func refusal(of request: RepairRequest, _ deadline: Instant, _ now: Now) -> Failure? {
    guard let layout = view.current?.layout.settings else { return .notInCluster }
    guard deadline > now.instant else {
      counters.expiredWork += 1
      return Failure(.timedOut, detail: "the deadline had passed on arrival")
    }
    switch request {
    case .status, .losses: return nil
    case .acceptLoss(let partition): return view.standing.failure ?? refusal(of: partition, layout)
    case .rescan(let partition, let leaf, _):
      return refusal(of: partition, layout) ?? (leaf >> UInt32(layout.leafBits) == 0 ? nil : Shard.noSuchLeaf)
        ?? busy()
    case .compare(let partition): return view.standing.failure ?? refusal(of: partition, layout) ?? neverCompares()
    }
  }

  private func refusal(of partition: PartitionID, _ layout: ClusterSettings) -> Failure? {
    guard Int(partition.index) < layout.partitions else {
      return Failure(.invalidRequest, detail: "there are \(layout.partitions) partitions, numbered from 0")
    }
    guard view.owners(of: partition).place(of: identity.node) != nil else {
      return Failure(.notMember, detail: "node \(identity.node) owns no copy of partition \(partition)")
    }
    return nil
  }

  private static let noSuchLeaf = Failure(.invalidRequest, detail: "the partition's tree has no such leaf")

  private mutating func busy() -> Failure? {
    guard treeQueries.count >= settings.treeQueriesMax else { return nil }
    counters.overloads += 1
    return Failure(.overloaded, retryAfterMs: 200, detail: "\(treeQueries.count) questions about trees are under way")
  }

  private func neverCompares() -> Failure? {
    settings.exchangeInterval > .zero
      ? nil : Failure(.invalidRequest, detail: "this node compares nothing: repair.exchange_interval is 0")
  }

  private func repairStatus(at now: Now) -> RepairStatus {
    var peers = schedule.status(at: now.instant)
    for index in peers.indices {
      peers[index].marks = UInt64(handoff.census.targets.first { $0.node == peers[index].node }?.marks ?? 0)
    }
    return RepairStatus(shards: UInt16(identity.shards), peers: peers)
  }
}

extension Shard {
  /// The storage has read leaves again for `kvctl`.
  mutating func onRescanned(_ result: StorageResult, _ client: ClientRef, _ effects: inout [Effect]) {
    switch result {
    case .rescanned(let rescan): effects.append(.respond(.repaired(.rescanned(rescan)), to: client))
    case .unreadable:
      let failure = Failure(.unreadable, detail: "the disk did not give these leaves back; see the node's log")
      effects.append(.respond(.failed(failure), to: client))
    case .record, .incomplete, .merged, .synced, .refused, .leased, .request, .digests, .listed, .hints, .census,
      .expired, .gaps, .scrubbed, .failed:
      invariant(false, "leaves read again answered by \(result)")
    }
  }
}
