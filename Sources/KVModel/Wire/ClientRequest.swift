/// How many owners a request waits for.
public enum Quorum: Hashable, Sendable {
  /// The cluster's R or W.
  case quorum
  /// So many owners; `one` is `.owners(1)`.
  case owners(UInt8)
  /// Every owner.
  case all

  /// The number of owners, given the cluster's default and N.
  public func count(default quorum: Int, replication: Int) -> Int {
    switch self {
    case .quorum: quorum
    case .owners(let count): Int(count)
    case .all: replication
    }
  }

  // On the wire: 254 quorum, 255 all, otherwise the number. Zero travels as zero, so that the node refuses it; a number
  // that would read as a word is sent as 253, which is above every N and refused too.
  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .quorum: bytes.append(254)
    case .owners(let count): bytes.append(min(count, 253))
    case .all: bytes.append(255)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    switch try reader.u8() {
    case 254: self = .quorum
    case 255: self = .all
    case let count: self = .owners(count)
    }
  }
}

/// A put or a delete, as a client asks for it.
public struct WriteRequest: Hashable, Sendable {
  public enum Payload: Hashable, Sendable {
    /// A value and its XXH3-64, made where the value was made.
    case put([UInt8], checksum: UInt64)
    case delete
  }

  public var key: Key
  public var quorum: Quorum
  public var requestID: RequestID
  /// This request id was sent before, perhaps to another node: whether it was applied must be found out first.
  public var isRetry: Bool
  /// nil: overwrite all that the write quorum holds. Otherwise: replace exactly what was read.
  public var context: ContextToken?
  /// Time to live in milliseconds, fixed to an absolute time by the coordinator.
  public var ttlMs: UInt64?
  public var payload: Payload

  public init(
    key: Key, quorum: Quorum = .quorum, requestID: RequestID, isRetry: Bool = false, context: ContextToken? = nil,
    ttlMs: UInt64? = nil, payload: Payload
  ) {
    self.key = key
    self.quorum = quorum
    self.requestID = requestID
    self.isRetry = isRetry
    self.context = context
    self.ttlMs = ttlMs
    self.payload = payload
  }
}

/// What a client asks of a node.
///
/// | type | body |
/// |---|---|
/// | get | R 1 (254 = quorum, 255 = all), key |
/// | put | key, W 1, request id 16, retry 1, ttl ms 8 (all ones = none), context 4+n (length 0xffffffff = no context), checksum 8, value 4+n |
/// | delete | as put, without ttl, checksum and value |
/// | explain | key |
/// | describe, fetchLayout | nothing |
/// | reserveCluster | cluster id 8 |
/// | formCluster | layout, secret 16 |
/// | repair | see `RepairRequest` |
///
/// A key is namespace 2, length of its partition key 2, of its sort key 2, and their bytes.
public enum ClientRequest: Hashable, Sendable {
  case get(Key, Quorum)
  case write(WriteRequest)
  /// What each owner of a key holds. Never repairs.
  case explain(Key)
  /// What the node says of itself and of its peers.
  case describe
  /// The layout and its partition table.
  case fetchLayout
  /// First step of `kvctl cluster init`: hold this node for a cluster for ten seconds.
  case reserveCluster(ClusterID)
  /// Second step: accept layout version 1.
  indirect case formCluster(Layout, ClusterSecret)
  /// What a shard's copies are, and how they are compared.
  case repair(RepairRequest)

  /// The key that decides which shard runs this request; nil for what concerns the node.
  public var key: Key? {
    switch self {
    case .get(let key, _), .explain(let key): key
    case .write(let write): write.key
    case .describe, .fetchLayout, .reserveCluster, .formCluster, .repair: nil
    }
  }

  /// A write that was sent before.
  public var isRetry: Bool { if case .write(let write) = self { write.isRetry } else { false } }

  public var frameType: FrameType {
    switch self {
    case .get: .get
    case .write(let write): write.payload == .delete ? .delete : .put
    case .explain: .explain
    case .describe: .describe
    case .fetchLayout: .fetchLayout
    case .reserveCluster: .reserveCluster
    case .formCluster: .formCluster
    case .repair: .repair
    }
  }

