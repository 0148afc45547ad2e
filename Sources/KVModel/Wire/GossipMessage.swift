/// Something that a node has heard of another one and passes on.
public struct Rumour: Hashable, Sendable {
  public var entry: MemberEntry
  /// Of a suspicion: who got no answer. Accusers that differ confirm each other. Otherwise zero.
  public var accuser: NodeID

  public init(_ entry: MemberEntry, accuser: NodeID = NodeID(0)) {
    self.entry = entry
    self.accuser = accuser
  }
}

/// What nodes say to each other to find out who lives: SWIM over the links of the first shards.
///
/// Every body begins with
///
/// | size | field |
/// |---|---|
/// | 8 | cluster id |
/// | 4, 8 | version and digest of the sender's layout |
/// | 4 | number of the probe |
/// | … | the sender's own entry, alive |
///
/// and goes on with
///
/// | type | body |
/// |---|---|
/// | gossipPing, gossipAck, gossipNack | rumours |
/// | gossipAsk | node to be pinged 8, rumours |
/// | gossipPush, gossipPull | number of entries 2, then each |
///
/// where rumours are: number 1, then each: entry, accuser 8.
public struct GossipMessage: Hashable, Sendable {
  public enum Content: Hashable, Sendable {
    /// Is the receiver there? Answered by an ack.
    case ping([Rumour])
    case ack([Rumour])
    /// Ping that node for me; answered by an ack when it answers, by a nack when it does not.
    case ask(NodeID, [Rumour])
    case nack([Rumour])
    /// A whole table; answered by a pull with the receiver's.
    case push([MemberEntry])
    case pull([MemberEntry])
  }

  public var cluster: ClusterID
  public var layoutVersion: UInt32
  public var layoutDigest: UInt64
  public var probe: UInt32
  public var sender: MemberEntry
  public var content: Content

  public init(
    cluster: ClusterID, layoutVersion: UInt32, layoutDigest: UInt64, probe: UInt32, sender: MemberEntry,
    content: Content
  ) {
    self.cluster = cluster
    self.layoutVersion = layoutVersion
    self.layoutDigest = layoutDigest
    self.probe = probe
    self.sender = sender
    self.content = content
  }

  /// Rumours in one frame.
  public static let rumoursMax = 32

  public var frameType: FrameType {
    switch content {
    case .ping: .gossipPing
    case .ack: .gossipAck
    case .ask: .gossipAsk
    case .nack: .gossipNack
    case .push: .gossipPush
    case .pull: .gossipPull
    }
  }
}

extension GossipMessage {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: cluster.value)
    bytes.append(integer: layoutVersion)
    bytes.append(integer: layoutDigest)
    bytes.append(integer: probe)
    sender.encode(into: &bytes)
    switch content {
    case .ping(let rumours), .ack(let rumours), .nack(let rumours):
      GossipMessage.encode(rumours, into: &bytes)
    case .ask(let node, let rumours):
      bytes.append(integer: node.value)
      GossipMessage.encode(rumours, into: &bytes)
    case .push(let entries), .pull(let entries):
      bytes.append(integer: UInt16(entries.count))
      for entry in entries { entry.encode(into: &bytes) }
    }
  }

  private static func encode(_ rumours: [Rumour], into bytes: inout [UInt8]) {
    bytes.append(UInt8(rumours.count))
    for rumour in rumours {
      rumour.entry.encode(into: &bytes)
      bytes.append(integer: rumour.accuser.value)
    }
  }

  init(_ type: FrameType, from reader: inout ByteReader) throws(DecodeError) {
    cluster = ClusterID(try reader.u64())
    layoutVersion = try reader.u32()
    layoutDigest = try reader.u64()
    probe = try reader.u32()
    sender = try MemberEntry(from: &reader)
    switch type {
    case .gossipPing: content = .ping(try GossipMessage.rumours(from: &reader))
    case .gossipAck: content = .ack(try GossipMessage.rumours(from: &reader))
    case .gossipNack: content = .nack(try GossipMessage.rumours(from: &reader))
    case .gossipAsk:
      let node = NodeID(try reader.u64())
      content = .ask(node, try GossipMessage.rumours(from: &reader))
    case .gossipPush: content = .push(try GossipMessage.table(from: &reader))
    case .gossipPull: content = .pull(try GossipMessage.table(from: &reader))
    default: throw .unknownTag(type.rawValue)
    }
  }

  private static func rumours(from reader: inout ByteReader) throws(DecodeError) -> [Rumour] {
    let count = Int(try reader.u8())
    guard count <= rumoursMax else { throw .outOfBounds }
    var rumours: [Rumour] = []
    for _ in 0..<count {
      let entry = try MemberEntry(from: &reader)
      rumours.append(Rumour(entry, accuser: NodeID(try reader.u64())))
    }
    return rumours
  }

  /// A table, ascending by node.
  static func table(from reader: inout ByteReader) throws(DecodeError) -> [MemberEntry] {
    let count = Int(try reader.u16())
    guard count <= Limits.membersMax else { throw .outOfBounds }
    var entries: [MemberEntry] = []
    for _ in 0..<count {
      let entry = try MemberEntry(from: &reader)
      guard entries.last.map({ $0.node < entry.node }) ?? true else { throw .notCanonical }
      entries.append(entry)
    }
    return entries
  }
}

extension Layout {
  /// Tells layouts apart: nodes compare it, so that a cluster that has come apart shows.
  public var digest: UInt64 {
    var bytes: [UInt8] = []
    encode(into: &bytes)
    return Checksum.of(bytes)
  }
}
