/// What was added to revision 1 where it changes bytes that an older release reads strictly: sent only to who says that it
/// reads it. Bits are append-only; those that are not known here mean nothing.
public struct WireFeatures: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// `written` may go on with what lay beside the write, and whether a retry found it.
  public static let receiptsTellMore = WireFeatures(rawValue: 1)

  /// `treeRoots` is answered.
  public static let rootsAtOnce = WireFeatures(rawValue: 2)

  /// All that this release reads.
  public static let read: WireFeatures = [.receiptsTellMore, .rootsAtOnce]
}

/// The first frame of whoever connects.
///
/// | size | field |
/// |---|---|
/// | 8 | "RINGKV\r\n" |
/// | 1, 1 | lowest and highest revision spoken |
/// | 1 | role: 0 client, 1 peer |
/// | 8 | cluster id; 0 = a client that takes any, a node that belongs to none |
/// | 8, 8 | peers: own node id, node id expected at the other end; clients: 0 |
/// | 24 | peers: generation (number, nonce, predecessor); clients: 0 |
/// | 2, 2 | peers: index of the loop that this link serves, number of loops |
/// | 8 | peers: own monotonic clock, ms: the clock of the deadlines in what is asked of them; clients: 0 |
/// | 8 | features that the sender reads, see `WireFeatures` |
/// | 2+n | agent: name and release, for logs |
public struct Hello: Hashable, Sendable {
  public enum Role: UInt8, Sendable {
    case client = 0
    case peer = 1
  }

  public var lowestRevision: UInt8
  public var highestRevision: UInt8
  public var role: Role
  public var cluster: ClusterID
  public var node: NodeID
  public var expected: NodeID
  public var generation: Generation
  public var shard: UInt16
  public var shards: UInt16
  public var clockMs: UInt64
  public var features: WireFeatures
  public var agent: String

  static let magic: [UInt8] = Array("RINGKV\r\n".utf8)
  static let agentBytesMax = 128

  /// The greeting of a client.
  public init(client agent: String, cluster: ClusterID = .none) {
    self.init(
      role: .client, cluster: cluster, node: NodeID(0), expected: NodeID(0),
      generation: Generation(number: 0, nonce: 0, predecessor: 0), shard: 0, shards: 0, clockMs: 0, agent: agent)
  }

  public init(
    role: Role, cluster: ClusterID, node: NodeID, expected: NodeID, generation: Generation, shard: UInt16,
    shards: UInt16, clockMs: UInt64, agent: String
  ) {
    lowestRevision = FrameHeader.currentRevision
    highestRevision = FrameHeader.currentRevision
    self.role = role
    self.cluster = cluster
    self.node = node
    self.expected = expected
    self.generation = generation
    self.shard = shard
    self.shards = shards
    self.clockMs = clockMs
    self.features = .read
    self.agent = agent
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(contentsOf: Hello.magic)
    bytes.append(lowestRevision)
    bytes.append(highestRevision)
    bytes.append(role.rawValue)
    bytes.append(integer: cluster.value)
    bytes.append(integer: node.value)
    bytes.append(integer: expected.value)
    generation.encode(into: &bytes)
    bytes.append(integer: shard)
    bytes.append(integer: shards)
    bytes.append(integer: clockMs)
    bytes.append(integer: features.rawValue)
    bytes.append(text: agent, max: Hello.agentBytesMax)
  }

  public init(_ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    guard try reader.view(Hello.magic.count).elementsEqual(Hello.magic) else { throw .badMagic }
    lowestRevision = try reader.u8()
    highestRevision = try reader.u8()
    let tag = try reader.u8()
    guard let role = Role(rawValue: tag) else { throw .unknownTag(tag) }
    self.role = role
    cluster = ClusterID(try reader.u64())
    node = NodeID(try reader.u64())
    expected = NodeID(try reader.u64())
    generation = try Generation(from: &reader)
    shard = try reader.u16()
    shards = try reader.u16()
    clockMs = try reader.u64()
    features = WireFeatures(rawValue: try reader.u64())
    agent = try reader.text(max: Hello.agentBytesMax)
    try reader.end()
    guard lowestRevision <= highestRevision else { throw .outOfBounds }
    // A peer's number of loops is divided by; zero of them must not get that far.
    guard role == .client || ((1...256).contains(shards) && shard < shards) else { throw .outOfBounds }
  }

  /// Whether both sides can talk: the current revision lies in the range offered.
  public var speaksCurrentRevision: Bool {
    (lowestRevision...highestRevision).contains(FrameHeader.currentRevision)
  }
}

