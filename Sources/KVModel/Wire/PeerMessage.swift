/// What nodes say to each other about keys. The header's request id names the asking operation and comes back in the
/// reply.
///
/// | type | body |
/// |---|---|
/// | replicaRead | longest record to send whole 4 (a longer one is answered by its digest), key |
/// | replicaReadReply | state 1 (0 record, 1 digest, 2 unreadable, 3 incomplete), then record 4+n or digest 16 |
/// | replicaWrite | purpose 1 (0 write, 1 repair), minted dot 20 (zeros for a repair), key, record 4+n |
/// | replicaWriteReply | state 1 (0 stored, 1 stored beside others, 2 refused, 3 contested), then stamp 8 and context 2+20·n, or `Failure` |
/// | forwarded | type of the client's frame 1, its body |
/// | forwardedReply | type of the reply's frame 1, its body |
/// | requestCheck | request id 16, key |
/// | requestCheckReply | known 1 (0 no, 1 yes, 2 cannot tell) |
/// | tree… , leaf… | see `TreeMessage` |
/// | hint… | see `HandoffMessage` |
/// | ping, pong | the sender's monotonic clock, ms 8 |
/// What is rare and large is indirect: each message is copied several times on its way.
public enum PeerMessage: Hashable, Sendable {
  case replicaRead(Key, inlineBytesMax: UInt32)
  case replicaReadReply(ReplicaReadReply)
  case replicaWrite(ReplicaWrite)
  case replicaWriteReply(ReplicaWriteReply)
  /// A client's request that reached a node which is no owner of its key. Forwarded once, never again.
  indirect case forwarded(ClientRequest)
  indirect case forwardedReply(ClientResponse)
  /// Whether a write with this request id was applied to this key within the last minute.
  case requestCheck(RequestID, Key)
  case requestCheckReply(RequestCheckReply)
  /// Where owners find out in what their copies differ.
  case tree(TreeMessage)
  /// How a node that was away gets what it missed.
  case handoff(HandoffMessage)
  /// Asked of a peer that has been silent; any reply shows that it is there.
  case ping(clockMs: UInt64)
  case pong(clockMs: UInt64)

  public var frameType: FrameType {
    switch self {
    case .replicaRead: .replicaRead
    case .replicaReadReply: .replicaReadReply
    case .replicaWrite: .replicaWrite
    case .replicaWriteReply: .replicaWriteReply
    case .forwarded: .forwarded
    case .forwardedReply: .forwardedReply
    case .requestCheck: .requestCheck
    case .requestCheckReply: .requestCheckReply
    case .tree(let message): message.frameType
    case .handoff(let message): message.frameType
    case .ping: .ping
    case .pong: .pong
    }
  }

  /// As a reader of these features understands it.
  @inlinable
  public func told(to features: WireFeatures) -> PeerMessage {
    guard case .forwardedReply(let response) = self else { return self }
    return .forwardedReply(response.told(to: features))
  }

  /// What the asker goes on with where the peer does not read its question; nil where it does. Roots that cannot be asked
  /// about together count as different, so that each is asked about by itself.
  @inlinable
  public func answer(inPlaceOf features: WireFeatures) -> PeerMessage? {
    guard case .tree(.roots(let roots, let question)) = self, !features.contains(.rootsAtOnce) else { return nil }
    return .tree(.differing(roots.indices.map { UInt16($0) }, question: question))
  }

  /// The key that a question is about; a reply names none, it finds its way by its request id.
  public var key: Key? {
    switch self {
    case .replicaRead(let key, _), .requestCheck(_, let key): key
    case .replicaWrite(let write): write.key
    case .forwarded(let request): request.key
    case .replicaReadReply, .replicaWriteReply, .forwardedReply, .requestCheckReply, .tree, .handoff, .ping, .pong:
      nil
    }
  }
}

/// An owner's copy, or its digest.
public enum ReplicaReadReply: Hashable, Sendable {
  case record(EncodedRecord)
  case digest(Digest)
  /// The copy is damaged, or too long to be sent though it is incomplete; it counts towards no R.
  case unreadable
  /// What is held of the key, though it may lack something: it counts towards no R, and may be joined.
  case incomplete(EncodedRecord)
}

