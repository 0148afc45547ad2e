/// A node's identity: random, made with its data directory, never reused.
public struct NodeID: Hashable, Comparable, Sendable {
  public let value: UInt64

  @inlinable
  public init(_ value: UInt64) { self.value = value }

  @inlinable
  public static func < (a: NodeID, b: NodeID) -> Bool { a.value < b.value }
}

extension NodeID: CustomStringConvertible {
  /// Sixteen hexadecimal digits.
  public var description: String { hexadecimal(value) }

  /// Reads what `description` printed.
  public init?(_ text: String) {
    // Compared, because `UInt64` also takes a sign and capitals: an identity has one spelling.
    guard let value = UInt64(text, radix: 16), hexadecimal(value) == text else { return nil }
    self.value = value
  }
}

/// A cluster's identity: random, made by `kvctl cluster init`, part of every handshake. A node accepts one, once.
public struct ClusterID: Hashable, Sendable, CustomStringConvertible {
  public let value: UInt64

  public init(_ value: UInt64) { self.value = value }

  /// What a node that belongs to no cluster says in a handshake.
  public static let none = ClusterID(0)

  /// Sixteen hexadecimal digits.
  public var description: String { hexadecimal(value) }
}

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

func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
