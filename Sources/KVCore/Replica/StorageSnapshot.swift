import KVModel

/// All that a store holds durably, in the order of its key spaces: what two stores of one seam are compared by.
public struct StorageSnapshot: Equatable, Sendable {
  public struct Entry: Equatable, Sendable {
    public var key: [UInt8]
    public var record: EncodedRecord

    public init(key: [UInt8], record: EncodedRecord) {
      self.key = key
      self.record = record
    }
  }

  /// One leaf of the Merkle tree of a partition.
  public struct Leaf: Equatable, Sendable {
    public var place: LeafPlace
    public var digest: Digest

    public init(place: LeafPlace, digest: Digest) {
      self.place = place
      self.digest = digest
    }
  }

  public struct Expiry: Hashable, Comparable, Sendable {
    public var at: WallTime
    public var key: [UInt8]

    public init(at: WallTime, key: [UInt8]) {
      self.at = at
      self.key = key
    }

    public static func < (a: Expiry, b: Expiry) -> Bool {
      a.at == b.at ? a.key.lexicographicallyPrecedes(b.key) : a.at < b.at
    }
  }

  public struct Hint: Hashable, Comparable, Sendable {
    public var target: NodeID
    public var key: [UInt8]

    public init(target: NodeID, key: [UInt8]) {
      self.target = target
      self.key = key
    }

    public static func < (a: Hint, b: Hint) -> Bool {
      a.target == b.target ? a.key.lexicographicallyPrecedes(b.key) : a.target < b.target
    }
  }

  /// A leaf that is dirty for a target.
  public struct Mark: Hashable, Comparable, Sendable {
    public var target: NodeID
    public var place: LeafPlace

    public init(target: NodeID, place: LeafPlace) {
      self.target = target
      self.place = place
    }

    public static func < (a: Mark, b: Mark) -> Bool {
      a.target == b.target ? a.place < b.place : a.target < b.target
    }
  }

  /// In ring order.
  public var records: [Entry] = []
  /// By place; leaves without a record are left out.
  public var leaves: [Leaf] = []
  public var expiries: [Expiry] = []
  /// By request id.
  public var requests: [RequestMemory.Entry] = []
  public var lease: Lease?
  /// By target, each in ring order.
  public var hints: [Hint] = []
  /// By target, each by place.
  public var marks: [Mark] = []
  /// By part.
  public var gaps: [Gap] = []
  /// Damaged records that were put aside, in ring order.
  public var quarantined: [Entry] = []

  public init() {}

  /// The leaves that follow from `records`, by place. Equal to `leaves`, or tree and data have drifted apart
  /// (HAZARDS.md row 13). Nil when a record is damaged.
  public func recomputedLeaves(_ geometry: ShardGeometry) -> [Leaf]? {
    var digests: [LeafPlace: Digest] = [:]
    for entry in records {
      guard let record = try? entry.record.decoded() else { return nil }
      guard let key = try? entry.key.decode({ (bytes) throws(DecodeError) in try Key(storageBytes: bytes) }) else {
        return nil
      }
      digests[LeafPlace(of: key, geometry), default: .zero].combine(
        record.digest(of: key, seed: geometry.digestSeed))
    }
    return digests.map { Leaf(place: $0.key, digest: $0.value) }.sorted { $0.place < $1.place }
  }
}

/// Where a key's digest is kept: a leaf of the Merkle tree of its partition.
public struct LeafPlace: Hashable, Comparable, Sendable {
  public var partition: PartitionID
  public var leaf: UInt32

  public init(partition: PartitionID, leaf: UInt32) {
    self.partition = partition
    self.leaf = leaf
  }

  /// The first token of this leaf's range.
  public func firstToken(_ geometry: ShardGeometry) -> UInt64 {
    let bits = geometry.partitionBits + geometry.leafBits
    let prefix = UInt64(partition.index) << UInt64(geometry.leafBits) | UInt64(leaf)
    return bits == 0 ? 0 : prefix << UInt64(64 - bits)
  }

  public init(of key: Key, _ geometry: ShardGeometry) {
    let token = key.token
    partition = token.partition(bits: geometry.partitionBits)
    leaf = token.leaf(partitionBits: geometry.partitionBits, leafBits: geometry.leafBits)
  }

  public static func < (a: LeafPlace, b: LeafPlace) -> Bool {
    a.partition == b.partition ? a.leaf < b.leaf : a.partition < b.partition
  }
}
