import KVModel

/// The one way in which a record changes. Pure: every store calls it, so no two of them can differ in it.
public enum Merge {
  /// A merge carried out.
  public struct Outcome: Equatable, Sendable {
    public var record: Record
    /// False when the record is what it was: there is nothing to write.
    public var changed: Bool
    public var beside: Beside?
    public var minted: Version?
    /// Of a mint: the history that its author may be taken to have seen.
    public var covered: VersionVector?
    public var isContested = false
    public var swept = Merged.Swept.nothing
  }

  /// What is left to a store once the answer of a merge is known.
  public enum Step: Sendable {
    /// To be written, and then answered `.synced`.
    case changed(StoredRecord)
    /// Nothing to write: `.synced` as soon as what it joined onto is.
    case unchanged
    case refused
  }

  /// Applies `change` and answers what is known at once, `.merged` or `.refused`: what all stores have in common.
  ///
  /// `hasGap`: the copy may lack something, so that nobody can say what lies beside the change.
  public static func step(
    _ change: Change, onto current: Record, hasGap: Bool, id: StorageID, results: inout [StorageCompletion]
  ) -> Step {
    switch apply(change, to: current) {
    case .failure(let failure):
      results.append(StorageCompletion(id: id, result: .refused(failure)))
      return .refused
    case .success(var outcome):
      if hasGap { (outcome.isContested, outcome.beside) = (true, nil) }
      let stored = change.stored(outcome.record)
      results.append(StorageCompletion(id: id, result: .merged(Merged(outcome, encoded: stored.encoded))))
      return outcome.changed ? .changed(stored) : .unchanged
    }
  }

  /// Applies `change` to the state `current` of its key, unsynced joins included.
  public static func apply(_ change: Change, to current: Record) -> Result<Outcome, Failure> {
    switch change {
    case .join(let incoming): join(incoming.record, into: current)
    case .mint(let mint): self.mint(mint, onto: current)
    case .sweep(let wall, entry: _): .success(sweep(current, at: wall))
    }
  }

  /// The record without the bytes of what expired by `wall`. Its digest stays what it was, so that owners which sweep at
  /// different times agree all the while (HAZARDS.md row 15).
  private static func sweep(_ current: Record, at wall: WallTime) -> Outcome {
    var record = current
    record.sweep(at: wall)
    let versions = zip(record.versions, current.versions).count { $0.content != $1.content }
    if planted(.sweepChangesDigest) { record = record.withoutSweptChecksums }
    var outcome = Outcome(record: record, changed: versions > 0, beside: nil, minted: nil)
    outcome.swept = Merged.Swept(versions: versions, bytes: current.valueBytes - record.valueBytes)
    return outcome
  }

  private static func join(_ incoming: Record, into current: Record) -> Result<Outcome, Failure> {
    var record = current.joined(incoming)
    if planted(.unsweptWins) { record = record.unswept(by: [current, incoming]) }
    if planted(.contextNotJoined) { record = Record(context: current.context, versions: record.versions) }
    if let failure = storable(record) { return .failure(failure) }
    var outcome = Outcome(record: record, changed: record != current, beside: nil, minted: nil)
    let isLive = incoming.versions.allSatisfy { version in record.versions.contains { $0.dot == version.dot } }
    if isLive {
      // None of what lies beside it can have seen it, or it would have been replaced.
      outcome.beside = incoming.beside(in: record)
    } else {
      // What replaced it may have replaced more, which it has not, and which is still elsewhere.
      outcome.isContested = true
    }
    return .success(outcome)
  }

  private static func mint(_ mint: Mint, onto current: Record) -> Result<Outcome, Failure> {
    if case .again(let first, _, _) = mint.basis, !current.versions.contains(where: { $0.dot == first }) {
      return .failure(
        Failure(.unavailable, .unknown, detail: "others replaced it before it had replaced all that its quorum held"))
    }
    let superseded = mint.superseded(of: current)
    guard !current.context.covers(mint.dot), !superseded.covers(mint.dot) else {
      return .failure(Failure(.invalidContext, detail: "the context claims versions that were never written"))
    }
    var version = Version(
      dot: mint.dot, stamp: mint.stamp, expiry: mint.expiry, requestID: mint.requestID, checksum: mint.checksum,
      content: mint.content)
    version.stamp = max(mint.stamp, min(mint.highestSuperseded(of: current, superseded).next, mint.stampCeiling))
    var record = current
    record.add(version, superseding: superseded)
    if let failure = storable(record) ?? admit(record, after: current) { return .failure(failure) }
    let covered = seen(by: version.dot, superseding: superseded, in: record)
    let beside = record.versions.count > 1 ? Beside(history: record.context, stamp: record.highestStamp) : nil
    return .success(Outcome(record: record, changed: true, beside: beside, minted: version, covered: covered))
  }

  /// What the author of a version has seen: what it replaced, and itself. An entry claims every dot up to its counter;
  /// when one that lies beside it would be claimed too, there is no vector that says it: whoever wrote with it would
  /// replace a version that he never saw.
  private static func seen(by dot: Dot, superseding: VersionVector, in record: Record) -> VersionVector? {
    var seen = superseding
    seen.add(dot)
    return record.versions.contains { $0.dot != dot && seen.covers($0.dot) } ? nil : seen
  }

  /// Refuses a write that would add a sibling to a key that has as many as are allowed. One that leaves fewer is
  /// welcome, however many are left.
  private static func admit(_ record: Record, after current: Record) -> Failure? {
    let grew = record.versions.count > current.versions.count
    guard grew, record.versions.count > Limits.siblingsMax || record.valueBytes > Limits.siblingBytesMax else {
      return nil
    }
    return Failure(
      .tooManySiblings,
      detail: "the key has \(current.versions.count) concurrent versions; read it and write with its context")
  }

