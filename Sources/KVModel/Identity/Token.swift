/// A position on the ring: the first half of MurmurHash3 x64 128 (seed 0) of a partition key.
public struct Token: Hashable, Comparable, Sendable {
  public let position: UInt64

  @inlinable
  public init(_ position: UInt64) { self.position = position }

  /// The token of a partition key.
  @inlinable
  public init(partitionKey: UnsafeRawBufferPointer) { position = Murmur3.hash(partitionKey).first }

  @inlinable
  public static func < (a: Token, b: Token) -> Bool { a.position < b.position }

  /// The partition of this token among 2^`bits`.
  @inlinable
  public func partition(bits: Int) -> PartitionID {
    PartitionID(UInt16(truncatingIfNeeded: position &>> UInt64(64 &- bits)))
  }

  /// The Merkle leaf of this token: the `leafBits` bits that follow the partition's.
  @inlinable
  public func leaf(partitionBits: Int, leafBits: Int) -> UInt32 {
    leafBits == 0 ? 0 : UInt32(truncatingIfNeeded: (position &<< UInt64(partitionBits)) &>> UInt64(64 &- leafBits))
  }
}

/// One of 2^P equal slices of the token space, the top P bits of a token: the unit of ownership, of Merkle trees, of
/// transfer and of metrics.
public struct PartitionID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let index: UInt16

  @inlinable
  public init(_ index: UInt16) { self.index = index }

  @inlinable
  public static func < (a: PartitionID, b: PartitionID) -> Bool { a.index < b.index }

  public var description: String { String(index) }

  /// The shard that serves this partition on a node with `shards` of them.
  @inlinable
  public func shard(of shards: Int) -> Int { Int(index) % shards }
}
