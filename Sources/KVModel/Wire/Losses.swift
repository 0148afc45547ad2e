/// Parts of a shard's copy that stay unread: each other owner was pulled from, and too many of them have lost something in
/// the same place.
///
/// | size | field |
/// |---|---|
/// | 2 | shards of the node |
/// | 4 | number of partitions, then each: |
/// | 2 | partition |
/// | 4 | single keys of it; 0: all of it |
public struct Losses: Hashable, Sendable {
  public struct Entry: Hashable, Sendable {
    public var partition: PartitionID
    /// 0: any key of the partition.
    public var keys: UInt32

    public init(partition: PartitionID, keys: UInt32) {
      self.partition = partition
      self.keys = keys
    }
  }

  public var shards: UInt16
  /// Ascending by partition.
  public var entries: [Entry]

  public init(shards: UInt16, entries: [Entry]) {
    self.shards = shards
    self.entries = entries
  }

  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: shards)
    bytes.append(integer: UInt32(entries.count))
    for entry in entries {
      bytes.append(integer: entry.partition.index)
      bytes.append(integer: entry.keys)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    shards = try reader.u16()
    let count = Int(try reader.u32())
    // One a partition, and no more than there are bytes for.
    guard count <= 1 << 16, count * 6 <= reader.remaining else { throw .outOfBounds }
    entries = []
    for _ in 0..<count {
      entries.append(Entry(partition: PartitionID(try reader.u16()), keys: try reader.u32()))
    }
  }
}
