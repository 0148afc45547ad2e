/// What nodes say to each other about themselves: from `Control` to `Control`, over the links of the first shards.
///
/// | type | body |
/// |---|---|
/// | claim | generation 24, confirmed 1, number of ancestors 1, then nonces 8·n, latest first |
/// | verdict | nonce of the claim 8, state 1 (0 accepted, 1 refused, 2 cannot tell); if refused, the generation known 24 |
public enum ControlMessage: Hashable, Sendable {
  case claim(GenerationClaim)
  case verdict(GenerationVerdict, onNonce: UInt64)

  public var frameType: FrameType {
    switch self {
    case .claim: .claim
    case .verdict: .verdict
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
    case .hello, .welcome, .refused, .goAway, .ping, .pong, .cancel, .get, .put, .delete, .explain, .describe,
      .fetchLayout, .reserveCluster, .formCluster, .value, .written, .failed, .explained, .described, .layout, .done,
      .reserved, .replicaRead, .replicaReadReply, .replicaWrite, .replicaWriteReply, .forwarded, .forwardedReply,
      .requestCheck, .requestCheckReply, .treeCompare, .treeDiffering, .leafList, .leafListed, .treeDeclined,
      .hintOffer, .hintWanted, .hintDeclined:
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
