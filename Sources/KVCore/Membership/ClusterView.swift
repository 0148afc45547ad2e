import KVModel

/// What `Control` publishes to the shards: the live layouts and their preference lists. Immutable; replaced as a whole.
public struct ClusterView: Equatable, Sendable {
  /// A layout and the preference lists that follow from it.
  public struct LiveLayout: Equatable, Sendable {
    public let layout: Layout
    public let table: PartitionTable

    public init(_ layout: Layout) {
      self.layout = layout
      table = Placement.table(for: layout)
    }
  }

  /// The node whose view this is.
  public let node: NodeID
  /// Oldest first; empty while the node belongs to no cluster. More than one while a change of layout is under way.
  public let layouts: [LiveLayout]
  /// Seals context tokens.
  public let secret: ClusterSecret
  public internal(set) var standing: Standing
  public let disk: DiskRoom
  /// The epoch under which this node mints, when it has risen since its shards began; 0 otherwise.
  public let epoch: UInt32
  /// Not 0: the node's data went back in time, and what its shards hold from before this start may lack anything.
  public let life: UInt64

  /// Whether this node's copies may be trusted, and so whether it takes part.
  public enum Standing: Equatable, Sendable {
    case confirmed
    /// It has started, and waits for a majority to say that its data are the latest of it.
    case unconfirmed
    /// Its data went back in time.
    case overtaken

    /// What is answered to whoever wants it to take part.
    var failure: Failure? {
      switch self {
      case .confirmed: nil
      case .unconfirmed:
        Failure(
          .unavailable, retryAfterMs: 100,
          detail: "this node has started, and a majority of the cluster has yet to confirm that its data are the latest"
        )
      case .overtaken:
        Failure(.notMember, detail: "this node's data went back in time: peers know of a later start of it")
      }
    }
  }

  public init(
    node: NodeID, layouts: [LiveLayout], secret: ClusterSecret = .none, standing: Standing = .confirmed,
    disk: DiskRoom = .enough, epoch: UInt32 = 0, life: UInt64 = 0
  ) {
    self.node = node
    self.layouts = layouts
    self.secret = secret
    self.standing = standing
    self.disk = disk
    self.epoch = epoch
    self.life = life
  }

  /// The layout that new requests are placed by.
  public var current: LiveLayout? { layouts.last }

  public var layoutVersion: UInt32 { current?.layout.version ?? 0 }

  /// The partition of a key; nil while there is no layout.
  public func partition(of key: Key) -> PartitionID? {
    current.map { key.token.partition(bits: $0.layout.settings.partitionBits) }
  }

  /// The owners of a partition in every live layout, in order of preference of the current one.
  public func owners(of partition: PartitionID) -> OwnerSet {
    var owners = OwnerSet()
    for live in layouts.reversed() {
      owners.addGroup(live.table[partition].map { live.layout.members[Int($0)].id })
    }
    return owners
  }

  /// The partitions that a shard owns a copy of, ascending; none while there is no layout.
  func partitions(of shard: ShardIdentity) -> [PartitionID] {
    (0..<(current?.layout.settings.partitions ?? 0)).map { PartitionID(UInt16($0)) }.filter { partition in
      partition.shard(of: shard.shards) == shard.shard && owners(of: partition).place(of: shard.node) != nil
    }
  }

  /// Every other member of any live layout, ascending by id, each once.
  public var peers: [Member] {
    var result: [Member] = []
    for live in layouts.reversed() {
      for member in live.layout.members where member.id != node && !result.contains(where: { $0.id == member.id }) {
        result.append(member)
      }
    }
    return result.sorted { $0.id < $1.id }
  }
}
