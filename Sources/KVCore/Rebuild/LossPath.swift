import KVModel

// Owners of a partition that have lost something in the same place, so many that a write which was acknowledged may have
// been on these alone. Each has what the others have left (`Gap.partly`), and none answers for it: by itself the cluster
// never says that a write which it acknowledged has not happened. Who runs it can: from then on what is left is all there is.
extension Shard {
  mutating func onLossesAsked(_ client: ClientRef, _ effects: inout [Effect]) {
    var entries: [Losses.Entry] = []
    for entry in beyondQuorum {
      let partition = entry.gap.partition(bits: partitionBits)
      let keys: UInt32 = entry.gap.partition == nil ? 1 : 0
      guard let place = entries.firstIndex(where: { $0.partition == partition }) else {
        entries.append(Losses.Entry(partition: partition, keys: keys))
        continue
      }
      entries[place].keys = keys == 0 || entries[place].keys == 0 ? 0 : entries[place].keys + keys
    }
    entries.sort { $0.partition < $1.partition }
    let losses = Losses(shards: UInt16(identity.shards), entries: entries)
    effects.append(.respond(.repaired(.losses(losses)), to: client))
  }

  mutating func onLossAccepted(_ partition: PartitionID, _ client: ClientRef, _ effects: inout [Effect]) {
    let accepted = beyondQuorum.filter { $0.gap.partition(bits: partitionBits) == partition }
    if !accepted.isEmpty {
      counters.lossesAccepted += UInt64(accepted.count)
      effects.append(.note(.lossAccepted(partition, parts: accepted.count)))
      close(accepted, &effects)
    }
    effects.append(.respond(.repaired(.accepted(parts: UInt32(accepted.count))), to: client))
  }

  /// Parts of the copy that stay unread until somebody says that what is left of them has to do.
  public var partsBeyondQuorum: Int { beyondQuorum.count }

  var partitionBits: Int { view.current?.layout.settings.partitionBits ?? 0 }

  private var beyondQuorum: [GapCensus.Entry] {
    if planted(.lossAcceptedEarly) { return rebuild.census.open }
    return readyGaps { gap, owners, quorum in gap.isBeyondQuorum(owners, writeQuorum: quorum, at: identity.node) }
  }
}
