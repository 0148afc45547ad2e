import KVModel

/// Which partition is compared with which other owner next. Every pair in turn, one each interval; a peer whose link has
/// come up first of all, one after the other, since it may have missed writes.
struct ExchangeSchedule: Sendable {
  struct Pair: Sendable {
    let partition: PartitionID
    let peer: NodeID
    /// When an exchange last ended well.
    var completedAt: Instant?
    /// Its peer's link came up since.
    var isUrgent = false
    var isRunning = false
  }

  /// Ascending by partition.
  private(set) var pairs: [Pair] = []
  private var place = 0
  /// Urgent pairs, by peer. Those of a peer that cannot be asked wait; they must not make others hurry.
  private var urgent: [(peer: NodeID, pairs: Int)] = []

  /// The pairs of a node's first layout; a later one is not taken up yet.
  mutating func adopt(_ view: ClusterView, _ identity: ShardIdentity) {
    guard let settings = view.current?.layout.settings else { return }
    for index in 0..<settings.partitions {
      let partition = PartitionID(UInt16(index))
      guard partition.shard(of: identity.shards) == identity.shard else { continue }
      let owners = view.owners(of: partition).nodes
      guard owners.contains(identity.node) else { continue }
      for peer in owners where peer != identity.node {
        pairs.append(Pair(partition: partition, peer: peer))
        if !urgent.contains(where: { $0.peer == peer }) { urgent.append((peer, 0)) }
      }
    }
  }

  /// Where the round begins: not everywhere at the same place.
  mutating func begin(at random: UInt64) { place = pairs.isEmpty ? 0 : Int(random % UInt64(pairs.count)) }

  mutating func onLinkUp(_ peer: NodeID) {
    for index in pairs.indices where pairs[index].peer == peer { setUrgent(true, index) }
  }

  /// Hints of this pair became marks of leaves.
  mutating func onMarked(_ partition: PartitionID, _ peer: NodeID) {
    guard let index = index(of: partition, peer), !pairs[index].isRunning else { return }
    setUrgent(true, index)
  }

  private mutating func setUrgent(_ isUrgent: Bool, _ index: Int) {
    guard pairs[index].isUrgent != isUrgent else { return }
    pairs[index].isUrgent = isUrgent
    for place in urgent.indices where urgent[place].peer == pairs[index].peer {
      urgent[place].pairs += isUrgent ? 1 : -1
    }
  }

  /// The next pair whose peer can be asked; an urgent one while there are any, and none but these when they are all that
  /// is wanted.
  mutating func next(onlyUrgent: Bool = false, where canAsk: (NodeID) -> Bool) -> (
    partition: PartitionID, peer: NodeID
  )? {
    if urgent.contains(where: { $0.pairs > 0 && canAsk($0.peer) }) { return take { $0.isUrgent && canAsk($0.peer) } }
    if onlyUrgent && !planted(.exchangesUnpaced) { return nil }
    return urgent.contains { canAsk($0.peer) } ? take { canAsk($0.peer) } : nil
  }

  private mutating func take(where isWanted: (Pair) -> Bool) -> (partition: PartitionID, peer: NodeID)? {
    for _ in pairs.indices {
      place = (place + 1) % pairs.count
      let pair = pairs[place]
      guard !pair.isRunning, isWanted(pair) else { continue }
      pairs[place].isRunning = true
      setUrgent(false, place)
      return (pair.partition, pair.peer)
    }
    return nil
  }

  mutating func onEnded(_ partition: PartitionID, _ peer: NodeID, isComplete: Bool, at now: Instant) {
    guard let index = index(of: partition, peer) else { return }
    pairs[index].isRunning = false
    if isComplete { pairs[index].completedAt = now }
  }

  private func index(of partition: PartitionID, _ peer: NodeID) -> Int? {
    var (low, high) = (0, pairs.count)
    while low < high {
      let middle = (low + high) / 2
      if pairs[middle].partition < partition { low = middle + 1 } else { high = middle }
    }
    while low < pairs.count, pairs[low].partition == partition {
      if pairs[low].peer == peer { return low }
      low += 1
    }
    return nil
  }

  /// How long ago the pair that waits longest was compared; nil when one never was.
  func oldestAge(at now: Instant) -> Span64? {
    var oldest = Span64.zero
    for pair in pairs {
      guard let completedAt = pair.completedAt else { return nil }
      oldest = max(oldest, now.since(completedAt))
    }
    return oldest
  }
}
