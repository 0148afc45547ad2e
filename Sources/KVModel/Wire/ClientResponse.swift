/// What a quorum read found.
public struct ReadAnswer: Hashable, Sendable {
  /// One concurrent version, as a user sees it.
  public struct Sibling: Hashable, Sendable {
    public var stamp: Stamp
    public var expiry: WallTime?
    /// XXH3-64 of the value, as the writer made it; 0 for a deleted one.
    public var checksum: UInt64
    /// nil: deleted or expired.
    public var value: Bytes?

    public init(stamp: Stamp, expiry: WallTime?, checksum: UInt64, value: Bytes?) {
      self.stamp = stamp
      self.expiry = expiry
      self.checksum = checksum
      self.value = value
    }
  }

  /// For the write that replaces what was read. There is one for an absent key too.
  public var context: ContextToken
  /// Every concurrent version, newest first. Empty: never written.
  public var siblings: [Sibling]

  public init(context: ContextToken, siblings: [Sibling]) {
    self.context = context
    self.siblings = siblings
  }

  /// The newest version that is alive; nil when the key is absent.
  public var value: [UInt8]? { siblings.lazy.compactMap(\.value).first?.copied }

  /// Whether the body of a `value` frame tells of a version that is alive: all that a load generator wants to know,
  /// without a copy of the value.
  public static func hasValue(in body: UnsafeRawBufferPointer) throws(DecodeError) -> Bool {
    var reader = ByteReader(body)
    _ = try reader.view(Int(try reader.u32()))
    for _ in 0..<(try reader.u16()) {
      _ = try reader.view(24)
      if try reader.bool() { return true }
    }
    try reader.end()
    return false
  }
}

/// What an acknowledged write brought about.
public struct Receipt: Hashable, Sendable {
  /// Whether other versions lay beside the write at the owners that acknowledged it, when they did.
  ///
  /// Of two acknowledged writes of a key of which neither replaced the other, at most one is told `absent`: their
  /// majorities share an owner, and there one of them came second.
  public enum Siblings: UInt8, Hashable, Sendable {
    /// A majority of the owners acknowledged, and none of them held another version.
    case absent = 0
    case present = 1
    /// None was seen, by fewer than a majority; or nobody looked, since the write was found applied.
    case unknown = 2
  }

  /// Covers the write and what it replaced, and nothing that its author has not seen. Nil when other versions lie beside
  /// it, or may: whoever wants to replace them reads them first.
  public var context: ContextToken?
  public var stamp: Stamp
  /// Owners that have synced it.
  public var acknowledgements: UInt8
  /// Owners that were not reached and for which a hint was noted.
  public var hints: UInt8
  public var siblings: Siblings
  /// An earlier attempt had been applied: this is what its retry found.
  public var wasFound: Bool

  public init(
    context: ContextToken?, stamp: Stamp, acknowledgements: UInt8, hints: UInt8, siblings: Siblings,
    wasFound: Bool = false
  ) {
    self.context = context
    self.stamp = stamp
    self.acknowledgements = acknowledgements
    self.hints = hints
    self.siblings = siblings
    self.wasFound = wasFound
  }
}

/// One owner's copy of a key, for `kvctl explain`.
public struct ReplicaView: Hashable, Sendable {
  public enum State: Hashable, Sendable {
    case record(EncodedRecord)
    case unreachable
    case unreadable
  }

  public var node: NodeID
  public var state: State

  public init(node: NodeID, state: State) {
    self.node = node
    self.state = state
  }
}

/// A node's reply to a client.
///
/// | type | body |
/// |---|---|
/// | value | context 4+n, siblings 2, then for each: stamp 8, expiry 8 (0 = never), checksum 8, alive 1, value 4+n if alive |
/// | written | context 4+n (length 0xffffffff = none), stamp 8, acknowledgements 1, hints 1; unless it is 2, 0: siblings 1 (0 absent, 1 present, 2 unknown), found applied 1 (`receiptsTellMore`) |
/// | failed | `Failure` |
/// | explained | owners 1, then for each: node id 8, state 1 (0 record, 1 unreachable, 2 unreadable), record 4+n if there is one |
/// | described | `NodeDescription` |
/// | layout | layout, partition table |
/// | done | nothing |
/// | reserved | member of that cluster already 1, secret 16 if it is |
/// | repaired | see `RepairAnswer` |
public enum ClientResponse: Hashable, Sendable {
  case value(ReadAnswer)
  case written(Receipt)
  case failed(Failure)
  case explained([ReplicaView])
  indirect case described(NodeDescription)
  indirect case layout(Layout, PartitionTable)
  case done
  /// The node is held for a cluster; a member of it tells the secret, so that an interrupted `init` can be finished.
  case reserved(ClusterSecret?)
  case repaired(RepairAnswer)

  public var frameType: FrameType {
    switch self {
    case .value: .value
    case .written: .written
    case .failed: .failed
    case .explained: .explained
    case .described: .described
    case .layout: .layout
    case .done: .done
    case .reserved: .reserved
    case .repaired: .repaired
    }
  }

  public func encode(into bytes: inout [UInt8]) {
    switch self {
    case .value(let answer): answer.encode(into: &bytes)
    case .written(let receipt): receipt.encode(into: &bytes)
    case .failed(let failure): failure.encode(into: &bytes)
    case .explained(let views):
      bytes.append(UInt8(views.count))
      for view in views { view.encode(into: &bytes) }
    case .described(let description): description.encode(into: &bytes)
    case .layout(let layout, let table):
      layout.encode(into: &bytes)
      table.encode(into: &bytes)
    case .done: break
    case .reserved(let secret):
      bytes.append(bool: secret != nil)
      secret?.encode(into: &bytes)
    case .repaired(let answer): answer.encode(into: &bytes)
    }
  }

