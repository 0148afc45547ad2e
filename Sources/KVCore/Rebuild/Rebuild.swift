import KVModel

/// What a shard does about its gaps: which partitions it is pulling from whom, how fast, and what it knows to be missing.
///
/// ```
///   census ──► a gap, and an owner that it was not pulled from ──► Pull: an exchange, begun by asking what is missing there
///     ▲                                                              │      and ended by asking again
///     └── all pulled from: closed ◄── noted: pulled from this one ◄──┘
/// ```
///
/// A pull is an exchange as any other: it compares trees, so that what is here already costs nothing. Interrupted, it is
/// begun again for its one partition and owner, and skips what it had got.
struct Rebuild: Sendable {
  /// A partition and an owner to pull it from.
  struct Source: Hashable, Sendable {
    let partition: PartitionID
    let peer: NodeID
  }

  /// As of the last look: a quarter of a second ago at most while there is anything.
  var census = GapCensus() {
    didSet { lacking = Set(census.open.compactMap { $0.gap.partition }) }
  }
  /// Partitions of which anything may be missing: pulled, at a pace of their own, and compared with nobody meanwhile.
  private(set) var lacking: Set<PartitionID> = []
  /// There may be more than the census says.
  var isStale = true
  /// When a pull that failed, or that found gaps there too, is tried again.
  var notBefore: [Source: Instant] = [:]
  /// Owners that pull from here: they are answered though this copy may lack something.
  var pullers: [NodeID: Instant] = [:]
  /// What was pulled is through by then, at the pace that is set.
  var freeAt = Instant(nanoseconds: 0)
  var isPaceTimerSet = false
  /// Where the walk for cold damage is.
  var scrubbedUpTo: Key?
  /// When its round began.
  var scrubBeganAt = Instant(nanoseconds: 0)
  /// The epoch for which another one was asked.
  var askedAfter: UInt32?
  /// Since when there have been open gaps, and what was pulled since.
  var since: Instant?
  var bytes: UInt64 = 0
  var records: UInt64 = 0

  /// Before a pull is tried again.
  static let pause = Span64.seconds(1)
  /// A puller that has not asked for so long has gone.
  static let pullerSpan = Span64.seconds(30)

  /// Gaps of a partition that may be pulled, with the sequence that they have.
  func ready(in partition: PartitionID, bits: Int) -> [GapCensus.Entry] {
    census.open.filter { $0.isReady && $0.gap.partition(bits: bits) == partition }
  }
}

extension Gap {
  /// The partition that it is a gap of, when that is not a single key.
  var partition: PartitionID? { if case .partition(let partition) = part { partition } else { nil } }

  func partition(bits: Int) -> PartitionID {
    switch part {
    case .partition(let partition): partition
    case .key(let key): key.token.partition(bits: bits)
    }
  }

  func hasGiven(_ node: NodeID) -> Bool { pulled.contains(node) || partly.contains(node) }
}

extension GapCensus {
  /// What an owner that pulls a partition is told.
  func gaps(of partition: PartitionID, bits: Int) -> PartitionGaps {
    let here = open.filter { $0.gap.partition(bits: bits) == partition }
    let keys = here.compactMap { entry -> Key? in if case .key(let key) = entry.gap.part { key } else { nil } }
    let isWhole = keys.count < here.count || keys.count > TreeMessage.keysMax
    return PartitionGaps(isWhole: isWhole, keys: isWhole ? [] : keys)
  }
}

/// What an exchange is for that pulls into gaps.
struct Pull: Sendable {
  enum Phase: Equatable, Sendable {
    case askingBefore
    case comparing
    case askingAfter
  }

  /// As they were when it began.
  let gaps: [GapCensus.Entry]
  var phase = Phase.askingBefore
  /// What is missing at the peer, from the beginning to the end of it.
  var missing = PartitionGaps(isWhole: false, keys: [])

  /// What follows for the gaps. What the peer has lost of a partition is no reason to do without the rest of it: those keys
  /// become gaps of their own.
  func changes(from peer: NodeID) -> [GapChange] {
    var changes: [GapChange] = []
    for entry in gaps {
      var isWhole = !missing.isWhole
      switch entry.gap.part {
      case .key(let key): isWhole = isWhole && !missing.keys.contains(key)
      case .partition: if isWhole { changes += missing.keys.map { .note(.key($0)) } }
      }
      changes.append(.pulled(entry.gap.part, sequence: entry.sequence, from: peer, isWhole: isWhole))
    }
    return changes
  }
}