  public func encode(into bytes: inout [UInt8]) {
    switch self {
    case .get(let key, let quorum):
      quorum.encode(into: &bytes)
      key.encode(into: &bytes)
    case .write(let write): write.encode(into: &bytes)
    case .explain(let key): key.encode(into: &bytes)
    case .describe, .fetchLayout: break
    case .reserveCluster(let cluster): bytes.append(integer: cluster.value)
    case .formCluster(let layout, let secret):
      layout.encode(into: &bytes)
      secret.encode(into: &bytes)
    case .repair(let repair): repair.encode(into: &bytes)
    }
  }

  /// Decodes the body of a frame of type `type`; throws `unknownTag` for a type that is no client's request.
  public init(_ type: FrameType, _ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    switch type {
    case .get:
      let quorum = try Quorum(from: &reader)
      self = .get(try Key(from: &reader), quorum)
    case .put, .delete: self = .write(try WriteRequest(from: &reader, isDelete: type == .delete))
    case .explain: self = .explain(try Key(from: &reader))
    case .describe: self = .describe
    case .fetchLayout: self = .fetchLayout
    case .reserveCluster: self = .reserveCluster(ClusterID(try reader.u64()))
    case .formCluster:
      let layout = try Layout(from: &reader)
      self = .formCluster(layout, try ClusterSecret(from: &reader))
    case .repair: self = .repair(try RepairRequest(from: &reader))
    case .hello, .welcome, .refused, .goAway, .ping, .pong, .cancel, .value, .written, .failed, .explained, .described,
      .layout, .done, .reserved, .repaired, .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply,
      .forwarded,
      .forwardedReply, .requestCheck, .requestCheckReply, .treeCompare,
      .treeDiffering, .leafList, .leafListed, .treeDeclined, .treeGaps, .treeGapsKnown, .treeRoots, .hintOffer,
      .hintWanted,
      .hintDeclined, .claim, .verdict,
      .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush, .gossipPull, .visit, .visited:
      throw .unknownTag(type.rawValue)
    }
    try reader.end()
  }
}

extension WriteRequest {
  /// Not zero: a time to live of zero must reach the node, so that it is refused and not kept for ever.
  private static let noTTL = UInt64.max

  func encode(into bytes: inout [UInt8]) {
    key.encode(into: &bytes)
    quorum.encode(into: &bytes)
    requestID.encode(into: &bytes)
    bytes.append(bool: isRetry)
    if payload != .delete { bytes.append(integer: ttlMs ?? WriteRequest.noTTL) }
    ContextToken.encode(context, into: &bytes)
    guard case .put(let value, let checksum) = payload else { return }
    bytes.append(integer: checksum)
    bytes.append(blob: value)
  }

  init(from reader: inout ByteReader, isDelete: Bool) throws(DecodeError) {
    key = try Key(from: &reader)
    quorum = try Quorum(from: &reader)
    requestID = try RequestID(from: &reader)
    isRetry = try reader.bool()
    let ttl = isDelete ? WriteRequest.noTTL : try reader.u64()
    ttlMs = ttl == WriteRequest.noTTL ? nil : ttl
    context = try ContextToken.optional(from: &reader)
    guard !isDelete else {
      payload = .delete
      return
    }
    let checksum = try reader.u64()
    payload = .put(try reader.blob(max: Limits.requestBytesMax), checksum: checksum)
  }
}

/// A token that may be missing: length 4, bytes; length 0xffffffff and no bytes when there is none. No context and the
/// empty context are different things.
extension ContextToken {
  private static let absent = UInt32.max

  static func encode(_ token: ContextToken?, into bytes: inout [UInt8]) {
    if let token { bytes.append(blob: token.bytes) } else { bytes.append(integer: absent) }
  }

  static func optional(from reader: inout ByteReader) throws(DecodeError) -> ContextToken? {
    let count = try reader.u32()
    if count == absent { return nil }
    let bytes = try reader.bytes(Int(count))
    do { return try ContextToken(bytes: bytes) } catch { throw .invalidContext }
  }
}
