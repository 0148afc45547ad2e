/// Bugs that the simulator must find: each is a mistake that a store of this kind really had. They are compiled only
/// with the package trait `Planted`, for `kvsim --plant`; without it `planted` is false and vanishes.
public enum PlantedBug: String, CaseIterable, Sendable {
  /// A write is answered when one owner has it.
  case writeQuorumNotAwaited = "write-quorum-not-awaited"
  /// An owner acknowledges a write before its sync.
  case answeredBeforeSync = "answered-before-sync"
  /// A read answers the join of differing copies without writing it back first.
  case writeBackSkipped = "write-back-skipped"
  /// Digests that differ count as equal when the newest version is the same.
  case digestIgnoresSiblings = "digest-ignores-siblings"
  /// After a crash dots are handed out again from one.
  case dotReused = "dot-reused"
  /// A version's context is not joined when two records are: what one of them replaced comes back.
  case contextNotJoined = "context-not-joined"
  /// A peer's stamp does not advance the clock.
  case clockNotAdvanced = "clock-not-advanced"
  /// Two acknowledgements of one owner count twice.
  case ownerCountedTwice = "owner-counted-twice"
  /// A node that is no owner mints a dot instead of handing the request on.
  case strangerMints = "stranger-mints"
  /// A request is not ended at its deadline.
  case deadlineIgnored = "deadline-ignored"
  /// A retry is written without asking whether it was applied.
  case retryAppliedTwice = "retry-applied-twice"
  /// Owners get the new version with the whole context instead of the full record.
  case deltaSent = "delta-sent"
  /// The epoch does not rise after a crash.
  case epochKept = "epoch-kept"
  /// Reads see what is not synced yet.
  case unsyncedReadable = "unsynced-readable"
  /// An overwrite does not care what its write quorum held.
  case secondRoundSkipped = "second-round-skipped"
  /// A token of another key is accepted.
  case foreignTokenAccepted = "foreign-token-accepted"
  /// A write that failed after its dot was minted is answered `rejected`.
  case rejectedAfterMint = "rejected-after-mint"
  /// What expired is returned.
  case expiredReturned = "expired-returned"
  /// A late reply to an operation that has ended counts for the one that has its slot now.
  case lateReplyCounted = "late-reply-counted"
  /// A node whose data went back in time is taken for the one it was.
  case generationNotChecked = "generation-not-checked"
  /// An owner that is asked in which parts of a tree it differs leaves one out.
  case differenceSkipped = "difference-skipped"
  /// What is urgent with a peer that is away makes comparisons with all others follow each other without a pause.
  case exchangesUnpaced = "exchanges-unpaced"
  /// A node that is suspected says again what it said before, instead of more.
  case incarnationKept = "incarnation-kept"
  /// A member that refutes nothing stays suspect for ever.
  case suspicionKept = "suspicion-kept"
  /// Of two words of a member about itself the older one is kept.
  case lowerIncarnationTaken = "lower-incarnation-taken"
  /// A hint counts as delivered though its target refused the record.
  case hintDroppedOnRefusal = "hint-dropped-on-refusal"
  /// An owner that is silent at a write's deadline gets no hint.
  case silentOwnerForgotten = "silent-owner-forgotten"
  /// A hint carries the record as it was when it was written, rather than pointing to it.
  case hintCarriesOldValue = "hint-carries-old-value"
  /// A node takes clients' values though only its disk's reserve is left.
  case diskReserveIgnored = "disk-reserve-ignored"
  /// The sweep drops a version's checksum with its bytes, so that the record's digest is another one.
  case sweepChangesDigest = "sweep-changes-digest"
  /// The sweep drops what has expired by this node's clock, and does not wait for the others'.
  case sweepTooEarly = "sweep-too-early"
  /// In a join the copy that has its bytes yet wins over the one that was swept.
  case unsweptWins = "unswept-wins"
  /// A receipt says that its write is alone though an owner that acknowledged it held another version.
  case siblingsNotTold = "siblings-not-told"
  /// A copy that is being rebuilt answers reads before it is complete.
  case rebuildServesEarly = "rebuild-serves-early"
  /// A copy that lost something counts as whole after a pull from one other owner, which may have lost the same.
  case rebuiltFromOne = "rebuilt-from-one"
  /// A node mints onto a record that it has lost.
  case quarantinedMints = "quarantined-mints"
  /// The Merkle leaf keeps the digest of a damaged record that was put aside.
  case leafNotRescanned = "leaf-not-rescanned"
  /// A damaged record is put aside, and the note that says so is lost by a crash.
  case rebuildMarkUnsynced = "rebuild-mark-unsynced"
  /// The expiry entry of a record that was put aside stays for ever.
  case staleExpiryKept = "stale-expiry-kept"
  /// A node goes on though a peer holds dots of its own that it has not minted.
  case unmintedIgnored = "unminted-ignored"
  /// A loss is told, and may be accepted, before what the other owners have left was pulled.
  case lossAcceptedEarly = "loss-accepted-early"
}

#if Planted
  /// Which bug is planted; set once, before the first cluster is made.
  public enum Planted {
    nonisolated(unsafe) public static var bug: PlantedBug?
  }

  @inline(__always)
  public func planted(_ bug: PlantedBug) -> Bool { Planted.bug == bug }
#else
  @inline(__always)
  public func planted(_ bug: PlantedBug) -> Bool { false }
#endif
