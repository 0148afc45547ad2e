import KVCore
import KVModel

/// The Merkle leaves of a shard in memory: 16 bytes a leaf, for the partitions that have any.
struct LeafTable {
  private let leavesPerPartition: Int
  /// By partition; empty until one of its leaves is touched.
  private var partitions: [[Digest]]

  init(_ geometry: ShardGeometry) {
    leavesPerPartition = 1 << geometry.leafBits
    partitions = Array(repeating: [], count: 1 << geometry.partitionBits)
  }

  /// Whether the geometry has this place.
  func contains(_ place: LeafPlace) -> Bool {
    Int(place.partition.index) < partitions.count && Int(place.leaf) < leavesPerPartition
  }

  subscript(_ place: LeafPlace) -> Digest {
    let leaves = partitions[Int(place.partition.index)]
    return leaves.isEmpty ? .zero : leaves[Int(place.leaf)]
  }

  /// Partitions that have had a record, ascending.
  var touched: [PartitionID] { partitions.indices.filter { !partitions[$0].isEmpty }.map { PartitionID(UInt16($0)) } }

  /// The digest of a node is the XOR of its leaves.
  func digests(of nodes: [TreeNode], _ partition: PartitionID) -> [Digest] {
    let leaves = partitions[Int(partition.index)]
    if leaves.isEmpty { return Array(repeating: .zero, count: nodes.count) }
    let leafBits = leavesPerPartition.trailingZeroBitCount
    return nodes.map { node in
      var digest = Digest.zero
      for leaf in node.leaves(leafBits: leafBits) { digest.combine(leaves[Int(leaf)]) }
      return digest
    }
  }

  func root(of partition: PartitionID) -> Digest {
    partitions[Int(partition.index)].reduce(into: Digest.zero) { $0.combine($1) }
  }

  /// XORs a change into a leaf and returns what it is now.
  @discardableResult
  mutating func combine(_ place: LeafPlace, _ change: Digest) -> Digest {
    let partition = Int(place.partition.index)
    if partitions[partition].isEmpty {
      partitions[partition] = Array(repeating: .zero, count: leavesPerPartition)
    }
    partitions[partition][Int(place.leaf)].combine(change)
    return partitions[partition][Int(place.leaf)]
  }
}
