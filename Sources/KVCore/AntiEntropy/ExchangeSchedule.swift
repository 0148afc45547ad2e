import KVModel

/// Which partition is compared with which other owner next. Every pair once a round, one an interval in the mean; urgent
/// ones first of all, one after the other: those of a peer whose link has come up, since it may have missed writes; those
/// whose hints became marks; those that differ; those that an operator asked for.
///
/// ```
///   a peer's pairs, up to 64 at once ──► Survey: their roots in one message ──► equal: compared
///                                                                          └──► differs: urgent, for an exchange of its own
/// ```
struct ExchangeSchedule: Sendable {
  /// What is to be done next.
  enum Turn: Equatable, Sendable {
    case exchange(PartitionID, NodeID)
    case survey([PartitionID], NodeID, isUrgent: Bool)
  }

  struct Pair: Sendable {
    let partition: PartitionID
    let peer: NodeID
    /// When an exchange last ended well.
    var completedAt: Instant?
    var isUrgent = false
    var isRunning = false
    /// An exchange of its own is next: a survey found it different, or it has marks.
    var isAlone = false
    /// The last round in which it had its turn.
    var round: UInt32 = 0
    /// Urgent, but not before this.
    var notBefore = Instant(nanoseconds: 0)
    var startedAt = Instant(nanoseconds: 0)
    /// When it was asked for; nil once an exchange that began later has ended well.
    var askedAt: Instant?
    /// Exchanges in a row that ended incomplete.
    var failures: UInt64 = 0
  }

  /// What is kept of a peer, and its urgent pairs, first come first served.
  private struct Peer: Sendable {
    let node: NodeID
    var waiting: [Int] = []
    var head = 0
    var mended: UInt64 = 0
    var failed: UInt64 = 0

    var waitingCount: Int { waiting.count - head }

    mutating func take() -> Int? {
      guard head < waiting.count else { return nil }
      head += 1
      defer {
        if head == waiting.count {
          waiting.removeAll(keepingCapacity: true)
          head = 0
        } else if head >= 1_024 {
          waiting.removeFirst(head)
          head = 0
        }
      }
      return waiting[head - 1]
    }
  }

  /// The pairs of a partition are neighbours.
  private(set) var pairs: [Pair] = []
  /// Where they begin, by partition; -1 for one of which there is no copy here.
  private var begins: [Int] = []
  /// Ascending by node.
  private var peers: [Peer] = []
  /// The next peer whose urgent pairs have their turn.
  private var turn = 0
  private var place = 0
  /// Each pair has one turn in it.
  private var round: UInt32 = 1
  /// No pair has its turn before this.
  private var restsUntil = Instant(nanoseconds: 0)
  /// Pairs that are compared by one message.
  private var surveyMax = 1

  /// How long a pair that broke off with differences left waits: doubled with each time in a row, up to two minutes.
  static let retryAfter = Span64.seconds(1)
  private static let doublingsMax: UInt64 = 7

  /// The pairs of a node's first layout; a later one is not taken up yet.
  mutating func adopt(_ view: ClusterView, _ identity: ShardIdentity) {
    guard let settings = view.current?.layout.settings else { return }
    begins = Array(repeating: -1, count: settings.partitions)
    for partition in view.partitions(of: identity) {
      begins[Int(partition.index)] = pairs.count
      let owners = view.owners(of: partition).nodes
      for peer in owners where peer != identity.node { pairs.append(Pair(partition: partition, peer: peer)) }
    }
    peers = Set(pairs.map(\.peer)).sorted().map { Peer(node: $0) }
    surveyMax = Survey.pairsMax(leafBits: settings.leafBits)
  }

  /// Where the round begins: not everywhere at the same place.
  mutating func begin(at random: UInt64) { place = pairs.isEmpty ? 0 : Int(random % UInt64(pairs.count)) }

  var hasUrgent: Bool { peers.contains { $0.waitingCount > 0 } }

  // MARK: Places

