import KVModel
import Testing

@testable import KVCore

struct GapTests {
  private static let owners: OwnerSet = {
    var owners = OwnerSet()
    owners.addGroup([NodeID(1), NodeID(2), NodeID(3)])
    return owners
  }()

  private static func isFilled(pulled: [UInt64], partly: [UInt64] = []) -> Bool {
    var gap = Gap(part: .partition(PartitionID(7)), barred: nil)
    gap.pulled = pulled.map { NodeID($0) }
    gap.partly = partly.map { NodeID($0) }
    return gap.isFilled(owners, writeQuorum: 2, at: NodeID(1))
  }

  @Test func `a gap is filled when each other owner was pulled from, whole, and not before`() {
    #expect(!Self.isFilled(pulled: []))
    #expect(!Self.isFilled(pulled: [2]), "what was acknowledged by this node and n3 may be missing")
    #expect(!Self.isFilled(pulled: [2], partly: [3]), "n3 has lost something too: no write quorum lies outside of n2")
    #expect(Self.isFilled(pulled: [2, 3]))
  }

  @Test func `what too many owners have lost is told from what is not pulled yet`() {
    func isBeyond(pulled: [UInt64], partly: [UInt64]) -> Bool {
      var gap = Gap(part: .partition(PartitionID(7)), barred: nil)
      (gap.pulled, gap.partly) = (pulled.map { NodeID($0) }, partly.map { NodeID($0) })
      return gap.isBeyondQuorum(Self.owners, writeQuorum: 2, at: NodeID(1))
    }
    #expect(isBeyond(pulled: [2], partly: [3]) && isBeyond(pulled: [], partly: [2, 3]))
    #expect(!isBeyond(pulled: [2], partly: []), "n3 may have it")
    #expect(!isBeyond(pulled: [2, 3], partly: []), "it is filled")
  }

  @Test func `a partition that has lost its leaves alone is whole when they are scanned, and another gap stays`() {
    let geometry = ShardGeometry(cluster: ClusterID(1), partitionBits: 4, leafBits: 2)
    let (old, new) = (Actor(node: NodeID(1), epoch: 1), Actor(node: NodeID(1), epoch: 2))
    var index = GapIndex(geometry, actor: old)
    let partitions = (0..<4).map { PartitionID($0) }
    // Nothing else is known of 0; of 1 records were lost, of 2 too and they are back, of 3 they are lost afterwards.
    _ = index.note(.partition(partitions[1]))
    _ = index.note(.partition(partitions[2]))
    _ = index.apply([.close(.partition(partitions[2]), sequence: index.sequence)])
    let noted = partitions.map { index.noteDerived($0) }
    _ = index.apply([.note(.partition(partitions[3]))])
    #expect(index.census(synced: .max).open.map(\.gap.partition) == partitions)
    #expect(index.census(synced: .max).open.filter(\.isReady).map(\.gap.partition) == [partitions[3]])
    // After a restart it is as it was noted.
    guard case .put(let first) = noted[0] else { return #expect(Bool(false)) }
    #expect(first.hasRecords && first.needsRescan && first.barred == nil)
    for partition in partitions { _ = index.onRescanned(partition) }
    #expect(index.census(synced: .max).open.map(\.gap.partition) == [partitions[1], partitions[3]])
    #expect(index.census(synced: .max).barred == [old], "2 still waits for another actor")
    #expect(index.onLeased(new) == [.remove(.partition(partitions[2]))])
  }
}
