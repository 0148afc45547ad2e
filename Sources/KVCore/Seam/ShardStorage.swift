import KVModel

/// A shard's storage as its shell drives it: confined to the shard's loop.
///
/// ```
///   submit(op) ─┬─► results now (.record, .merged, .refused, …)
///               └─► gathered ── endTurn() ──► one batch, one sync ──► onResults() ──► collect(): .synced, …
/// ```
///
/// An owner calls `collect` and `submit` during a turn and `endTurn` at its end, always: also `collect` gathers, when
/// a merge had to wait for its record to be read.
public protocol ShardStorage: AnyObject {
  /// Takes an operation. Results that are known at once are appended to `results`; others come through `collect`.
  func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion])

  /// The turn is over: what was gathered goes to the log as one batch, or waits for the sync that is under way.
  /// With `durability: os` the batch is written here, and its results are appended.
  func endTurn(results: inout [StorageCompletion])

  /// Results that became known elsewhere (the log's writer, the IO pool) since the last call.
  func collect(results: inout [StorageCompletion])
}

/// A result and the operation that it belongs to.
public struct StorageCompletion: Equatable, Sendable {
  public var id: StorageID
  public var result: StorageResult

  public init(id: StorageID, result: StorageResult) {
    self.id = id
    self.result = result
  }
}

/// What a shard's storage was made for. A store opened for something else is refused by name.
public struct ShardIdentity: Hashable, Sendable {
  public var node: NodeID
  /// This shard's index, 0..<`shards`.
  public var shard: Int
  /// S, fixed when the data directory is made.
  public var shards: Int

  public init(node: NodeID, shard: Int, shards: Int) {
    self.node = node
    self.shard = shard
    self.shards = shards
  }
}

/// What the places of Merkle leaves and the digests in them depend on; fixed for a cluster by its `init`.
public struct ShardGeometry: Hashable, Sendable {
  public var cluster: ClusterID
  public var partitionBits: Int
  public var leafBits: Int

  public init(cluster: ClusterID, partitionBits: Int, leafBits: Int) {
    self.cluster = cluster
    self.partitionBits = partitionBits
    self.leafBits = leafBits
  }

  public init(of layout: Layout) {
    self.init(
      cluster: layout.cluster, partitionBits: layout.settings.partitionBits, leafBits: layout.settings.leafBits)
  }

  /// The seed of record digests.
  public var digestSeed: UInt64 { cluster.value }
}
