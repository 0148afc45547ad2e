/// Keys whose copy at the holder may be ahead of the target's, with what the holder has of them. All of one partition,
/// because one shard of the target answers for it.
public struct HintOffer: Hashable, Sendable {
  public struct Entry: Hashable, Sendable {
    public var key: Key
    /// Of the holder's record.
    public var digest: Digest
    /// Of the stored record.
    public var bytes: UInt32

    public init(key: Key, digest: Digest, bytes: UInt32) {
      self.key = key
      self.digest = digest
      self.bytes = bytes
    }
  }

  /// Whom the hints are for.
  public var target: NodeID
  public var partition: PartitionID
  /// Ascending by key, at least one.
  public var entries: [Entry]

  public init(target: NodeID, partition: PartitionID, entries: [Entry]) {
    self.target = target
    self.partition = partition
    self.entries = entries
  }
}

/// What a target lets a holder send it next.
public struct HintCredit: Hashable, Sendable {
  /// Keys offered or on their way at once.
  public var keys: UInt16
  /// Bytes of records on their way at once; one record may always be.
  public var bytes: UInt32
  /// How long to wait before the next offer, milliseconds.
  public var pauseMs: UInt16

  public init(keys: UInt16, bytes: UInt32, pauseMs: UInt16) {
    self.keys = keys
    self.bytes = bytes
    self.pauseMs = pauseMs
  }
}

/// How an owner that holds hints hands them to the node that they are for. What the target wants then comes as
/// `replicaWrite`s, to be joined like any other record.
///
/// | type | body |
/// |---|---|
/// | hintOffer | question 4, target 8, partition 2, number of keys 2, then each, ascending: key, digest 16, bytes of the record 4 |
/// | hintWanted | question 4, credit 8, number 2, then the places of the keys that are wanted 2·n, ascending |
/// | hintDeclined | question 4, reason 1 (0 busy, 1 not for this node), credit 8 |
///
/// A credit: keys 2, bytes 4, pause 2 (ms).
public enum HandoffMessage: Hashable, Sendable {
  public enum Reason: UInt8, Hashable, Sendable, CaseIterable {
    /// Later: too much is under way, or its own start is not confirmed.
    case busy = 0
    /// It is not the node that the hints are for, owns no copy of the keys, or takes the asker for no owner.
    case notHere = 1
  }

  case offer(HintOffer, question: UInt32)
  case wanted([UInt16], HintCredit, question: UInt32)
  case declined(Reason, HintCredit, question: UInt32)

  /// Keys of one offer.
  public static let keysMax = 256

  public var frameType: FrameType {
    switch self {
    case .offer: .hintOffer
    case .wanted: .hintWanted
    case .declined: .hintDeclined
    }
  }

  /// The partition that an offer is about.
  public var partition: PartitionID? {
    switch self {
    case .offer(let offer, _): offer.partition
    case .wanted, .declined: nil
    }
  }

  public var isAnswer: Bool { partition == nil }

  private var question: UInt32 {
    switch self {
    case .offer(_, let question), .wanted(_, _, let question), .declined(_, _, let question): question
    }
  }
}

extension HandoffMessage {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: question)
    switch self {
    case .offer(let offer, _):
      bytes.append(integer: offer.target.value)
      bytes.append(integer: offer.partition.index)
      bytes.append(integer: UInt16(offer.entries.count))
      for entry in offer.entries {
        entry.key.encode(into: &bytes)
        entry.digest.encode(into: &bytes)
        bytes.append(integer: entry.bytes)
      }
    case .wanted(let places, let credit, _):
      credit.encode(into: &bytes)
      bytes.append(integer: UInt16(places.count))
      for place in places { bytes.append(integer: place) }
    case .declined(let reason, let credit, _):
      bytes.append(reason.rawValue)
      credit.encode(into: &bytes)
    }
  }

  init(_ type: FrameType, from reader: inout ByteReader) throws(DecodeError) {
    let question = try reader.u32()
    switch type {
    case .hintOffer: self = .offer(try HintOffer(from: &reader), question: question)
    case .hintWanted:
      let credit = try HintCredit(from: &reader)
      let count = Int(try reader.u16())
      guard count <= HandoffMessage.keysMax else { throw .outOfBounds }
      var places: [UInt16] = []
      for _ in 0..<count {
        let place = try reader.u16()
        guard place < HandoffMessage.keysMax else { throw .outOfBounds }
        guard places.last.map({ $0 < place }) ?? true else { throw .notCanonical }
        places.append(place)
      }
      self = .wanted(places, credit, question: question)
    case .hintDeclined:
      let tag = try reader.u8()
      guard let reason = Reason(rawValue: tag) else { throw .unknownTag(tag) }
      self = .declined(reason, try HintCredit(from: &reader), question: question)
    default: throw .unknownTag(type.rawValue)
    }
  }
}

extension HintOffer {
  init(from reader: inout ByteReader) throws(DecodeError) {
    target = NodeID(try reader.u64())
    partition = PartitionID(try reader.u16())
    let count = Int(try reader.u16())
    guard (1...HandoffMessage.keysMax).contains(count) else { throw .outOfBounds }
    entries = []
    for _ in 0..<count {
      let key = try Key(from: &reader)
      guard entries.last.map({ $0.key < key }) ?? true else { throw .notCanonical }
      let digest = try Digest(from: &reader)
      let bytes = try reader.u32()
      guard bytes <= UInt32(Limits.recordBytesMax) else { throw .outOfBounds }
      entries.append(Entry(key: key, digest: digest, bytes: bytes))
    }
  }
}

extension HintCredit {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: keys)
    bytes.append(integer: self.bytes)
    bytes.append(integer: pauseMs)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    keys = try reader.u16()
    bytes = try reader.u32()
    pauseMs = try reader.u16()
    guard keys <= UInt16(HandoffMessage.keysMax) else { throw .outOfBounds }
  }
}
