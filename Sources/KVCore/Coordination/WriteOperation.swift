import KVModel

/// A quorum write under way at its coordinator, always an owner.
///
/// ```
///  minting ──merged──► replicating ──W synced──► beside others? ──no──────────────► ok
///     ▲                                              │ yes, first round, no context
///     └──────────── once more, superseding them ─────┘
/// ```
///
/// Refused before the dot is minted: `rejected`. Not acknowledged by W owners afterwards: `unknown`.
struct WriteOperation: Sendable {
  enum Phase: Equatable, Sendable {
    /// Waiting for a lease of dots: nothing has happened yet.
    case leasing
    /// Waiting for the local merge.
    case minting
    /// Sent to the other owners; waiting for W owners to have synced it.
    case replicating
  }

  private(set) var write: WriteRequest
  let needed: Int
  let owners: OwnerSet
  let request: Request
  /// Of a retry: what the owners have fenced its request id for.
  var claim: RetryClaim?
  var phase = Phase.leasing
  /// 2 after acknowledgements named versions that an overwrite has to supersede too.
  var round = 1
  /// The absolute expiry, fixed once for both rounds.
  let expiry: WallTime?
  /// The version of this round, and the join that is sent to the other owners.
  var merged: Merged?
  var acknowledged = OwnerMask()
  var failed = OwnerMask()
  /// What owners hold that the first round did not cover.
  var beside: Beside?
  /// Whether this node, or an owner that has acknowledged this round, held versions that its version does not cover.
  var hasSiblings = false
  /// Owners that were known to be away, and have a hint in the record's own batch.
  var hinted = OwnerMask()
  /// The client has its answer: what is left is to learn who has the write.
  private(set) var isAnswered = false

  init(
    write: WriteRequest, needed: Int, owners: OwnerSet, request: Request, expiry: WallTime?
  ) {
    self.write = write
    self.needed = needed
    self.owners = owners
    self.request = request
    self.expiry = expiry
  }

  var minted: Version? { merged?.minted }

  /// The owner at a place has synced it; `beside`: what it held that the write does not cover.
  mutating func acknowledge(_ place: Int, beside other: Beside?) {
    acknowledged.insert(place)
    failed.remove(place)
    guard let other else { return }
    hasSiblings = true
    if beside == nil { beside = other } else { beside?.join(other) }
  }

  /// Lets the bytes go that only an answer needs.
  mutating func letGo() {
    isAnswered = true
    write.payload = .delete
    merged = nil
    beside = nil
  }

  var decision: OwnerSet.Decision {
    let needed = planted(.writeQuorumNotAwaited) ? 1 : needed
    return owners.decision(needed: needed, succeeded: acknowledged, failed: failed)
  }

  /// An overwrite supersedes all that its write quorum held, so it goes round once more when there was more.
  var needsSecondRound: Bool {
    round == 1 && write.context == nil && beside != nil && !planted(.secondRoundSkipped)
  }

  /// What the receipt tells of versions beside this one.
  var siblings: Receipt.Siblings {
    if hasSiblings && !planted(.siblingsNotTold) { return .present }
    return owners.isMajority(acknowledged) ? .absent : .unknown
  }

  /// What this round's version supersedes.
  var basis: Mint.Basis {
    if let context = write.context { return .context(context.vector) }
    guard round == 2, let minted, let merged, let beside else { return .overwrite }
    return .again(first: minted.dot, covered: merged.context, beside: beside)
  }
}
