/// What kvctl asks a shard about its copies.
///
/// | body: size | field |
/// |---|---|
/// | 1 | 0 read leaves again: partition 2, from leaf 4, bytes at most 4 |
/// | | 1 compare a partition with its other owners now: partition 2 |
/// | | 2 how comparisons stand: shard 2 |
/// | | 3 what too many owners have lost: shard 2 |
/// | | 4 that is accepted, of a partition: partition 2 |
public enum RepairRequest: Hashable, Sendable {
  /// From a leaf on; no bytes: the root's digest alone.
  case rescan(PartitionID, from: UInt32, bytesMax: UInt32)
  /// Makes the exchanges with all other owners urgent.
  case compare(PartitionID)
  case status(shard: UInt16)
  /// What of this copy stays unread, since so many owners have lost it that a write may be on none of them any more.
  case losses(shard: UInt16)
  /// What the owners have left of it is all there is: it is answered for again.
  case acceptLoss(PartitionID)

  /// The shard, of `shards`, that it is for.
  public func shard(of shards: Int) -> Int {
    switch self {
    case .rescan(let partition, _, _), .compare(let partition), .acceptLoss(let partition): partition.shard(of: shards)
    case .status(let shard), .losses(let shard): Int(shard)
    }
  }

  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .rescan(let partition, let leaf, let bytesMax):
      bytes.append(0)
      bytes.append(integer: partition.index)
      bytes.append(integer: leaf)
      bytes.append(integer: bytesMax)
    case .compare(let partition):
      bytes.append(1)
      bytes.append(integer: partition.index)
    case .status(let shard):
      bytes.append(2)
      bytes.append(integer: shard)
    case .losses(let shard):
      bytes.append(3)
      bytes.append(integer: shard)
    case .acceptLoss(let partition):
      bytes.append(4)
      bytes.append(integer: partition.index)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0:
      let (partition, leaf) = (PartitionID(try reader.u16()), try reader.u32())
      self = .rescan(partition, from: leaf, bytesMax: try reader.u32())
    case 1: self = .compare(PartitionID(try reader.u16()))
    case 2: self = .status(shard: try reader.u16())
    case 3: self = .losses(shard: try reader.u16())
    case 4: self = .acceptLoss(PartitionID(try reader.u16()))
    case let tag: throw .unknownTag(tag)
    }
  }
}

/// | body: size | field |
/// |---|---|
/// | 1 | 0 read again: `Rescan`; 1 to be compared: pairs 4; 2 how it stands: `RepairStatus`; 3 lost: `Losses`; 4 accepted: |
/// | | parts 4 |
public enum RepairAnswer: Hashable, Sendable {
  case rescanned(Rescan)
  /// So many comparisons are urgent now that were asked for.
  case comparing(pairs: UInt32)
  case status(RepairStatus)
  case losses(Losses)
  /// So many parts of the copy are answered for again.
  case accepted(parts: UInt32)

  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .rescanned(let rescan):
      bytes.append(0)
      rescan.encode(into: &bytes)
    case .comparing(let pairs):
      bytes.append(1)
      bytes.append(integer: pairs)
    case .status(let status):
      bytes.append(2)
      status.encode(into: &bytes)
    case .losses(let losses):
      bytes.append(3)
      losses.encode(into: &bytes)
    case .accepted(let parts):
      bytes.append(4)
      bytes.append(integer: parts)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .rescanned(try Rescan(from: &reader))
    case 1: self = .comparing(pairs: try reader.u32())
    case 2: self = .status(try RepairStatus(from: &reader))
    case 3: self = .losses(try Losses(from: &reader))
    case 4: self = .accepted(parts: try reader.u32())
    case let tag: throw .unknownTag(tag)
    }
  }
}

/// How a shard's comparisons with other owners stand.
///
/// | size | field |
/// |---|---|
/// | 2 | shards of the node |
/// | 2 | number of peers, then each: |
/// | 8 | node id |
/// | 4, 4 | pairs: partitions that both own; of them those that were never compared since the start |
/// | 8 | ms since the pair that waits longest was compared, of those that were |
/// | 4, 4, 4 | pairs that are urgent, under way, asked for and not yet done |
/// | 8, 8 | keys that differed and were mended, comparisons that ended incomplete, since the start |
/// | 8 | Merkle leaves marked for the peer, for want of room for hints |
public struct RepairStatus: Hashable, Sendable {
  public struct Peer: Hashable, Sendable {
    public var node: NodeID
    public var pairs: UInt32 = 0
    public var never: UInt32 = 0
    public var oldestMs: UInt64 = 0
    public var urgent: UInt32 = 0
    public var running: UInt32 = 0
    public var asked: UInt32 = 0
    public var mended: UInt64 = 0
    public var failed: UInt64 = 0
    public var marks: UInt64 = 0

    public init(node: NodeID) { self.node = node }

    /// The sum over two shards of a node.
    public mutating func add(_ other: Peer) {
      pairs += other.pairs
      never += other.never
      oldestMs = max(oldestMs, other.oldestMs)
      urgent += other.urgent
      running += other.running
      asked += other.asked
      mended += other.mended
      failed += other.failed
      marks += other.marks
    }
  }

  public var shards: UInt16
  /// Ascending by node.
  public var peers: [Peer]

  public init(shards: UInt16, peers: [Peer]) {
    self.shards = shards
    self.peers = peers
  }

  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: shards)
    bytes.append(integer: UInt16(peers.count))
    for peer in peers {
      bytes.append(integer: peer.node.value)
      bytes.append(integer: peer.pairs)
      bytes.append(integer: peer.never)
      bytes.append(integer: peer.oldestMs)
      for number in [peer.urgent, peer.running, peer.asked] { bytes.append(integer: number) }
      for number in [peer.mended, peer.failed, peer.marks] { bytes.append(integer: number) }
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    shards = try reader.u16()
    peers = []
    let count = Int(try reader.u16())
    guard count <= Limits.membersMax else { throw .outOfBounds }
    for _ in 0..<count {
      var peer = Peer(node: NodeID(try reader.u64()))
      peer.pairs = try reader.u32()
      peer.never = try reader.u32()
      peer.oldestMs = try reader.u64()
      peer.urgent = try reader.u32()
      peer.running = try reader.u32()
      peer.asked = try reader.u32()
      peer.mended = try reader.u64()
      peer.failed = try reader.u64()
      peer.marks = try reader.u64()
      peers.append(peer)
    }
  }
}
