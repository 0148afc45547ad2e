/// Who mints dots: a node, in one of its epochs. The epoch rises whenever the node may have forgotten dots it minted.
public struct Actor: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var node: NodeID
  public var epoch: UInt32

  @inlinable
  public init(node: NodeID, epoch: UInt32) {
    self.node = node
    self.epoch = epoch
  }

  @inlinable
  public static func < (a: Actor, b: Actor) -> Bool {
    a.node == b.node ? a.epoch < b.epoch : a.node < b.node
  }

  public var description: String { "\(node).\(epoch)" }
}

/// The name of one version, for ever.
public struct Dot: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var actor: Actor
  /// Sequence in the upper 56 bits, shard in the lower 8. At least 1.
  public var counter: UInt64

  @inlinable
  public init(actor: Actor, counter: UInt64) {
    self.actor = actor
    self.counter = counter
  }

  @inlinable
  public static func < (a: Dot, b: Dot) -> Bool {
    a.actor == b.actor ? a.counter < b.counter : a.actor < b.actor
  }

  public var description: String { "\(actor):\(counter >> 8)/\(counter & 0xff)" }
}

/// Names one write of a client, so that a retry of it is recognised: who, and which of theirs.
public struct RequestID: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Random, one for each `KVClient`.
  public var client: UInt64
  /// Counts that client's writes.
  public var sequence: UInt64

  @inlinable
  public init(client: UInt64, sequence: UInt64) {
    self.client = client
    self.sequence = sequence
  }

  @inlinable
  public static func < (a: RequestID, b: RequestID) -> Bool {
    a.client == b.client ? a.sequence < b.sequence : a.client < b.client
  }

  public var description: String { "\(hexadecimal(client))-\(sequence)" }

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: client)
    bytes.append(integer: sequence)
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    client = try reader.u64()
    sequence = try reader.u64()
  }
}
