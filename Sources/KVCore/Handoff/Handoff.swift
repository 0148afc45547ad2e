import KVModel

/// What a shard knows of its own hints and of the owners that they are for.
///
/// ```
///   write ──► target away ──────────────► hint, in the record's own batch
///         └─► target silent, refuses ───► hint, in a batch of its own, at the deadline
///
///   census (4 times a second while there are any) ──► target near? ──► Delivery
///                                                └──► leaves marked? ─► Exchange, urgent
/// ```
///
/// A hint says no more than that this copy may be ahead, so losing count of one costs a comparison, never a value.
struct Handoff: Sendable {
  struct Peer: Sendable {
    let node: NodeID
    /// Since when there has been something for it, in this start.
    var waitingSince: Instant?
    /// The next delivery begins no earlier: the last one got nowhere.
    var notBefore = Instant(nanoseconds: 0)
    /// Hints pass between the two, or are about to: exchanges would find the same differences.
    var passesUntil = Instant(nanoseconds: 0)
    /// Its marked partitions are urgent again from here on.
    var marksAt = Instant(nanoseconds: 0)
  }

  /// After a link is up so long is left to hints, before owners compare their copies.
  static let headStart = Span64.seconds(1)
  /// After a delivery that got nowhere.
  static let pause = Span64.seconds(1)

  private(set) var census = HintCensus()
  /// Something may have been noted since the census, or by an earlier start.
  var isStale = true
  /// Ascending by node.
  private var peers: [Peer] = []

  subscript(node: NodeID) -> Peer {
    get { peers.first { $0.node == node } ?? Peer(node: node) }
    set {
      let index = peers.firstIndex { $0.node >= node } ?? peers.count
      if index < peers.count, peers[index].node == node {
        peers[index] = newValue
      } else {
        peers.insert(newValue, at: index)
      }
    }
  }

  mutating func onCensus(_ census: HintCensus, at now: Instant) {
    self.census = census
    isStale = false
    for index in peers.indices where !census.targets.contains(where: { $0.node == peers[index].node }) {
      peers[index].waitingSince = nil
    }
    for target in census.targets where self[target.node].waitingSince == nil { self[target.node].waitingSince = now }
  }

  func isPassing(with node: NodeID, at now: Instant) -> Bool { self[node].passesUntil > now }

  mutating func onPassing(with node: NodeID, at now: Instant) {
    self[node].passesUntil = now.advanced(by: Handoff.headStart)
  }
}

/// What is handed to one target: hint by hint in ring order, a page at a time, as fast as the target allows.
///
/// ```
///   list a page ─► offer keys and digests, by partition ─► wanted ─► read, send, joined and synced there ─┐
///       ▲                                             └─► equal there already ──────────────────────────┤
///       └───── pause, as the target says ◄──── forget what it has ◄─────────────────────────────────────┘
/// ```
///
/// Begins at another place of the ring in each holder, so that two which hold the same hints meet in the middle: what one
/// has handed over the other only has to offer.
struct Delivery: Sendable {
  enum Phase: Equatable, Sendable {
    case listing
    /// Offers and records are under way.
    case passing
    case forgetting
    case pausing
  }

  struct Offer: Sendable {
    let question: UInt32
    let entries: [HintOffer.Entry]
  }

  let target: NodeID
  /// Where on the ring it began.
  let begin: Token
  /// Gives up when nothing has come by then.
  var deadline: Instant
  var phase = Phase.listing
  /// Gone round to the ring's beginning.
  var hasWrapped = false
  var after: Key?
  var credit = Delivery.firstCredit
  var resumeAt: Instant

  // The page.
  var sequence: UInt64 = 0
  var isLastPage = false
  var offers: [Offer] = []
  /// To be sent.
  var wanted: [HintOffer.Entry] = []
  var transfers = 0
  var bytesUnderWay = 0
  /// The target has them.
  var done: [Key] = []

  /// Hints that were delivered.
  var delivered = 0
  /// Keys that the target refused, or that are damaged here.
  var failed = 0

  static let patience = Span64.seconds(5)
  /// Before the target has said what it can take.
  static let firstCredit = HintCredit(keys: 16, bytes: 256 << 10, pauseMs: 0)

  /// Whether one more record may be sent.
  var maySend: Bool {
    guard let next = wanted.last else { return false }
    if transfers == 0 { return true }
    return transfers < max(1, Int(credit.keys) / 2) && bytesUnderWay + Int(next.bytes) <= Int(credit.bytes)
  }

  var isPagePassed: Bool { offers.isEmpty && wanted.isEmpty && transfers == 0 }
}

/// One record on its way to the node that missed it.
struct Transfer: Sendable {
  let delivery: OperationID
  let key: Key
  let bytes: Int
}

/// An offer of hints whose keys the storage is looking at.
struct OfferQuery: Sendable {
  let asker: NodeID
  let envelope: Shard.Envelope
  let question: UInt32
  let entries: [HintOffer.Entry]
}