/// A record to be joined into an owner's copy.
public struct ReplicaWrite: Hashable, Sendable {
  public enum Purpose: Hashable, Sendable {
    /// A client's write: the version with this dot was just minted, and its stamp must lie within the bound.
    case write(minted: Dot)
    /// Repair: never refused for its stamps, never advances the clock.
    case repair
  }

  public var key: Key
  public var purpose: Purpose
  public var record: EncodedRecord

  public init(key: Key, purpose: Purpose, record: EncodedRecord) {
    self.key = key
    self.purpose = purpose
    self.record = record
  }
}

/// An owner's acknowledgement: the join is synced.
public enum ReplicaWriteReply: Hashable, Sendable {
  /// `beside`: what the owner holds and the write does not cover, nil when it covers all.
  case stored(beside: Beside?)
  /// Stored, but what was written has been replaced at this owner already: what the owner held before the write, and
  /// has gone with it, the owner cannot tell.
  case contested
  case refused(Failure)
}

/// The history of versions that stand beside a write, and the highest of their stamps: what an overwrite needs to
/// supersede them.
public struct Beside: Hashable, Sendable {
  public var history: VersionVector
  public var stamp: Stamp

  public init(history: VersionVector, stamp: Stamp) {
    self.history = history
    self.stamp = stamp
  }

  public mutating func join(_ other: Beside) {
    history.join(other.history)
    stamp = max(stamp, other.stamp)
  }
}

public enum RequestCheckReply: UInt8, Hashable, Sendable {
  /// It is not known here, and will not be: the owner has fenced it for the asker.
  case notSeen = 0
  case seen = 1
  /// Its copy is damaged, or an attempt is under way here.
  case cannotTell = 2
}

extension PeerMessage {
  public func encode(into bytes: inout [UInt8]) {
    switch self {
    case .replicaRead(let key, let inlineBytesMax):
      bytes.append(integer: inlineBytesMax)
      key.encode(into: &bytes)
    case .replicaReadReply(let reply): reply.encode(into: &bytes)
    case .replicaWrite(let write): write.encode(into: &bytes)
    case .replicaWriteReply(let reply): reply.encode(into: &bytes)
    case .forwarded(let request):
      bytes.append(request.frameType.rawValue)
      request.encode(into: &bytes)
    case .forwardedReply(let response):
      bytes.append(response.frameType.rawValue)
      response.encode(into: &bytes)
    case .requestCheck(let id, let key):
      id.encode(into: &bytes)
      key.encode(into: &bytes)
    case .requestCheckReply(let reply): bytes.append(reply.rawValue)
    case .tree(let message): message.encode(into: &bytes)
    case .handoff(let message): message.encode(into: &bytes)
    case .ping(let clockMs), .pong(let clockMs): bytes.append(integer: clockMs)
    }
  }

  /// Decodes the body of a frame of type `type`; throws `unknownTag` for a type that no peer sends.
  public init(_ type: FrameType, _ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    switch type {
    case .replicaRead:
      let inlineBytesMax = try reader.u32()
      self = .replicaRead(try Key(from: &reader), inlineBytesMax: inlineBytesMax)
    case .replicaReadReply: self = .replicaReadReply(try ReplicaReadReply(from: &reader))
    case .replicaWrite: self = .replicaWrite(try ReplicaWrite(from: &reader))
    case .replicaWriteReply: self = .replicaWriteReply(try ReplicaWriteReply(from: &reader))
    case .forwarded:
      let inner = try PeerMessage.innerType(&reader)
      self = .forwarded(try ClientRequest(inner, try reader.view(reader.remaining)))
    case .forwardedReply:
      let inner = try PeerMessage.innerType(&reader)
      self = .forwardedReply(try ClientResponse(inner, try reader.view(reader.remaining)))
    case .requestCheck:
      let id = try RequestID(from: &reader)
      self = .requestCheck(id, try Key(from: &reader))
    case .requestCheckReply:
      let tag = try reader.u8()
      guard let reply = RequestCheckReply(rawValue: tag) else { throw .unknownTag(tag) }
      self = .requestCheckReply(reply)
    case .treeCompare, .treeDiffering, .leafList, .leafListed, .treeDeclined, .treeGaps, .treeGapsKnown, .treeRoots:
      self = .tree(try TreeMessage(type, from: &reader))
    case .hintOffer, .hintWanted, .hintDeclined: self = .handoff(try HandoffMessage(type, from: &reader))
    case .ping: self = .ping(clockMs: try reader.u64())
    case .pong: self = .pong(clockMs: try reader.u64())
    case .hello, .welcome, .refused, .goAway, .cancel, .get, .put, .delete, .explain, .describe,
      .fetchLayout, .reserveCluster, .formCluster, .repair, .value, .written, .failed, .explained, .described, .layout,
      .done,
      .reserved, .repaired, .claim, .verdict, .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush,
      .gossipPull, .visit,
      .visited:
      throw .unknownTag(type.rawValue)
    }
    try reader.end()
  }

