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

func hexadecimal(_ value: UInt64) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
