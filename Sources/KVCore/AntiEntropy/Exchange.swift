import KVModel

/// The comparison of one partition with one other owner, and the mending of what differs. Begun by either owner; what it
/// finds flows both ways.
///
/// ```
///   root ─► compare: mine ──► differing ─► children ─► … ─► leaves that differ ─► list: keys and digests of both sides
///                                                                                          │
///             done ◄── all mended ◄── Mend: read theirs, join here, send the join back ◄───┘
/// ```
///
/// Nothing is taken for granted: every write in flight shows as a difference and is found equal, or joined, when its key
/// is looked at. An exchange ends complete or not at all; whatever it mended stays mended.
struct Exchange: Sendable {
  let partition: PartitionID
  let peer: NodeID
  /// Gives up when nothing has come by then.
  var deadline: Instant

  /// Nodes yet to be compared, deepest last.
  var frontier: [TreeNode] = [.root]
  /// Asked about: the answer names places in here.
  var comparing: [TreeNode] = []
  /// Leaves that differ.
  var leaves: [UInt32] = []
  var listing: Listing?
  /// Keys that differ.
  var keys: [Key] = []
  var mendsUnderWay = 0
  /// The number of the last question; an answer to an earlier one comes too late.
  var question: UInt32 = 0
  /// Keys that differed so far.
  var found = 0
  /// Marks of the partition for the peer up to here are answered for when it ends complete; nil when there are none.
  var marksUpTo: UInt64?
  /// Bytes that the next record may have, by the last ones: so many records are on their way that they make a megabyte
  /// together, and one when it is larger.
  private(set) var recordBytesExpected = Exchange.recordBytesAtFirst
  /// A key that could not be mended: the exchange goes on, and does not count as complete.
  var hasFailed = false
  /// What it is for when it fills gaps of this node's copy.
  var pull: Pull?

  /// A leaf's keys, page by page, of both sides.
  struct Listing: Sendable {
    let leaf: UInt32
    /// Compared up to here.
    var after: Key?
    var mine: LeafPage?
    var theirs: LeafPage?

    /// The keys that differ in the range that both pages cover, and where the next pages begin; nil after the last.
    func compare() -> (differing: [Key], next: Key?)? {
      guard let mine, let theirs else { return nil }
      // Beyond the end of a page that is not the last one nothing is known.
      let bounds = [mine, theirs].compactMap { $0.isLast ? nil : $0.entries.last?.key }
      let bound = bounds.min()
      func covered(_ page: LeafPage) -> ArraySlice<LeafPage.Entry> {
        guard let bound else { return page.entries[...] }
        return page.entries.prefix { $0.key <= bound }
      }
      var (a, b) = (covered(mine), covered(theirs))
      var differing: [Key] = []
      while let x = a.first, let y = b.first {
        if x.key == y.key {
          // The digest of nothing marks a damaged record, which differs from everything.
          if x.digest != y.digest || x.digest == .zero { differing.append(x.key) }
          a.removeFirst()
          b.removeFirst()
        } else if x.key < y.key {
          differing.append(x.key)
          a.removeFirst()
        } else {
          differing.append(y.key)
          b.removeFirst()
        }
      }
      return (differing + a.map(\.key) + b.map(\.key), bound)
    }
  }

  /// So many nodes are compared with one message.
  static let nodesAtOnce = 64
  /// So many levels of the tree are gone down at once.
  static let levelsAtOnce = 4
  static let patience = Span64.seconds(5)
  /// Bytes of records on their way for one exchange, one record more or less.
  static let mendBytesMax = 1 << 20
  static let recordBytesAtFirst = 256 << 10

  /// A record has been read from the peer, or joined.
  mutating func onRecord(bytes: Int) { recordBytesExpected = max(bytes, recordBytesExpected / 2) }

  /// Keys that may be mended at once, `most` at most.
  func mendsAtOnce(most: Int) -> Int { max(1, min(most, Exchange.mendBytesMax / max(1, recordBytesExpected))) }

  enum Step: Equatable {
    case wait
    case compare([TreeNode])
    case list(leaf: UInt32, after: Key?)
    case mend(Key)
    case done
  }

  /// What is to be done next; called until it waits.
  mutating func next(mendsMax: Int) -> Step {
    if let key = keys.last {
      guard mendsUnderWay < mendsAtOnce(most: mendsMax) else { return .wait }
      keys.removeLast()
      mendsUnderWay += 1
      return .mend(key)
    }
    if !comparing.isEmpty || listing != nil { return .wait }
    if let leaf = leaves.popLast() {
      listing = Listing(leaf: leaf)
      return .list(leaf: leaf, after: nil)
    }
    if let depth = frontier.last?.depth {
      let count = frontier.reversed().prefix { $0.depth == depth }.count
      comparing = frontier.suffix(min(count, Exchange.nodesAtOnce))
      frontier.removeLast(comparing.count)
      return .compare(comparing)
    }
    return mendsUnderWay == 0 ? .done : .wait
  }

  /// The peer's digests of these places of `comparing` are others.
  mutating func onDiffering(_ places: [UInt16], leafBits: Int) {
    let differing = places.compactMap { Int($0) < comparing.count ? comparing[Int($0)] : nil }
    comparing = []
    for node in differing {
      if Int(node.depth) == leafBits {
        leaves.append(node.index)
      } else {
        frontier += node.children(bits: Exchange.levelsAtOnce, leafBits: leafBits)
      }
    }
  }

  /// A page has come; returns where the next ones begin when both of this place are here and more follow.
  mutating func onListed(_ page: LeafPage, isMine: Bool) -> Key? {
    guard listing != nil else { return nil }
    if isMine { listing?.mine = page } else { listing?.theirs = page }
    guard let (differing, next) = listing?.compare(), let leaf = listing?.leaf else { return nil }
    keys += differing
    found += differing.count
    listing = next.map { Listing(leaf: leaf, after: $0) }
    return next
  }
}

/// One key that differs: the peer's record is joined here, and the join sent back.
struct Mend: Sendable {
  let exchange: OperationID
  let key: Key
  let peer: NodeID
  /// As the peer sent it.
  var theirs: EncodedRecord?
  var isSynced = false
  /// The peer has it, or had nothing to get.
  var isAcknowledged = false
}

/// A question about a tree that the storage is answering.
struct TreeQuery: Sendable {
  /// An owner, and what its answer has to name.
  struct Asker: Sendable {
    let node: NodeID
    let envelope: Shard.Envelope
    let question: UInt32
  }

  enum Matter: Sendable {
    /// The asker's digests are held against those here. `untold`: places among them of which nothing can be said here, so
    /// that they count as different.
    case compare([Digest], untold: Set<Int> = [], for: Asker)
    case list(for: Asker)
    case gaps(PartitionID, for: Asker)
    /// The same, when all that was merged here before the question is synced.
    case settling(PartitionID, for: Asker)
    /// Leaves are read again for `kvctl`.
    case rescan(for: ClientRef)
  }

  let matter: Matter
  let deadline: Instant
}