  private func places(of partition: PartitionID) -> Range<Int> {
    guard Int(partition.index) < begins.count, begins[Int(partition.index)] >= 0 else { return 0..<0 }
    let begin = begins[Int(partition.index)]
    var end = begin
    while end < pairs.count, pairs[end].partition == partition { end += 1 }
    return begin..<end
  }

  private func place(of partition: PartitionID, _ peer: NodeID) -> Int? {
    places(of: partition).first { pairs[$0].peer == peer }
  }

  private func index(of node: NodeID) -> Int? {
    var (low, high) = (0, peers.count)
    while low < high {
      let middle = (low + high) / 2
      if peers[middle].node < node { low = middle + 1 } else { high = middle }
    }
    return low < peers.count && peers[low].node == node ? low : nil
  }

  private mutating func makeUrgent(_ place: Int) {
    guard !pairs[place].isUrgent, let peer = index(of: pairs[place].peer) else { return }
    pairs[place].isUrgent = true
    peers[peer].waiting.append(place)
  }

  // MARK: What makes pairs urgent

  mutating func onLinkUp(_ peer: NodeID) {
    for place in pairs.indices where pairs[place].peer == peer {
      pairs[place].notBefore = Instant(nanoseconds: 0)
      makeUrgent(place)
    }
  }

  /// Hints of this pair became marks of leaves.
  mutating func onMarked(_ partition: PartitionID, _ peer: NodeID) {
    guard let place = place(of: partition, peer), !pairs[place].isRunning else { return }
    pairs[place].isAlone = true
    makeUrgent(place)
  }

  /// An operator wants a partition compared; how many exchanges that takes.
  mutating func onAsked(_ partition: PartitionID, at now: Instant) -> Int {
    let places = places(of: partition)
    for place in places {
      pairs[place].askedAt = now
      pairs[place].notBefore = Instant(nanoseconds: 0)
      if !pairs[place].isRunning { makeUrgent(place) }
    }
    return places.count
  }

  // MARK: The next one

  /// What comes next with a peer that can be asked; what is urgent while there is any. What is urgent with a peer that is
  /// away waits, and must not make others hurry: `onlyUrgent` is for what follows without a pause. `pace`: between pairs
  /// that have their turn, in the mean. `lacking`: partitions that are not whole here, whose pairs wait until they are.
  mutating func next(
    at now: Instant, onlyUrgent: Bool = false, pace: Span64 = .zero, butNot lacking: Set<PartitionID> = [],
    where canAsk: (NodeID) -> Bool
  ) -> Turn? {
    let hurries = planted(.exchangesUnpaced) && hasUrgent
    var places = nextUrgent(at: now, butNot: lacking, canAsk)
    let isUrgent = !places.isEmpty
    if places.isEmpty, hurries || !onlyUrgent && restsUntil <= now {
      places = nextInTurn(butNot: lacking, canAsk)
      if places.count > 1 {
        restsUntil = now.advanced(by: Span64(nanoseconds: pace.nanoseconds * UInt64(places.count - 1)))
      }
    }
    guard let first = places.first else { return nil }
    for place in places {
      pairs[place].isRunning = true
      pairs[place].startedAt = now
    }
    if places.count == 1 { return .exchange(pairs[first].partition, pairs[first].peer) }
    return .survey(places.map { pairs[$0].partition }.sorted(), pairs[first].peer, isUrgent: isUrgent)
  }

  /// Pairs of one peer, as many as one message compares; or one that is compared alone.
  private mutating func nextUrgent(
    at now: Instant, butNot lacking: Set<PartitionID>, _ canAsk: (NodeID) -> Bool
  ) -> [Int] {
    for _ in peers.indices {
      turn = (turn + 1) % peers.count
      guard peers[turn].waitingCount > 0, canAsk(peers[turn].node) else { continue }
      var places: [Int] = []
      for _ in 0..<peers[turn].waitingCount where places.count < surveyMax {
        guard let place = peers[turn].take() else { break }
        if pairs[place].isRunning || pairs[place].notBefore > now || lacking.contains(pairs[place].partition)
          || (pairs[place].isAlone && !places.isEmpty)
        {
          peers[turn].waiting.append(place)
          continue
        }
        pairs[place].isUrgent = false
        places.append(place)
        if pairs[place].isAlone { break }
      }
      if !places.isEmpty { return places }
    }
    return []
  }