  private static func innerType(_ reader: inout ByteReader) throws(DecodeError) -> FrameType {
    let tag = try reader.u8()
    guard let type = FrameType(rawValue: tag) else { throw .unknownTag(tag) }
    return type
  }
}

extension ReplicaReadReply {
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .record(let record):
      bytes.append(0)
      bytes.append(blob: record.bytes)
    case .digest(let digest):
      bytes.append(1)
      digest.encode(into: &bytes)
    case .unreadable: bytes.append(2)
    case .incomplete(let record):
      bytes.append(3)
      bytes.append(blob: record.bytes)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .record(EncodedRecord(unverified: try reader.blob(max: Limits.recordBytesMax)))
    case 1: self = .digest(try Digest(from: &reader))
    case 2: self = .unreadable
    case 3: self = .incomplete(EncodedRecord(unverified: try reader.blob(max: Limits.recordBytesMax)))
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension ReplicaWrite {
  func encode(into bytes: inout [UInt8]) {
    switch purpose {
    case .write(let minted):
      bytes.append(0)
      minted.encode(into: &bytes)
    case .repair:
      bytes.append(1)
      Dot.none.encode(into: &bytes)
    }
    key.encode(into: &bytes)
    bytes.append(blob: record.bytes)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let tag = try reader.u8()
    let minted = try Dot(from: &reader)
    switch tag {
    case 0:
      // Every context covers a counter of zero, so it would pass for a dot that is there.
      guard minted.counter >= 1 else { throw .outOfBounds }
      purpose = .write(minted: minted)
    case 1:
      guard minted == .none else { throw .notCanonical }
      purpose = .repair
    default: throw .unknownTag(tag)
    }
    key = try Key(from: &reader)
    record = EncodedRecord(unverified: try reader.blob(max: Limits.recordBytesMax))
  }
}

extension ReplicaWriteReply {
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .stored(beside: nil): bytes.append(0)
    case .stored(beside: let beside?):
      bytes.append(1)
      bytes.append(integer: beside.stamp.bits)
      beside.history.encode(into: &bytes)
    case .refused(let failure):
      bytes.append(2)
      failure.encode(into: &bytes)
    case .contested: bytes.append(3)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 0: self = .stored(beside: nil)
    case 1:
      let stamp = Stamp(bits: try reader.u64())
      self = .stored(beside: Beside(history: try VersionVector(from: &reader), stamp: stamp))
    case 2: self = .refused(try Failure(from: &reader))
    case 3: self = .contested
    case let tag: throw .unknownTag(tag)
    }
  }
}

extension Dot {
  /// Stands on the wire where there is no dot.
  static let none = Dot(actor: Actor(node: NodeID(0), epoch: 0), counter: 0)

  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: actor.node.value)
    bytes.append(integer: actor.epoch)
    bytes.append(integer: counter)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    actor = Actor(node: NodeID(try reader.u64()), epoch: try reader.u32())
    counter = try reader.u64()
  }
}
