import KVModel

/// Names an operation of a shard on its storage; the results carry it back. Chosen by the shard, opaque to the store.
public struct StorageID: Hashable, Sendable {
  public var raw: UInt64

  @inlinable
  public init(raw: UInt64) { self.raw = raw }
}

/// What a shard asks of its storage: the seam that RocksDB, the in-memory store and the simulated disk all implement
/// and that one contract suite holds to its promises.
///
/// 1. Operations on one key take effect in the order in which they were asked.
/// 2. `merge` is the only way in which a record changes, and every store calls the same pure `Merge.apply`.
/// 3. Only synced state is visible to `read` and `findRequest`. Joins that are not yet synced are seen by later merges
///    of the same key alone.
/// 4. `merge` answers twice: `.merged` when the join is known (it may be sent on), `.synced` when it would survive a
///    power cut (it may be acknowledged). A merge that changes nothing is `.synced` when what it joined onto is.
/// 5. A record, its Merkle leaf, its expiry entries, the hints that go with it and the request ids that it forgets change
///    together or not at all.
/// 6. After `.failed` nothing more is answered: the node stops.
/// 7. Whatever touches a damaged record puts it aside: in one batch the record goes, its bytes are kept elsewhere, its leaf
///    follows, and a `Gap` is noted. Of an open gap nothing is told as if it were whole: reads are `.incomplete`, mints and
///    `findRequest` `.unreadable`; joins are taken, and are contested.
public enum StorageOperation: Equatable, Sendable {
  /// The synced record of a key. Answer: `.record`, `.incomplete` or `.unreadable`.
  case read(Key)
  /// Answers: `.merged` and later `.synced`; or `.refused`, or `.unreadable`, and nothing changed. `hints`: owners that
  /// are known to miss it, each noted in the same batch, also when the merge changes nothing.
  case merge(Key, Change, hints: [NodeID] = [])
  /// Makes a range of dot counters and a bound of stamps this shard's own. Answer: `.leased` once synced.
  case extendLease(Lease)
  /// Whether a write with this request id was applied to the key: its version is in the record, or was replaced less
  /// than `RequestMemory.span` ago. Answer: `.request`, or `.unreadable`.
  case findRequest(RequestID, Key)
  /// The digests of nodes of a partition's Merkle tree, over what is synced. Answer: `.digests`, at once.
  case digests(PartitionID, [TreeNode])
  /// The digests of the roots of these partitions' trees, in this order. Answer: `.digests`, at once.
  case roots([PartitionID])
  /// Synced keys of a leaf with the digests of their records, in order, after a key. A damaged record has the digest of
  /// nothing. Answer: `.listed`.
  case listLeaf(LeafPlace, after: Key?, limit: Int)
  /// Notes that these owners may have missed something of a key. Answer: `.synced`.
  case hint(Key, [NodeID])
  /// Synced hints for a target in ring order, from a token on and after a key. Answer: `.hints`, or `.unreadable`.
  case listHints(NodeID, from: Token, after: Key?, limit: Int)
  /// Forgets hints, but for those noted after `upTo`, the sequence of a page. Answer: `.synced`.
  case forgetHints(NodeID, [Key], upTo: UInt64)
  /// The same for a partition's marks; `upTo` is the sequence of a census. Answer: `.synced`.
  case forgetMarks(NodeID, PartitionID, upTo: UInt64)
  /// Answer: `.census`, at once.
  case countHints
  /// Digests of the synced records of keys; of nothing where there is none or it is damaged. Answer: `.digests`.
  case keyDigests([Key])
  /// Synced expiry entries that are due at `upTo`, in order, after an entry. Answer: `.expired`, or `.unreadable`.
  case listExpired(upTo: WallTime, after: ExpiryEntry?, limit: Int)
  /// Reads leaves of a partition again, from one on until so many bytes are read or the partition ends, and compares
  /// them with the tree, both as they are synced at one moment. No byte: the root alone. Answer: `.rescanned`, or
  /// `.unreadable`.
  case rescan(PartitionID, from: UInt32, bytesMax: Int)
  /// Answer: `.gaps`, at once.
  case listGaps
  /// Answer: `.synced`.
  case changeGaps([GapChange])
  /// Reads records in ring order, after a key, to find those that are damaged: about so many bytes. Answer: `.scrubbed`.
  case scrub(after: Key?, bytes: Int)

  /// The key whose operations keep their order; nil for what belongs to the shard.
  public var key: Key? {
    switch self {
    case .read(let key), .merge(let key, _, _), .findRequest(_, let key): key
    case .extendLease, .digests, .roots, .listLeaf, .hint, .listHints, .forgetHints, .forgetMarks, .countHints,
      .keyDigests, .listExpired, .rescan, .listGaps, .changeGaps, .scrub:
      nil
    }
  }
}

/// What a merge brings.
public enum Change: Equatable, Sendable {
  /// Another replica's state. In its stored form too: as a rule it replaces what is here, as it came.
  case join(StoredRecord)
  /// A new version, minted here.
  case mint(Mint)
  /// The bytes of what expired by then are dropped; dot, stamp, expiry and checksum stay. So is the expiry entry by which
  /// it came, of this time, when the record has no such bytes.
  case sweep(WallTime, entry: WallTime)

  public static func join(_ record: Record) -> Change { .join(StoredRecord(record)) }
}

/// A key that holds a version with an expiry whose bytes are still there.
public struct ExpiryEntry: Hashable, Comparable, Sendable {
  public var at: WallTime
  public var key: Key

  public init(at: WallTime, key: Key) {
    self.at = at
    self.key = key
  }

