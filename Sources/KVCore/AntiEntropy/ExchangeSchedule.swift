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

  private(set) var pairs: [Pair] = []
  private var place = 0
  private var urgent = 0

  /// The pairs of a node's first layout; a later one is not taken up yet.
  mutating func adopt(_ view: ClusterView, _ identity: ShardIdentity) {
    guard let settings = view.current?.layout.settings else { return }
    for index in 0..<settings.partitions {
      let partition = PartitionID(UInt16(index))
      guard partition.shard(of: identity.shards) == identity.shard else { continue }
      let owners = view.owners(of: partition).nodes
      guard owners.contains(identity.node) else { continue }
      for peer in owners where peer != identity.node { pairs.append(Pair(partition: partition, peer: peer)) }
    }
  }

  /// Where the round begins: not everywhere at the same place.
  mutating func begin(at random: UInt64) { place = pairs.isEmpty ? 0 : Int(random % UInt64(pairs.count)) }

  var hasUrgent: Bool { urgent > 0 }

  mutating func onLinkUp(_ peer: NodeID) {
    for index in pairs.indices where pairs[index].peer == peer && !pairs[index].isUrgent {
      pairs[index].isUrgent = true
      urgent += 1
    }
  }

  /// Hints of this pair became marks of leaves.
  mutating func onMarked(_ partition: PartitionID, _ peer: NodeID) {
    guard let index = pairs.firstIndex(where: { $0.partition == partition && $0.peer == peer }), !pairs[index].isUrgent,
      !pairs[index].isRunning
    else { return }
    pairs[index].isUrgent = true
    urgent += 1
  }

  /// The next pair whose peer can be asked; an urgent one while there are any.
  mutating func next(where canAsk: (NodeID) -> Bool) -> (partition: PartitionID, peer: NodeID)? {
    for wantsUrgent in [true, false] where !wantsUrgent || urgent > 0 {
      for _ in pairs.indices {
        place = (place + 1) % pairs.count
        let pair = pairs[place]
        guard !pair.isRunning, pair.isUrgent || !wantsUrgent, canAsk(pair.peer) else { continue }
        pairs[place].isRunning = true
        if pair.isUrgent {
          pairs[place].isUrgent = false
          urgent -= 1
        }
        return (pair.partition, pair.peer)
      }
    }
    return nil
  }

  mutating func onEnded(_ partition: PartitionID, _ peer: NodeID, isComplete: Bool, at now: Instant) {
    guard let index = pairs.firstIndex(where: { $0.partition == partition && $0.peer == peer }) else { return }
    pairs[index].isRunning = false
    if isComplete { pairs[index].completedAt = now }
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
