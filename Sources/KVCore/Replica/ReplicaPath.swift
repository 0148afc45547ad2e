import KVModel

/// A question to this node's copy that its storage is answering.
struct ReplicaRead: Sendable {
  let key: Key
  let asker: NodeID
  let envelope: Shard.Envelope
  let inlineBytesMax: UInt32
}

/// A question whether a request is known here, that the storage is answering.
struct RequestCheck: Sendable {
  let request: RequestID
  let key: Key
  let asker: NodeID
  let envelope: Shard.Envelope
}

/// A join into this node's copy that its storage is syncing.
struct PendingReplicaWrite: Sendable {
  let key: Key
  let asker: NodeID
  let envelope: Shard.Envelope
  /// Known once merged, told once synced.
  private(set) var beside: Beside?
  private(set) var isContested = false

  mutating func note(_ merged: Merged) {
    beside = merged.beside
    isContested = merged.isContested
  }
}

// An owner answers for its copy: reads of what is synced, joins acknowledged once synced.
extension Shard {
  // MARK: Reads

  mutating func onReplicaRead(
    _ key: Key, _ inlineBytesMax: UInt32, _ peer: NodeID, _ envelope: Envelope, _ now: Now,
    _ effects: inout [Effect]
  ) {
    if dropsExpired(envelope, now) { return }
    guard view.standing == .confirmed else {
      return send(.replicaReadReply(.unreadable), to: peer, envelope, now, &effects)
    }
    guard replicaReads.count < settings.replicaOperationsMax else {
      counters.overloads += 1
      return
    }
    let read = ReplicaRead(key: key, asker: peer, envelope: envelope, inlineBytesMax: inlineBytesMax)
    let id = replicaReads.insert(read)
    effects.append(.store(.read(key), StorageID(raw: id.raw)))
  }

  mutating func onReplicaReadStored(
    _ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let read = replicaReads.remove(id) else { return }
    let reply: ReplicaReadReply
    switch result {
    case .record(let record): reply = self.reply(with: record, to: read, &effects)
    case .incomplete(let record):
      reply = record.bytes.count <= Int(read.inlineBytesMax) ? .incomplete(record) : .unreadable
    case .unreadable:
      noteDamage(read.key, &effects)
      reply = .unreadable
    case .merged, .synced, .refused, .leased, .request, .digests, .listed, .hints, .census, .expired, .rescanned, .gaps,
      .scrubbed, .failed:
      return invariant(false, "a read answered by \(result)")
    }
    send(.replicaReadReply(reply), to: read.asker, read.envelope, now, &effects)
  }

  /// The record as it is stored, or its digest when it is long.
  private mutating func reply(
    with record: EncodedRecord, to read: ReplicaRead, _ effects: inout [Effect]
  ) -> ReplicaReadReply {
    if record.bytes.count <= Int(read.inlineBytesMax) { return .record(record) }
    guard let decoded = try? record.decoded() else {
      noteDamage(read.key, &effects)
      return .unreadable
    }
    return .digest(decoded.replyDigest(of: read.key, seed: digestSeed))
  }

  // MARK: Writes