  /// The next pair that had no turn in this round, and others of its peer.
  private mutating func nextInTurn(butNot lacking: Set<PartitionID>, _ canAsk: (NodeID) -> Bool) -> [Int] {
    for _ in 0..<2 {
      var places: [Int] = []
      for offset in pairs.indices where places.count < surveyMax {
        let at = (place + offset) % pairs.count
        let pair = pairs[at]
        guard pair.round != round, !pair.isRunning, !pair.isUrgent, !lacking.contains(pair.partition),
          canAsk(pair.peer),
          places.first.map({ pairs[$0].peer == pair.peer }) ?? true
        else { continue }
        pairs[at].round = round
        places.append(at)
      }
      if let first = places.first {
        place = first
        return places
      }
      round &+= 1
    }
    return []
  }

  /// The peer has answered about the roots: where they are equal the comparison is over, else it goes on by itself.
  mutating func onSurveyed(_ partition: PartitionID, _ peer: NodeID, differs: Bool, at now: Instant) {
    guard differs else { return onEnded(partition, peer, isComplete: true, at: now) }
    guard let place = place(of: partition, peer) else { return }
    pairs[place].isRunning = false
    pairs[place].isAlone = true
    pairs[place].notBefore = Instant(nanoseconds: 0)
    makeUrgent(place)
  }

  /// `found`: keys that differed. An exchange that broke off with some left goes on soon: what it has mended differs no
  /// more, so that the next one goes down the tree to the rest alone. The tree itself is the mark of how far it came.
  /// `isUrgent`: it was urgent and nothing came of it.
  mutating func onEnded(
    _ partition: PartitionID, _ peer: NodeID, isComplete: Bool, found: Int = 0, isUrgent: Bool = false,
    at now: Instant
  ) {
    guard let place = place(of: partition, peer), let index = index(of: peer) else { return }
    pairs[place].isRunning = false
    pairs[place].isAlone = false
    peers[index].mended += UInt64(found)
    if isComplete {
      pairs[place].completedAt = now
      pairs[place].failures = 0
      if let askedAt = pairs[place].askedAt, askedAt <= pairs[place].startedAt { pairs[place].askedAt = nil }
    } else {
      peers[index].failed += 1
      let doublings = min(pairs[place].failures, ExchangeSchedule.doublingsMax)
      pairs[place].failures += 1
      pairs[place].notBefore = now.advanced(
        by: Span64(nanoseconds: ExchangeSchedule.retryAfter.nanoseconds << doublings))
    }
    if pairs[place].askedAt != nil || (!isComplete && (found > 0 || isUrgent)) { makeUrgent(place) }
  }

  // MARK: How it stands

  /// How long ago the pair that waits longest was compared; nil when one never was.
  func oldestAge(at now: Instant) -> Span64? {
    var oldest = Span64.zero
    for pair in pairs {
      guard let completedAt = pair.completedAt else { return nil }
      oldest = max(oldest, now.since(completedAt))
    }
    return oldest
  }

  /// By peer, ascending.
  func status(at now: Instant) -> [RepairStatus.Peer] {
    var status = peers.map { peer in
      var row = RepairStatus.Peer(node: peer.node)
      row.mended = peer.mended
      row.failed = peer.failed
      return row
    }
    for pair in pairs {
      guard let index = index(of: pair.peer) else { continue }
      status[index].pairs += 1
      if let completedAt = pair.completedAt {
        status[index].oldestMs = max(status[index].oldestMs, now.since(completedAt).milliseconds)
      } else {
        status[index].never += 1
      }
      if pair.isUrgent { status[index].urgent += 1 }
      if pair.isRunning { status[index].running += 1 }
      if pair.askedAt != nil { status[index].asked += 1 }
    }
    return status
  }
}
