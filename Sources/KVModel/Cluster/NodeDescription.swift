/// What a node says of itself and of its peers: the source of `kvctl status`, `health` and `cluster init`.
public struct NodeDescription: Hashable, Sendable {
  public enum State: UInt8, Sendable, CaseIterable {
    /// It belongs to no cluster yet.
    case uninitialised = 0
    /// It is a member and serves.
    case serving = 1
    /// A cluster expects another node id at this address: the data directory is new or another one's.
    case stranger = 2
    /// It is finishing what it has and takes nothing new.
    case draining = 3
    /// It has started, and a majority of the layout has not confirmed yet that its data are the latest of it.
    case unconfirmed = 4
    /// Its data went back in time: peers know of a later start. It takes no part.
    case wentBack = 5
    /// Its seeds have told it of their cluster, whose layout does not list it.
    case outside = 6
  }

  /// A peer as this node sees it.
  public struct Peer: Hashable, Sendable {
    public enum Health: UInt8, Sendable, CaseIterable {
      case up = 0
      /// Connected, but its answers are late.
      case slow = 1
      case unreachable = 2
      /// A node with another identity answers at its address.
      case replaced = 3
      /// Connected, but it did not answer a probe, neither directly nor through others.
      case suspect = 4
      /// It did not refute that in time.
      case dead = 5

      /// What is asked of it is answered, if late.
      public var isReachable: Bool {
        switch self {
        case .up, .slow, .suspect: true
        case .unreachable, .replaced, .dead: false
        }
      }

      /// It is not there, as far as the link or gossip can tell.
      public var isGone: Bool {
        switch self {
        case .unreachable, .dead: true
        case .up, .slow, .suspect, .replaced: false
        }
      }
    }

    public var node: NodeID
    public var health: Health
    /// For how long it has been so.
    public var sinceMs: UInt64

    public init(node: NodeID, health: Health, sinceMs: UInt64) {
      self.node = node
      self.health = health
      self.sinceMs = sinceMs
    }
  }

  /// What waits at this node for another one that missed it.
  public struct Waiting: Hashable, Sendable {
    public var node: NodeID
    /// Keys with a hint of their own.
    public var keys: UInt64
    /// Dirty Merkle leaves: hints that found no room.
    public var marks: UInt64
    /// For how long the oldest has waited, since this node's start.
    public var ageMs: UInt64

    public init(node: NodeID, keys: UInt64, marks: UInt64, ageMs: UInt64) {
      self.node = node
      self.keys = keys
      self.marks = marks
      self.ageMs = ageMs
    }
  }

  /// What the node measured of itself.
  public struct Measurements: Hashable, Sendable {
    public var uptimeMs: UInt64 = 0
    public var diskUsedBytes: UInt64 = 0
    public var diskTotalBytes: UInt64 = 0
    public var dataBytes: UInt64 = 0
    /// RocksDB's estimate.
    public var keys: UInt64 = 0
    /// Of the last minute, as coordinator; 0 = no requests.
    public var readP99Us: UInt64 = 0
    public var writeP99Us: UInt64 = 0
    /// How long ago the partition that waits longest was compared with another owner; `.max` when one never was since
    /// the start, 0 when there is nothing to compare.
    public var repairAgeMs: UInt64 = 0
    /// Hints, by the node that they are for. Invariant: ascending by node id.
    public var hints: [Waiting] = []

    /// Keys and leaves that wait for other nodes.
    public var hintsWaiting: UInt64 { hints.reduce(0) { $0 &+ $1.keys &+ $1.marks } }

    /// Adds what one shard holds for a node.
    public mutating func add(_ waiting: Waiting) {
      guard let index = hints.firstIndex(where: { $0.node >= waiting.node }) else { return hints.append(waiting) }
      guard hints[index].node == waiting.node else { return hints.insert(waiting, at: index) }
      hints[index].keys &+= waiting.keys
      hints[index].marks &+= waiting.marks
      hints[index].ageMs = max(hints[index].ageMs, waiting.ageMs)
    }
    /// Requests that it coordinated and that have ended, since its start.
    public var reads: UInt64 = 0
    public var writes: UInt64 = 0
    /// Only its disk's reserve is left: it refuses clients' values.
    public var isDiskNearlyFull = false
    /// Partitions that it owns a copy of, and those of them that are whole; keys of the others that it may lack.
    public var partitionsOwned: UInt32 = 0
    public var partitionsWhole: UInt32 = 0
    public var keysMissing: UInt64 = 0

    /// Its copy may lack something, which it pulls from the other owners.
    public var isRebuilding: Bool { partitionsWhole < partitionsOwned || keysMissing > 0 }

    public init() {}
  }

  /// The node as a member: what it would bring into a layout.
  public var member: Member
  public var state: State
  public var cluster: ClusterID
  public var layoutVersion: UInt32
  public var settings: ClusterSettings
  public var generation: Generation
  public var shards: UInt16
  public var syncs: Bool
  public var release: String
  /// For `stranger`: the id that is expected here.
  public var expected: NodeID
  public var measurements: Measurements
  /// Invariant: ascending by node id.
  public var peers: [Peer]