/// The answer to HELLO.
///
/// | size | field |
/// |---|---|
/// | 8 | "RINGKV\r\n" |
/// | 1 | revision from now on |
/// | 8 | cluster id, 0 = none |
/// | 8 | node id |
/// | 24 | generation |
/// | 2 | number of loops (shards) |
/// | 4 | layout version, 0 = none |
/// | 8 | the node's monotonic clock, ms: the clock of deadlines |
/// | 8 | the node's wall clock, ms |
/// | 4 | most bytes of a request's body |
/// | 8 | features that the node reads |
/// | 2+n | agent |
public struct Welcome: Hashable, Sendable {
  public var revision: UInt8
  public var cluster: ClusterID
  public var node: NodeID
  public var generation: Generation
  public var shards: UInt16
  public var layoutVersion: UInt32
  public var clockMs: UInt64
  public var wall: WallTime
  public var requestBytesMax: UInt32
  public var features: WireFeatures
  public var agent: String

  public init(
    cluster: ClusterID, node: NodeID, generation: Generation, shards: UInt16, layoutVersion: UInt32, now: Now,
    agent: String
  ) {
    revision = FrameHeader.currentRevision
    self.cluster = cluster
    self.node = node
    self.generation = generation
    self.shards = shards
    self.layoutVersion = layoutVersion
    clockMs = now.instant.milliseconds
    wall = now.wall
    requestBytesMax = UInt32(Limits.requestBytesMax)
    features = .read
    self.agent = agent
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(contentsOf: Hello.magic)
    bytes.append(revision)
    bytes.append(integer: cluster.value)
    bytes.append(integer: node.value)
    generation.encode(into: &bytes)
    bytes.append(integer: shards)
    bytes.append(integer: layoutVersion)
    bytes.append(integer: clockMs)
    bytes.append(integer: wall.milliseconds)
    bytes.append(integer: requestBytesMax)
    bytes.append(integer: features.rawValue)
    bytes.append(text: agent, max: Hello.agentBytesMax)
  }

  public init(_ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    guard try reader.view(Hello.magic.count).elementsEqual(Hello.magic) else { throw .badMagic }
    revision = try reader.u8()
    // Before the rest, whose form a later revision may change.
    guard revision == FrameHeader.currentRevision else { throw .unknownRevision(revision) }
    cluster = ClusterID(try reader.u64())
    node = NodeID(try reader.u64())
    generation = try Generation(from: &reader)
    shards = try reader.u16()
    layoutVersion = try reader.u32()
    clockMs = try reader.u64()
    wall = WallTime(milliseconds: try reader.u64())
    requestBytesMax = try reader.u32()
    features = WireFeatures(rawValue: try reader.u64())
    agent = try reader.text(max: Hello.agentBytesMax)
    try reader.end()
    guard shards >= 1, shards <= 256 else { throw .outOfBounds }
  }
}

/// Why a connection was turned away; the connection closes behind it. Body: reason 1, detail 2+n, and 4 of when to try
/// again, milliseconds, where something is known.
public struct Refusal: Hashable, Sendable {
  public enum Reason: UInt8, Sendable {
    /// The first frame was not a HELLO, or not our protocol.
    case notHello = 1
    /// No revision that both sides speak.
    case unknownRevision = 2
    case otherCluster = 3
    /// The node at this address is not the one that the caller expected: its data directory was replaced.
    case otherNode = 4
    /// The caller is no member of this node's layout.
    case notMember = 5
    case tooManyConnections = 6
    case malformedFrame = 7
    case frameTooLarge = 8
    case shuttingDown = 9
    /// Another process with this node id is connected.
    case duplicateNode = 10
    case helloTimeout = 11
  }

  public var reason: Reason
  public var detail: String
  /// When to try again, milliseconds; 0 = nothing is known.
  public var retryAfterMs: UInt32

  public init(_ reason: Reason, _ detail: String, retryAfterMs: UInt32 = 0) {
    self.reason = reason
    self.detail = detail
    self.retryAfterMs = retryAfterMs
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(reason.rawValue)
    bytes.append(text: detail, max: Failure.detailBytesMax)
    if retryAfterMs > 0 { bytes.append(integer: retryAfterMs) }
  }

  public init(_ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    let tag = try reader.u8()
    guard let reason = Reason(rawValue: tag) else { throw .unknownTag(tag) }
    self.reason = reason
    detail = try reader.text(max: Failure.detailBytesMax)
    retryAfterMs = 0
    guard reader.remaining > 0 else { return }
    retryAfterMs = try reader.u32()
    try reader.end()
    guard retryAfterMs > 0 else { throw .notCanonical }
  }
}
