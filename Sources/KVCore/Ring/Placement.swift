import KVModel

// Stand-in until branch `ring` lands.
public enum Placement {
  public static func table(for layout: Layout) -> PartitionTable {
    let copies = min(layout.settings.replication, layout.members.count)
    var owners: [UInt16] = []
    for partition in 0..<layout.settings.partitions {
      for copy in 0..<copies { owners.append(UInt16((partition + copy) % layout.members.count)) }
    }
    return PartitionTable(partitionBits: layout.settings.partitionBits, copies: copies, owners: owners)
  }
}