  public init(
    member: Member, state: State, cluster: ClusterID, layoutVersion: UInt32, settings: ClusterSettings,
    generation: Generation, shards: UInt16, syncs: Bool, release: String, expected: NodeID = NodeID(0),
    measurements: Measurements = Measurements(), peers: [Peer] = []
  ) {
    self.member = member
    self.state = state
    self.cluster = cluster
    self.layoutVersion = layoutVersion
    self.settings = settings
    self.generation = generation
    self.shards = shards
    self.syncs = syncs
    self.release = release
    self.expected = expected
    self.measurements = measurements
    self.peers = peers.sorted { $0.node < $1.node }
  }
}

// | size | field |
// |---|---|
// | … | member |
// | 1 | state |
// | 8, 4 | cluster id, layout version |
// | … | settings |
// | 24 | generation |
// | 2 | shards |
// | 1 | syncs before it acknowledges |
// | 2+n | release |
// | 8 | expected node id |
// | 10·8 | uptime ms, disk used, disk total, data bytes, keys, read p99 µs, write p99 µs, repair age ms, reads, writes |
// | 1 | disk nearly full |
// | 2 | peers, then for each: node id 8, health 1, since ms 8 |
// | 2 | nodes that hints wait for, then for each: node id 8, keys 8, leaves 8, age ms 8 |
// | 4, 4, 8 | only while it rebuilds: partitions owned, whole, keys missing |
extension NodeDescription {
  func encode(into bytes: inout [UInt8]) {
    member.encode(into: &bytes)
    bytes.append(state.rawValue)
    bytes.append(integer: cluster.value)
    bytes.append(integer: layoutVersion)
    settings.encode(into: &bytes)
    generation.encode(into: &bytes)
    bytes.append(integer: shards)
    bytes.append(bool: syncs)
    bytes.append(text: release, max: Hello.agentBytesMax)
    bytes.append(integer: expected.value)
    for value in [
      measurements.uptimeMs, measurements.diskUsedBytes, measurements.diskTotalBytes, measurements.dataBytes,
      measurements.keys, measurements.readP99Us, measurements.writeP99Us, measurements.repairAgeMs,
      measurements.reads, measurements.writes,
    ] { bytes.append(integer: value) }
    bytes.append(bool: measurements.isDiskNearlyFull)
    bytes.append(integer: UInt16(peers.count))
    for peer in peers {
      bytes.append(integer: peer.node.value)
      bytes.append(peer.health.rawValue)
      bytes.append(integer: peer.sinceMs)
    }
    bytes.append(integer: UInt16(measurements.hints.count))
    for waiting in measurements.hints {
      for value in [waiting.node.value, waiting.keys, waiting.marks, waiting.ageMs] { bytes.append(integer: value) }
    }
    guard measurements.isRebuilding else { return }
    bytes.append(integer: measurements.partitionsOwned)
    bytes.append(integer: measurements.partitionsWhole)
    bytes.append(integer: measurements.keysMissing)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    member = try Member(from: &reader)
    let stateTag = try reader.u8()
    guard let state = State(rawValue: stateTag) else { throw .unknownTag(stateTag) }
    self.state = state
    cluster = ClusterID(try reader.u64())
    layoutVersion = try reader.u32()
    settings = try ClusterSettings(from: &reader)
    generation = try Generation(from: &reader)
    shards = try reader.u16()
    syncs = try reader.bool()
    release = try reader.text(max: Hello.agentBytesMax)
    expected = NodeID(try reader.u64())
    measurements = Measurements()
    measurements.uptimeMs = try reader.u64()
    measurements.diskUsedBytes = try reader.u64()
    measurements.diskTotalBytes = try reader.u64()
    measurements.dataBytes = try reader.u64()
    measurements.keys = try reader.u64()
    measurements.readP99Us = try reader.u64()
    measurements.writeP99Us = try reader.u64()
    measurements.repairAgeMs = try reader.u64()
    measurements.reads = try reader.u64()
    measurements.writes = try reader.u64()
    measurements.isDiskNearlyFull = try reader.bool()
    let count = Int(try reader.u16())
    guard count <= Limits.membersMax else { throw .outOfBounds }
    peers = []
    for _ in 0..<count {
      let node = NodeID(try reader.u64())
      guard peers.last.map({ $0.node < node }) ?? true else { throw .notCanonical }
      let tag = try reader.u8()
      guard let health = Peer.Health(rawValue: tag) else { throw .unknownTag(tag) }
      peers.append(Peer(node: node, health: health, sinceMs: try reader.u64()))
    }
    let targets = Int(try reader.u16())
    guard targets <= Limits.membersMax else { throw .outOfBounds }
    for _ in 0..<targets {
      let node = NodeID(try reader.u64())
      guard measurements.hints.last.map({ $0.node < node }) ?? true else { throw .notCanonical }
      let (keys, marks) = (try reader.u64(), try reader.u64())
      measurements.hints.append(Waiting(node: node, keys: keys, marks: marks, ageMs: try reader.u64()))
    }
    if reader.remaining == 0 { return }
    measurements.partitionsOwned = try reader.u32()
    measurements.partitionsWhole = try reader.u32()
    measurements.keysMissing = try reader.u64()
    guard measurements.isRebuilding else { throw .notCanonical }
  }
}