  /// What is stored can be read again: a record beyond the format's bounds is refused, whoever brings it.
  private static func storable(_ record: Record) -> Failure? {
    if record.context.entries.count > Limits.contextEntriesMax {
      return Failure(.tooManySiblings, detail: "the key's context has \(record.context.entries.count) actors")
    }
    if record.versions.count > Limits.versionsMax || record.valueBytes > Limits.recordBytesMax - (1 << 20) {
      return Failure(.tooManySiblings, detail: "the key has \(record.versions.count) concurrent versions")
    }
    return nil
  }
}

extension Change {
  /// What came of this change, in its stored form too. A join mostly ends as what came in: then that is kept, and not
  /// encoded again.
  fileprivate func stored(_ record: Record) -> StoredRecord {
    if case .join(let incoming) = self, incoming.record == record { return incoming }
    return StoredRecord(record)
  }
}

extension Change {
  /// The time of the expiry entry by which a sweep came, when a record that it does not change has no such bytes: the
  /// entry is of a record that was put aside, or lost.
  public func staleExpiry(of record: Record) -> WallTime? {
    guard case .sweep(_, let at) = self, !planted(.staleExpiryKept) else { return nil }
    return RecordDelta.expiries(of: record).contains(at) ? nil : at
  }
}

extension Merged {
  fileprivate init(_ outcome: Merge.Outcome, encoded: EncodedRecord) {
    self.init(
      record: encoded, beside: outcome.beside, minted: outcome.minted, context: outcome.record.context,
      covered: outcome.covered, isContested: outcome.isContested, swept: outcome.swept)
  }
}

// What planted bugs do to records.
extension Record {
  fileprivate var withoutSweptChecksums: Record {
    Record(
      context: context,
      versions: versions.map { version in
        var version = version
        if version.content == .swept { version.checksum = 0 }
        return version
      })
  }

  fileprivate func unswept(by sides: [Record]) -> Record {
    Record(
      context: context,
      versions: versions.map { version in
        let copies = sides.flatMap(\.versions).filter { $0.dot == version.dot }
        return copies.first { $0.content != .swept } ?? version
      })
  }
}

extension Mint {
  /// The history that the new version replaces.
  func superseded(of current: Record) -> VersionVector {
    switch basis {
    case .overwrite: current.context
    case .again(_, let covered, let beside): covered.joined(beside.history)
    case .context(let vector): vector
    }
  }

  func highestSuperseded(of current: Record, _ superseded: VersionVector) -> Stamp {
    let local = current.versions.reduce(Stamp.zero) { superseded.covers($1.dot) ? max($0, $1.stamp) : $0 }
    guard case .again(_, _, let beside) = basis else { return local }
    return max(local, beside.stamp)
  }
}

/// What a change of a record means for what is kept beside it: computed here, written by the store in the same batch.
public struct RecordDelta: Equatable, Sendable {
  /// XOR of the digests before and after, for the key's Merkle leaf.
  public var leaf: Digest
  /// Expiry entries to add and to drop.
  public var expiriesAdded: [WallTime]
  public var expiriesDropped: [WallTime]
  /// Request ids of replaced versions that a retry may still name.
  public var requestsReplaced: [RequestMemory.Entry]

  /// `seed` keys the digests: the cluster's id.
  public init(of key: Key, from old: Record, to new: Record, seed: UInt64) {
    leaf = old.digest(of: key, seed: seed)
    leaf.combine(new.digest(of: key, seed: seed))
    let before = RecordDelta.expiries(of: old)
    let after = RecordDelta.expiries(of: new)
    expiriesAdded = after.filter { !before.contains($0) }
    expiriesDropped = before.filter { !after.contains($0) }
    requestsReplaced = RequestMemory.replaced(from: old, to: new)
  }

  /// Distinct expiries of versions whose bytes are still to be dropped, ascending.
  public static func expiries(of record: Record) -> [WallTime] {
    var result: [WallTime] = []
    for version in record.versions {
      guard let expiry = version.expiry, case .value = version.content, !result.contains(expiry) else { continue }
      result.append(expiry)
    }
    return result.sorted()
  }
}

/// How long an applied request is remembered, so that its retry is applied once.
///
/// A version carries its request id as long as it lives. When it is replaced, the id is kept in the store for the span in
/// which a retry may still come. Always, though most versions that are replaced are old: a stamp does not tell, when one
/// clock was wrong by an hour. An owner that only ever sees the successor does not learn of it, and need not: a retry
/// asks every owner, so the coordinator of the first attempt too.
public enum RequestMemory {
  public struct Entry: Hashable, Comparable, Sendable {
    public var id: RequestID
    /// May be forgotten from here on.
    public var until: WallTime

    public init(id: RequestID, until: WallTime) {
      self.id = id
      self.until = until
    }

    public static func < (a: Entry, b: Entry) -> Bool { a.id == b.id ? a.until < b.until : a.id < b.id }
  }

  /// Milliseconds for which a retry may follow its first attempt.
  public static let spanMs: UInt64 = 60_000

  /// Ids are kept, and forgotten, by the minute of their `until`: one range a minute. An id that is replaced twice, as
  /// after the second round of an overwrite, stands in two minutes, and is remembered until the later one is over.
  public static func minute(of until: WallTime) -> UInt64 { until.milliseconds / 60_000 }

  static func replaced(from old: Record, to new: Record) -> [Entry] {
    var entries: [Entry] = []
    for version in old.versions where !new.versions.contains(where: { $0.dot == version.dot }) {
      let until = max(version.stamp, new.highestStamp).wall.milliseconds &+ spanMs
      entries.append(Entry(id: version.requestID, until: WallTime(milliseconds: until)))
    }
    return entries
  }
}
