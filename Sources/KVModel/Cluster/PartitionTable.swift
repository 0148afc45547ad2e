/// The preference list of every partition of one layout, as places in `Layout.members`. The core computes it; nodes
/// hand it to clients, so that a client routes without knowing how it is computed.
public struct PartitionTable: Hashable, Sendable {
  /// log2 of the number of partitions.
  public let partitionBits: Int
  /// Owners of each partition: N, or fewer when the layout has fewer distinct hosts.
  public let copies: Int
  /// Invariant: `copies` entries for each partition, in order of preference, distinct within a partition.
  public let owners: [UInt16]

  public init(partitionBits: Int, copies: Int, owners: [UInt16]) {
    invariant(owners.count == copies << partitionBits, "\(owners.count) owners for \(copies) << \(partitionBits)")
    self.partitionBits = partitionBits
    self.copies = copies
    self.owners = owners
  }

  public var partitions: Int { 1 << partitionBits }

  /// The preference list of `partition`.
  @inlinable
  public subscript(partition: PartitionID) -> ArraySlice<UInt16> {
    let start = Int(partition.index) &* copies
    return owners[start..<(start &+ copies)]
  }
}

// | size | field |
// |---|---|
// | 1 | P |
// | 1 | copies |
// | 2·copies·2^P | owners, partition by partition |
extension PartitionTable {
  public func encode(into bytes: inout [UInt8]) {
    bytes.append(UInt8(partitionBits))
    bytes.append(UInt8(copies))
    for owner in owners { bytes.append(integer: owner) }
  }

  public init(from reader: inout ByteReader, members: Int) throws(DecodeError) {
    let partitionBits = Int(try reader.u8())
    let copies = Int(try reader.u8())
    guard Limits.partitionBits.contains(partitionBits), Limits.replication.contains(copies) else { throw .outOfBounds }
    let count = copies << partitionBits
    guard reader.remaining >= count * 2 else { throw .truncated }
    var owners: [UInt16] = []
    owners.reserveCapacity(count)
    for place in 0..<count {
      let owner = try reader.u16()
      guard Int(owner) < members else { throw .outOfBounds }
      guard !owners[(place - place % copies)...].contains(owner) else { throw .notCanonical }
      owners.append(owner)
    }
    self.init(partitionBits: partitionBits, copies: copies, owners: owners)
  }
}