  /// Decodes the body of a frame of type `type`; throws `unknownTag` for a type that is no reply to a client.
  public init(_ type: FrameType, _ body: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(body)
    switch type {
    case .value: self = .value(try ReadAnswer(from: &reader))
    case .written: self = .written(try Receipt(from: &reader))
    case .failed: self = .failed(try Failure(from: &reader))
    case .explained:
      var views: [ReplicaView] = []
      for _ in 0..<(try reader.u8()) { views.append(try ReplicaView(from: &reader)) }
      self = .explained(views)
    case .described: self = .described(try NodeDescription(from: &reader))
    case .layout:
      let layout = try Layout(from: &reader)
      let table = try PartitionTable(from: &reader, members: layout.members.count)
      // Clients index this table by partitions of that layout.
      guard table.partitionBits == layout.settings.partitionBits, table.copies <= layout.settings.replication else {
        throw .outOfBounds
      }
      self = .layout(layout, table)
    case .done: self = .done
    case .reserved: self = .reserved(try reader.bool() ? try ClusterSecret(from: &reader) : nil)
    case .repaired: self = .repaired(try RepairAnswer(from: &reader))
    case .hello, .welcome, .refused, .goAway, .ping, .pong, .cancel, .get, .put, .delete, .explain, .describe,
      .fetchLayout, .reserveCluster, .formCluster, .repair, .replicaRead, .replicaReadReply, .replicaWrite,
      .replicaWriteReply,
      .forwarded, .forwardedReply, .requestCheck, .requestCheckReply, .treeCompare,
      .treeDiffering, .leafList, .leafListed, .treeDeclined, .treeGaps, .treeGapsKnown, .treeRoots, .hintOffer,
      .hintWanted,
      .hintDeclined, .claim, .verdict,
      .gossipPing, .gossipAck, .gossipAsk, .gossipNack, .gossipPush, .gossipPull, .visit, .visited:
      throw .unknownTag(type.rawValue)
    }
    try reader.end()
  }
}

extension ContextToken {
  func encode(into bytes: inout [UInt8]) { bytes.append(blob: self.bytes) }

  init(from reader: inout ByteReader) throws(DecodeError) {
    try self.init(bytes: try reader.blob(max: ContextToken.bytesMax))
  }
}

extension ReadAnswer {
  func encode(into bytes: inout [UInt8]) {
    context.encode(into: &bytes)
    bytes.append(integer: UInt16(siblings.count))
    for sibling in siblings {
      bytes.append(integer: sibling.stamp.bits)
      bytes.append(integer: sibling.expiry?.milliseconds ?? 0)
      bytes.append(integer: sibling.checksum)
      bytes.append(bool: sibling.value != nil)
      if let value = sibling.value { bytes.append(blob: value) }
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    context = try ContextToken(from: &reader)
    let count = Int(try reader.u16())
    guard count <= Limits.versionsMax else { throw .outOfBounds }
    siblings = []
    for _ in 0..<count {
      let stamp = Stamp(bits: try reader.u64())
      let expiry = try reader.u64()
      let checksum = try reader.u64()
      let value = try reader.bool() ? Bytes(try reader.blob(max: Limits.valueBytesMax)) : nil
      siblings.append(
        Sibling(
          stamp: stamp, expiry: expiry == 0 ? nil : WallTime(milliseconds: expiry), checksum: checksum, value: value))
    }
  }
}

extension ClientResponse {
  /// As a reader of these features understands it.
  @inlinable
  public func told(to features: WireFeatures) -> ClientResponse {
    if features.contains(.receiptsTellMore) { return self }
    guard case .written(var receipt) = self else { return self }
    (receipt.siblings, receipt.wasFound) = (.unknown, false)
    return .written(receipt)
  }
}

extension Receipt {
  func encode(into bytes: inout [UInt8]) {
    ContextToken.encode(context, into: &bytes)
    bytes.append(integer: stamp.bits)
    bytes.append(acknowledgements)
    bytes.append(hints)
    if tellsNoMore { return }
    bytes.append(siblings.rawValue)
    bytes.append(bool: wasFound)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    context = try ContextToken.optional(from: &reader)
    stamp = Stamp(bits: try reader.u64())
    acknowledgements = try reader.u8()
    hints = try reader.u8()
    (siblings, wasFound) = (.unknown, false)
    guard reader.remaining > 0 else { return }
    let tag = try reader.u8()
    guard let siblings = Siblings(rawValue: tag) else { throw .unknownTag(tag) }
    self.siblings = siblings
    wasFound = try reader.bool()
    guard !tellsNoMore else { throw .notCanonical }
  }

  /// It is as the first release wrote it.
  private var tellsNoMore: Bool { siblings == .unknown && !wasFound }
}

extension ReplicaView {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: node.value)
    switch state {
    case .record(let record):
      bytes.append(0)
      bytes.append(blob: record.bytes)
    case .unreachable: bytes.append(1)
    case .unreadable: bytes.append(2)
    }
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    node = NodeID(try reader.u64())
    switch try reader.u8() {
    case 0: state = .record(EncodedRecord(unverified: try reader.blob(max: Limits.recordBytesMax)))
    case 1: state = .unreachable
    case 2: state = .unreadable
    case let tag: throw .unknownTag(tag)
    }
  }
}
