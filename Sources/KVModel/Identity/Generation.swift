/// One start of a node: its number, a nonce, and the nonce of the start before it. A copy of an old disk shows itself
/// by a predecessor that its peers have already seen followed.
public struct Generation: Hashable, Sendable {
  public let number: UInt64
  public let nonce: UInt64
  public let predecessor: UInt64

  public init(number: UInt64, nonce: UInt64, predecessor: UInt64) {
    self.number = number
    self.nonce = nonce
    self.predecessor = predecessor
  }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: number)
    bytes.append(integer: nonce)
    bytes.append(integer: predecessor)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    number = try reader.u64()
    nonce = try reader.u64()
    predecessor = try reader.u64()
  }
}

/// What a node that has started tells its peers, so that they can say whether it is the successor of the node they knew.
public struct GenerationClaim: Hashable, Sendable {
  public var generation: Generation
  /// Nonces of the starts before this one that any peer may have heard of, latest first; at most `ancestorsMax`.
  public var ancestors: [UInt64]
  /// A majority of the layout has accepted it.
  public var isConfirmed: Bool

  /// So many starts may a peer sleep through and still know the node.
  public static let ancestorsMax = 64

  public init(generation: Generation, ancestors: [UInt64], isConfirmed: Bool) {
    self.generation = generation
    self.ancestors = ancestors
    self.isConfirmed = isConfirmed
  }
}

/// What a peer says of a claim, once what it says is synced.
public enum GenerationVerdict: Hashable, Sendable {
  case accepted
  /// The peer knows of a start that the claim does not descend from: the node's data went back in time, or there are two
  /// of it.
  case refused(known: Generation)
  /// The peer has slept through too many starts.
  case cannotTell
}
