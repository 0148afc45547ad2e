/// What nodes say to each other about themselves: from `Control` to `Control`, over the links of the first shards.
///
/// | type | body |
/// |---|---|
/// | claim | generation 24, confirmed 1, number of ancestors 1, then nonces 8·n, latest first |
/// | verdict | nonce of the claim 8, state 1 (0 accepted, 1 refused, 2 cannot tell); if refused, the generation known 24 |
/// | gossip… | see `GossipMessage` |
/// | visit | empty |
/// | visited | belongs to a cluster 1; if so: see `Visit` |
public enum ControlMessage: Hashable, Sendable {
  case claim(GenerationClaim)
  case verdict(GenerationVerdict, onNonce: UInt64)
  case gossip(GossipMessage)
  /// From a node without a cluster to one of its seeds.
  case visit
  /// Nil from a node that belongs to no cluster.
  case visited(Visit?)

  public var frameType: FrameType {
    switch self {
    case .claim: .claim
    case .verdict: .verdict
    case .gossip(let message): message.frameType
    case .visit: .visit
    case .visited: .visited
    }
  }
}

extension ControlMessage {
  public func encode(into bytes: inout [UInt8]) {
    switch self {
    case .claim(let claim):
      claim.generation.encode(into: &bytes)
      bytes.append(bool: claim.isConfirmed)
      bytes.append(UInt8(claim.ancestors.count))
      for nonce in claim.ancestors { bytes.append(integer: nonce) }
    case .verdict(let verdict, let nonce):
      bytes.append(integer: nonce)
      switch verdict {
      case .accepted: bytes.append(0)
      case .refused(let known):
        bytes.append(1)
        known.encode(into: &bytes)
      case .cannotTell: bytes.append(2)
      }
    case .gossip(let message): message.encode(into: &bytes)
    case .visit: break
    case .visited(let visit):
      bytes.append(bool: visit != nil)
      visit?.encode(into: &bytes)
    }
  }

  /// Decodes the body of a frame of type `type`; throws `unknownTag` for a type that is not about nodes.
  public init(_ type: FrameType, _ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    switch type {
    case .claim: self = .claim(try GenerationClaim(from: &reader))
    case .verdict:
      let nonce = try reader.u64()
      self = .verdict(try GenerationVerdict(from: &reader), onNonce: nonce)
    case .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush, .gossipPull:
      self = .gossip(try GossipMessage(type, from: &reader))
    case .visit: self = .visit
    case .visited: self = .visited(try reader.bool() ? try Visit(from: &reader) : nil)
    case .hello, .welcome, .refused, .goAway, .ping, .pong, .cancel, .get, .put, .delete, .explain, .describe,
      .fetchLayout, .reserveCluster, .formCluster, .repair, .value, .written, .failed, .explained, .described, .layout,
      .done,
      .reserved, .repaired, .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply, .forwarded,
      .forwardedReply,
      .requestCheck, .requestCheckReply, .treeCompare, .treeDiffering, .leafList, .leafListed, .treeDeclined,
      .treeGaps, .treeGapsKnown, .treeRoots, .hintOffer, .hintWanted, .hintDeclined:
      throw .unknownTag(type.rawValue)
    }
    try reader.end()
  }
}

extension GenerationClaim {
  init(from reader: inout ByteReader) throws(DecodeError) {
    generation = try Generation(from: &reader)
    isConfirmed = try reader.bool()
    let count = Int(try reader.u8())
    guard count <= GenerationClaim.ancestorsMax else { throw .outOfBounds }
    ancestors = []
    for _ in 0..<count { ancestors.append(try reader.u64()) }
  }
}

extension GenerationVerdict {
  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .accepted
    case 1: self = .refused(known: try Generation(from: &reader))
    case 2: self = .cannotTell
    case let tag: throw .unknownTag(tag)
    }
  }
}
