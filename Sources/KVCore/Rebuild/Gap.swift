import KVModel

/// Something of this node's copy that may lack writes which the node has acknowledged: its data went back in time, or its
/// record was damaged.
///
/// ```
///   damage found ──► noted, with the damaged bytes put aside ──► pulls from each other owner ──► closed ──► gone
///                        open: takes joins, answers nothing, mints nothing          minted under by a new epoch only
/// ```
///
/// An entry (actor, n) of a version vector claims every dot up to n, and a copy that lost a dot would claim it all the
/// same. So what was lost is minted onto again only by another actor: a closed gap stays until there is one.
public struct Gap: Equatable, Sendable {
  public enum Part: Hashable, Comparable, Sendable {
    /// Any key of it.
    case partition(PartitionID)
    case key(Key)

    public static func < (a: Part, b: Part) -> Bool {
      switch (a, b) {
      case (.partition(let a), .partition(let b)): a < b
      case (.key(let a), .key(let b)): a < b
      case (.partition, .key): true
      case (.key, .partition): false
      }
    }
  }

  public var part: Part
  /// Who minted here when it was noted: never again onto this part. Nil when nobody has.
  public var barred: Actor?
  /// Owners whose copies were pulled whole since it was noted, ascending.
  public var pulled: [NodeID] = []
  /// Owners of which what is left was pulled: their copies have a gap there too. Ascending.
  public var partly: [NodeID] = []
  /// Until all owners have been pulled from.
  public var isOpen = true
  /// The leaves do not agree with the data yet.
  public var needsRescan = false
  /// No record was lost, only what follows from them: it is whole as soon as they are scanned.
  public var hasRecords = false

  public init(part: Part, barred: Actor?, needsRescan: Bool = false, hasRecords: Bool = false) {
    self.part = part
    self.barred = barred
    self.needsRescan = needsRescan
    self.hasRecords = hasRecords
  }

  /// Whether no acknowledged write can be missing any more: each other owner was pulled from, and so many of them whole
  /// that no write quorum lies outside of them.
  func isFilled(_ owners: OwnerSet, writeQuorum: Int, at node: NodeID) -> Bool {
    if planted(.rebuiltFromOne) { return owners.nodes.contains { $0 != node && hasGiven($0) } }
    guard hasAllThereIs(owners, at: node) else { return false }
    return owners.groups.allSatisfy { group in
      let whole = owners.nodes(of: group).count { $0 != node && pulled.contains($0) }
      return whole >= min(group.count - 1, max(1, group.count - writeQuorum + 1))
    }
  }
}

extension Gap {
  /// Each other owner was pulled from: what they have left is here too.
  func hasAllThereIs(_ owners: OwnerSet, at node: NodeID) -> Bool {
    let others = owners.nodes.filter { $0 != node }
    return !others.isEmpty && others.allSatisfy(hasGiven)
  }

  /// It has all there is, and that may lack a write that was acknowledged: only who runs the cluster can say that it has to
  /// do.
  func isBeyondQuorum(_ owners: OwnerSet, writeQuorum: Int, at node: NodeID) -> Bool {
    hasAllThereIs(owners, at: node) && !isFilled(owners, writeQuorum: writeQuorum, at: node)
  }
}

/// What is to become of gaps: all of an operation's changes reach the disk together.
public enum GapChange: Equatable, Sendable {
  /// A part may lack something. One that is open already stays as it is.
  case note(Gap.Part)
  /// The part was pulled from an owner, by an exchange that began when it had this sequence. `isWhole`: that owner's copy
  /// has no gap there itself.
  case pulled(Gap.Part, sequence: UInt64, from: NodeID, isWhole: Bool)
  /// All owners were pulled from: reads are answered again.
  case close(Gap.Part, sequence: UInt64)
  /// The node's data went back in time: all that it holds of these partitions may lack something, and no request id is
  /// answered for until then. Noted once for each `life`, however often it is asked.
  case forgotten(life: UInt64, until: WallTime, [PartitionID])
}

/// What a shard knows of its gaps.
public struct GapCensus: Equatable, Sendable {
  public struct Entry: Equatable, Sendable {
    public var gap: Gap
    /// Rises when it is noted again: what was pulled before does not count.
    public var sequence: UInt64
    /// Its note is synced and its leaves agree with the data: it may be pulled.
    public var isReady: Bool
  }

  /// Open ones, by part.
  public var open: [Entry] = []
  /// Closed ones that wait for another actor, ascending, each once.
  public var barred: [Actor] = []
  /// Damaged records that were put aside since the start.
  public var quarantined: UInt64 = 0
  /// Table files that were given up since the start.
  public var filesDropped: UInt64 = 0

  /// Request ids from before the node's data went back in time are not known, until then.
  public var forgetfulUntil = WallTime(milliseconds: 0)

  public init() {}

  /// A clock that has gone back does not make it a day.
  func isForgetful(at wall: WallTime) -> Bool {
    let until = forgetfulUntil.milliseconds
    return wall.milliseconds < until && until - wall.milliseconds <= RequestMemory.spanMs
  }

  public var partitions: Int { open.count { if case .partition = $0.gap.part { true } else { false } } }
  public var keys: Int { open.count - partitions }
}