  public static func < (a: ExpiryEntry, b: ExpiryEntry) -> Bool { a.at == b.at ? a.key < b.key : a.at < b.at }
}

/// Some entries that are due, ascending.
public struct ExpiredPage: Equatable, Sendable {
  public var entries: [ExpiryEntry]
  /// Nothing that is due follows these.
  public var isLast: Bool

  public init(entries: [ExpiryEntry], isLast: Bool) {
    self.entries = entries
    self.isLast = isLast
  }
}

/// A version about to be minted. What it supersedes and its stamp follow from the record that it meets.
public struct Mint: Equatable, Sendable {
  public enum Basis: Equatable, Sendable {
    /// Supersede all that this replica holds.
    case overwrite
    /// The second round of an overwrite: supersede what the first one covered and what other owners reported beside
    /// it, and nothing that came since. Refused when `first` is no longer here: somebody has replaced it, who did not
    /// see what it has yet to replace, and what has been written since then must not go either.
    indirect case again(first: Dot, covered: VersionVector, beside: Beside)
    /// Supersede exactly what was read.
    case context(VersionVector)
  }

  public var dot: Dot
  public var basis: Basis
  /// The stamp, unless a version that is superseded has a later one.
  public var stamp: Stamp
  /// No stamp is minted above this, whatever is superseded: one bad clock must not drag the others along.
  public var stampCeiling: Stamp
  public var requestID: RequestID
  public var expiry: WallTime?
  public var checksum: UInt64
  public var content: Version.Content

  public init(
    dot: Dot, basis: Basis, stamp: Stamp, stampCeiling: Stamp, requestID: RequestID, expiry: WallTime?,
    checksum: UInt64, content: Version.Content
  ) {
    self.dot = dot
    self.basis = basis
    self.stamp = stamp
    self.stampCeiling = stampCeiling
    self.requestID = requestID
    self.expiry = expiry
    self.checksum = checksum
    self.content = content
  }
}

/// The upper ends of what a shard may hand out without syncing again. Everything up to them counts as handed out after
/// a restart.
public struct Lease: Hashable, Sendable {
  /// The actor whose counters these are.
  public var actor: Actor
  /// Highest sequence (a dot's counter without its shard bits).
  public var sequence: UInt64
  /// Highest stamp.
  public var stamp: Stamp

  public init(actor: Actor, sequence: UInt64, stamp: Stamp) {
    self.actor = actor
    self.sequence = sequence
    self.stamp = stamp
  }
}

/// A store's answer.
public enum StorageResult: Equatable, Sendable {
  /// The record; `.empty` when the key was never written.
  case record(EncodedRecord)
  /// What is held of the key may lack something: see `Gap`.
  case incomplete(EncodedRecord)
  /// The stored record is damaged, or the disk does not give it back. It is never served and never joined onto.
  case unreadable
  case merged(Merged)
  case synced
  /// The merge was not carried out.
  case refused(Failure)
  case leased
  case request(seen: Bool)
  case digests([Digest])
  case listed(LeafPage)
  case hints(HintPage)
  case census(HintCensus)
  case expired(ExpiredPage)
  case rescanned(Rescan)
  case gaps(GapCensus)
  case scrubbed(ScrubPage)
  /// The log, a sync or the disk failed: the node stops and nothing is acknowledged any more.
  case failed(StorageFault)
}

/// How far a `scrub` has come.
public struct ScrubPage: Equatable, Sendable {
  /// The last key that was read; nil at the end of the ring.
  public var last: Key?
  /// What was read, keys and records.
  public var bytes: Int

  public init(last: Key?, bytes: Int) {
    self.last = last
    self.bytes = bytes
  }
}

/// The outcome of a merge.
public struct Merged: Equatable, Sendable {
  /// The join, to be sent on. It is not durable yet.
  public var record: EncodedRecord
  /// For a join: what this replica holds and the incoming record does not cover. For a mint: set when other versions
  /// lie beside the new one.
  public var beside: Beside?
  /// For a join: a version that it brings is replaced here already, or this copy may lack something that it would have
  /// to name. See `ReplicaWriteReply.contested`.
  public var isContested: Bool
  /// For a mint: the version as it was minted.
  public var minted: Version?
  /// The causal history of the join.
  public var context: VersionVector
  /// Of a mint: the history that its author may be taken to have seen, itself included; nil when it cannot be told from
  /// versions beside it.
  public var covered: VersionVector?
  /// Of a sweep: what was dropped.
  public var swept: Swept

  public struct Swept: Equatable, Sendable {
    public var versions: Int
    public var bytes: Int

    public static let nothing = Swept(versions: 0, bytes: 0)

    public init(versions: Int, bytes: Int) {
      self.versions = versions
      self.bytes = bytes
    }
  }

  public init(
    record: EncodedRecord, beside: Beside?, minted: Version?, context: VersionVector, covered: VersionVector? = nil,
    isContested: Bool = false, swept: Swept = .nothing
  ) {
    self.record = record
    self.beside = beside
    self.minted = minted
    self.context = context
    self.covered = covered
    self.isContested = isContested
    self.swept = swept
  }
}

/// Why a disk cannot go on. The node names the file and what to do, and exits.
public struct StorageFault: Error, Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    case diskFull
    case ioError
    case corruption
    case other
  }

  public var kind: Kind
  /// The file or directory concerned.
  public var path: String
  public var detail: String

  public init(_ kind: Kind, path: String, detail: String) {
    self.kind = kind
    self.path = path
    self.detail = detail
  }
}