  mutating func onReplicaWrite(
    _ write: ReplicaWrite, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    if dropsExpired(envelope, now) { return }
    if let failure = view.standing.failure { return refuse(failure, peer, envelope, now, &effects) }
    guard replicaWrites.count < settings.replicaOperationsMax else {
      counters.overloads += 1
      return refuse(Failure(.overloaded, retryAfterMs: 50), peer, envelope, now, &effects)
    }
    guard let incoming = try? StoredRecord(write.record) else {
      counters.malformedRecords += 1
      effects.append(.note(.malformedRecord(from: peer)))
      return refuse(Failure(.invalidRequest, detail: "the record cannot be decoded"), peer, envelope, now, &effects)
    }
    let record = incoming.record
    if let failure = goBack(record.context, peer, now, &effects) {
      return refuse(failure, peer, envelope, now, &effects)
    }
    let owners = owners(of: write.key) ?? OwnerSet()
    guard owners.place(of: identity.node) != nil else {
      return refuse(
        Failure(.notMember, detail: "node \(identity.node) owns no copy of this key"), peer, envelope, now, &effects)
    }
    if case .write(let minted) = write.purpose, let version = record.versions.first(where: { $0.dot == minted }),
      isFenced(version.requestID, mintedBy: peer, now)
    {
      let failure = Failure(.cancelled, .unknown, detail: "a retry has taken the place of this attempt")
      return refuse(failure, peer, envelope, now, &effects)
    }
    if let failure = observe(write.purpose, record, from: peer, now, &effects) {
      return refuse(failure, peer, envelope, now, &effects)
    }
    let id = replicaWrites.insert(PendingReplicaWrite(key: write.key, asker: peer, envelope: envelope))
    let targets = hints(for: write, from: peer, owners)
    countHints(targets)
    effects.append(.store(.merge(write.key, .join(incoming), hints: targets), StorageID(raw: id.raw)))
  }

  /// A freshly minted version advances the clock, or is refused when it lies too far ahead. Repair does neither.
  private mutating func observe(
    _ purpose: ReplicaWrite.Purpose, _ record: Record, from peer: NodeID, _ now: Now, _ effects: inout [Effect]
  ) -> Failure? {
    guard case .write(let minted) = purpose, let version = record.versions.first(where: { $0.dot == minted }) else {
      return nil
    }
    guard HybridClock.accepts(version.stamp, at: now.wall) else {
      let ahead = version.stamp.wall.milliseconds - now.wall.milliseconds
      counters.clockRefusals += 1
      effects.append(.note(.clockSkew(from: peer, aheadMs: ahead)))
      return Failure(.clockSkew, detail: "its stamp is \(ahead) ms ahead of node \(identity.node)'s clock")
    }
    if !planted(.clockNotAdvanced) { clock.observe(version.stamp) }
    return nil
  }

  mutating func onReplicaWriteStored(
    _ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]
  ) {
    switch result {
    case .merged(let merged):
      if merged.beside != nil || merged.isContested { replicaWrites[id]?.note(merged) }
      if planted(.answeredBeforeSync) { onReplicaWriteStored(.synced, id, now, &effects) }
    case .synced:
      guard let write = replicaWrites.remove(id) else { return }
      let reply = write.isContested ? ReplicaWriteReply.contested : .stored(beside: write.beside)
      send(.replicaWriteReply(reply), to: write.asker, write.envelope, now, &effects)
    case .unreadable:
      guard let write = replicaWrites.remove(id) else { return }
      noteDamage(write.key, &effects)
      let failure = Failure(.unreadable, detail: "node \(identity.node)'s copy is damaged")
      refuse(failure, write.asker, write.envelope, now, &effects)
    case .refused(let failure):
      guard let write = replicaWrites.remove(id) else { return }
      refuse(failure, write.asker, write.envelope, now, &effects)
    case .record, .leased, .request, .digests, .listed, .hints, .census, .expired, .rescanned, .incomplete, .gaps,
      .scrubbed, .failed:
      invariant(false, "a join answered by \(result)")
    }
  }

  private mutating func refuse(
    _ failure: Failure, _ peer: NodeID, _ envelope: Envelope, _ now: Now, _ effects: inout [Effect]
  ) {
    send(.replicaWriteReply(.refused(failure)), to: peer, envelope, now, &effects)
  }

  // MARK: Common

  /// Work that nobody waits for any more is dropped before it is done.
  mutating func dropsExpired(_ envelope: Envelope, _ now: Now) -> Bool {
    guard envelope.deadline <= now.instant else { return false }
    counters.expiredWork += 1
    return true
  }

  mutating func noteDamage(_ key: Key, _ effects: inout [Effect]) {
    rebuild.isStale = true
    if let partition = view.partition(of: key) { effects.append(.note(.damagedRecord(partition))) }
  }
}
