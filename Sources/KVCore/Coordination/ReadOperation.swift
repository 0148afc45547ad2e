import KVModel

/// A quorum read under way.
///
/// ```
///  gathering ──R replies──► agree? ──yes──────────────────────────────────────► answer
///      ▲                      │ no
///      │                      ▼
///      └──full records──── fetching ──► join ──► settling ──N−R+1 hold it──► answer, repair the rest
/// ```
///
/// Before a value is answered whose copies differed, N−R+1 owners durably hold the join, so that no later quorum read
/// can miss it (ABD's write-back: Attiya, Bar-Noy, Dolev, JACM 1995).
struct ReadOperation: Sendable {
  enum Reply: Equatable, Sendable {
    case record(EncodedRecord)
    case digest(Digest)
  }

  enum Phase: Equatable, Sendable {
    /// Waiting for R replies, digests allowed.
    case gathering
    /// Replies differed: waiting for full records from those that sent digests.
    case fetching
    /// Waiting until enough owners durably hold the join.
    case settling(Record)
  }

  let key: Key
  let needed: Int
  let owners: OwnerSet
  let request: Request
  var phase = Phase.gathering
  /// By place in `owners`; an owner has one, however many replies it sends.
  var replies: [Reply?]
  var asked = OwnerMask()
  /// Owners that were asked for the whole record, however long.
  var askedWhole = OwnerMask()
  /// Owners that were sent the join.
  var written = OwnerMask()
  /// Owners that cannot answer: unreachable, damaged, refusing.
  var failed = OwnerMask()
  /// Owners that durably hold the join.
  var durable = OwnerMask()

  /// Owners that must hold the join before it may be answered: N−R+1 of every layout.
  let durableNeeded: Int
  /// Owners without whose reply there is no answer: one that knows a retried request.
  let mustHear: OwnerMask

  init(
    key: Key, needed: Int, owners: OwnerSet, request: Request, durableNeeded: Int? = nil,
    mustHear: OwnerMask = OwnerMask()
  ) {
    self.key = key
    self.needed = needed
    self.durableNeeded = durableNeeded ?? owners.copies - needed + 1
    self.mustHear = mustHear
    self.owners = owners
    self.request = request
    replies = Array(repeating: nil, count: owners.nodes.count)
  }

  /// Owners yet to be asked before `needed` can answer.
  var missing: Int {
    if owners.groups.count > 1 { return owners.nodes.count }
    return needed - OwnerMask(bits: asked.bits & ~failed.bits).count
  }

  /// What goes with the question to the owner at a place. Digests will do only as long as nothing differs.
  func question(to place: Int) -> (node: NodeID, key: Key, isWhole: Bool, deadline: Instant) {
    (owners.nodes[place], key, !isGathering, request.deadline)
  }

  private var isGathering: Bool { if case .gathering = phase { true } else { false } }

  enum Taken {
    case counted
    /// The join is being written already; the repair goes on without it.
    case tooLate
    /// A digest of an owner that was asked before the records were needed, or a duplicate.
    case wantsWhole
    case failed
  }

  /// Takes the reply of the owner at a place; nil when it says nothing new.
  mutating func take(_ reply: ReplicaReadReply, at place: Int) -> Taken? {
    switch (phase, reply) {
    case (.settling, _): return .tooLate
    case (.fetching, .digest): return askedWhole.contains(place) ? nil : .wantsWhole
    case (_, .unreadable), (_, .incomplete): return .failed
    case (.gathering, .digest(let digest)): replies[place] = .digest(digest)
    case (.gathering, .record(let record)), (.fetching, .record(let record)): replies[place] = .record(record)
    }
    failed.remove(place)
    return .counted
  }

  /// Owners whose reply is there.
  var answered: OwnerMask {
    var mask = OwnerMask()
    for place in replies.indices where replies[place] != nil { mask.insert(place) }
    return mask
  }

  var decision: OwnerSet.Decision {
    if mustHear.bits & failed.bits != 0 { return .impossible }
    let decision = owners.decision(needed: needed, succeeded: answered, failed: failed)
    return decision == .met && mustHear.bits & ~answered.bits != 0 ? .waiting : decision
  }

  /// What the replies have in common.
  enum Comparison: Equatable {
    /// All equal; the record itself, when a reply carried it.
    case equal(Record?)
    case different
    /// The reply at this place cannot be decoded.
    case damaged(at: Int)
  }

  /// Compares the replies: byte by byte when all are records, else by digest.
  func compare(seed: UInt64) -> Comparison {
    var decoded: [Record] = []
    var digests: [Digest] = []
    var bytes: EncodedRecord?
    for place in replies.indices {
      switch replies[place] {
      case .record(let encoded)?:
        if encoded == bytes { continue }
        guard let record = try? encoded.decoded() else { return .damaged(at: place) }
        bytes = bytes ?? encoded
        decoded.append(record)
      case .digest(let digest)?: digests.append(digest)
      case nil: continue
      }
    }
    if digests.isEmpty, decoded.count == 1 { return .equal(decoded[0]) }
    digests += decoded.map { $0.replyDigest(of: key, seed: seed) }
    return digests.allSatisfy { $0 == digests[0] } ? .equal(decoded.first) : .different
  }

  /// The join of all replies, and which owners hold exactly it. All replies are records that decoded before.
  func joined(seed: UInt64) -> (record: Record, holders: OwnerMask) {
    let records = replies.map { reply -> Record? in
      if case .record(let encoded)? = reply { return try? encoded.decoded() }
      return nil
    }
    var join = Record()
    for record in records { if let record { join.join(record) } }
    let digest = join.digest(of: key, seed: seed)
    var holders = OwnerMask()
    for (place, record) in records.enumerated() where record?.digest(of: key, seed: seed) == digest {
      holders.insert(place)
    }
    return (join, holders)
  }
}

extension Record {
  /// The digest by which the replies to a read are compared.
  func replyDigest(of key: Key, seed: UInt64) -> Digest {
    if planted(.digestIgnoresSiblings), let newest = newestFirst.first {
      return Record(context: VersionVector(), versions: [newest]).digest(of: key, seed: seed)
    }
    return digest(of: key, seed: seed)
  }
}
