import KVModel

/// Which partition is compared with which other owner next. Every pair in turn, one each interval; urgent ones first of
/// all, one after the other: those of a peer whose link has come up, since it may have missed writes; those whose hints
/// became marks; those that broke off with differences left; those that an operator asked for.
struct ExchangeSchedule: Sendable {
  struct Pair: Sendable {
    let partition: PartitionID
    let peer: NodeID
    /// When an exchange last ended well.
    var completedAt: Instant?
    var isUrgent = false
    var isRunning = false
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

  /// The next pair whose peer can be asked; an urgent one while there are any. What is urgent with a peer that is away
  /// waits, and must not make others hurry: `onlyUrgent` is for what follows without a pause.
  mutating func next(
    at now: Instant, onlyUrgent: Bool = false, where canAsk: (NodeID) -> Bool
  ) -> (partition: PartitionID, peer: NodeID)? {
    let onlyUrgent = onlyUrgent && !(planted(.exchangesUnpaced) && hasUrgent)
    guard let place = nextUrgent(at: now, canAsk) ?? (onlyUrgent ? nil : nextInTurn(canAsk)) else { return nil }
    pairs[place].isRunning = true
    pairs[place].startedAt = now
    return (pairs[place].partition, pairs[place].peer)
  }

  private mutating func nextUrgent(at now: Instant, _ canAsk: (NodeID) -> Bool) -> Int? {
    for _ in peers.indices {
      turn = (turn + 1) % peers.count
      guard peers[turn].waitingCount > 0, canAsk(peers[turn].node) else { continue }
      for _ in 0..<peers[turn].waitingCount {
        guard let place = peers[turn].take() else { break }
        if pairs[place].isRunning || pairs[place].notBefore > now {
          peers[turn].waiting.append(place)
          continue
        }
        pairs[place].isUrgent = false
        return place
      }
    }
    return nil
  }

  private mutating func nextInTurn(_ canAsk: (NodeID) -> Bool) -> Int? {
    for _ in pairs.indices {
      place = (place + 1) % pairs.count
      let pair = pairs[place]
      if !pair.isRunning, !pair.isUrgent, canAsk(pair.peer) { return place }
    }
    return nil
  }

  /// `found`: keys that differed. An exchange that broke off with some left goes on soon: what it has mended differs no
  /// more, so that the next one goes down the tree to the rest alone. The tree itself is the mark of how far it came.
  mutating func onEnded(
    _ partition: PartitionID, _ peer: NodeID, isComplete: Bool, found: Int = 0, at now: Instant
  ) {
    guard let place = place(of: partition, peer), let index = index(of: peer) else { return }
    pairs[place].isRunning = false
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
    if pairs[place].askedAt != nil || (!isComplete && found > 0) { makeUrgent(place) }
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
