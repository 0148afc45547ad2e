/// The fixed header in front of every frame, 40 bytes, little-endian:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | bytes of the body |
/// | 4 | 1 | frame type |
/// | 5 | 1 | revision of the protocol |
/// | 6 | 2 | flags, zero for now |
/// | 8 | 8 | request id: chosen by the asker, echoed in the reply, unique among what is open on the connection |
/// | 16 | 8 | deadline, milliseconds of the *receiver's* monotonic clock as learnt at HELLO; 0 = none |
/// | 24 | 4 | version of the sender's layout |
/// | 28 | 2 | partition, or 0 |
/// | 30 | 2 | zero |
/// | 32 | 8 | XXH3-64 of the body, seeded with the XXH3-64 of bytes 0…31 |
///
/// The deadline is absolute, so that work which waited in a socket while its receiver was stopped is seen to be late.
/// It counts on a monotonic clock, so that no step of a wall clock ends or prolongs anything.
public struct FrameHeader: Hashable, Sendable {
  public var bodyBytes: Int
  public var type: FrameType
  public var revision: UInt8
  public var requestID: UInt64
  public var deadlineMs: UInt64
  public var layoutVersion: UInt32
  public var partition: PartitionID
  public var checksum: UInt64

  public static let bytes = 40
  /// The one revision that this release speaks.
  public static let currentRevision: UInt8 = 1

  public init(
    type: FrameType, requestID: UInt64, deadlineMs: UInt64 = 0, layoutVersion: UInt32 = 0,
    partition: PartitionID = PartitionID(0)
  ) {
    self.bodyBytes = 0
    self.type = type
    self.revision = FrameHeader.currentRevision
    self.requestID = requestID
    self.deadlineMs = deadlineMs
    self.layoutVersion = layoutVersion
    self.partition = partition
    self.checksum = 0
  }

  /// Reads a header. `bodyBytesMax` bounds the body before anything is allocated for it.
  public init(_ bytes: UnsafeRawBufferPointer, bodyBytesMax: Int) throws(DecodeError) {
    var reader = ByteReader(bytes)
    let bodyBytes = Int(try reader.u32())
    let tag = try reader.u8()
    let revision = try reader.u8()
    let flags = try reader.u16()
    requestID = try reader.u64()
    deadlineMs = try reader.u64()
    layoutVersion = try reader.u32()
    partition = PartitionID(try reader.u16())
    let zero = try reader.u16()
    checksum = try reader.u64()
    guard let type = FrameType(rawValue: tag) else { throw .unknownTag(tag) }
    guard revision == FrameHeader.currentRevision else { throw .unknownRevision(revision) }
    guard flags == 0, zero == 0 else { throw .notCanonical }
    guard bodyBytes <= bodyBytesMax else { throw .outOfBounds }
    self.bodyBytes = bodyBytes
    self.type = type
    self.revision = revision
  }

  /// Whether header and body are as they were sent.
  public func vouches(for body: UnsafeRawBufferPointer, header: UnsafeRawBufferPointer) -> Bool {
    checksum == FrameHeader.checksum(header: header, body: body)
  }

  static func checksum(header: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer) -> UInt64 {
    let seed = Checksum.of(UnsafeRawBufferPointer(rebasing: header[..<32]))
    return Checksum.of(body, seed: seed)
  }

  /// Appends a whole frame; `body` appends the body. Length and checksum are filled in behind it.
  public func appendFrame(to output: inout [UInt8], body: (inout [UInt8]) -> Void) {
    let start = output.count
    output.append(
      fields: (
        (UInt64(type.rawValue) << 32 | UInt64(revision) << 40).littleEndian, requestID.littleEndian,
        deadlineMs.littleEndian, (UInt64(layoutVersion) | UInt64(partition.index) << 32).littleEndian, UInt64(0)
      ))
    body(&output)
    let bodyStart = start + FrameHeader.bytes
    output.patch(UInt32(output.count - bodyStart), at: start)
    let checksum = output.withUnsafeBytes { bytes in
      FrameHeader.checksum(
        header: UnsafeRawBufferPointer(rebasing: bytes[start..<bodyStart]),
        body: UnsafeRawBufferPointer(rebasing: bytes[bodyStart...]))
    }
    output.patch(checksum, at: start + 32)
  }
}

/// What a frame carries. Tags are append-only; a tag once used keeps its meaning.
public enum FrameType: UInt8, Sendable, CaseIterable {
  // Connection.
  case hello = 0x01
  case welcome = 0x02
  case refused = 0x03
  case goAway = 0x04
  case ping = 0x05
  case pong = 0x06
  /// Withdraws the request with this request id; a write that was sent may still be applied.
  case cancel = 0x07

  // Requests of clients.
  case get = 0x10
  case put = 0x11
  case delete = 0x12
  case explain = 0x13
  case describe = 0x18
  case fetchLayout = 0x19
  case reserveCluster = 0x1a
  case formCluster = 0x1b
  case repair = 0x1c

  // Replies to clients.
  case value = 0x20
  case written = 0x21
  case failed = 0x22
  case explained = 0x23
  case described = 0x28
  case layout = 0x29
  case done = 0x2a
  case reserved = 0x2b
  case repaired = 0x2c

  // Peers.
  case replicaRead = 0x40
  case replicaReadReply = 0x41
  case replicaWrite = 0x42
  case replicaWriteReply = 0x43
  case forwarded = 0x44
  case forwardedReply = 0x45
  case requestCheck = 0x46
  case requestCheckReply = 0x47
  case treeCompare = 0x48
  case treeDiffering = 0x49
  case leafList = 0x4a
  case leafListed = 0x4b
  case treeDeclined = 0x4c
  case hintOffer = 0x4d
  case hintWanted = 0x4e
  case hintDeclined = 0x4f
  case treeGaps = 0x60
  case treeGapsKnown = 0x61
  case treeRoots = 0x62

  // Peers, about themselves.
  case claim = 0x50
  case verdict = 0x51
  case gossipPing = 0x53
  case gossipAck = 0x54
  case gossipAsk = 0x55
  case gossipNack = 0x56
  case gossipPush = 0x57
  case gossipPull = 0x58
  case visit = 0x59
  case visited = 0x5a

  /// Carries a `ControlMessage`.
  public var isAboutNodes: Bool { (FrameType.claim.rawValue...FrameType.visited.rawValue).contains(rawValue) }
}
