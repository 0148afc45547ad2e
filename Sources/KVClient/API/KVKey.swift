internal import KVModel

/// A key: a partition key, which decides where it lives, and a sort key, which may be empty. Together 1 to 256 bytes;
/// a call with another key throws `invalidKey`.
public struct KVKey: Hashable, Sendable {
  /// Keys with the same partition key lie on the same nodes.
  public var partitionKey: [UInt8]
  /// Tells keys of one partition key apart.
  public var sortKey: [UInt8]

  /// A key of bytes.
  public init(_ partitionKey: [UInt8], sortKey: [UInt8] = []) {
    self.partitionKey = partitionKey
    self.sortKey = sortKey
  }

  /// A key of text, as UTF-8.
  public init(_ partitionKey: String, sortKey: String = "") {
    self.init(Array(partitionKey.utf8), sortKey: Array(sortKey.utf8))
  }
}

/// What can stand for a key in a call: text, bytes, or a `KVKey` with its sort key.
public protocol KVKeyConvertible: Sendable {
  /// The key that it stands for.
  var kvKey: KVKey { get }
}

extension KVKey: KVKeyConvertible {
  /// Itself.
  public var kvKey: KVKey { self }
}

extension String: KVKeyConvertible {
  /// A partition key of its UTF-8.
  public var kvKey: KVKey { KVKey(self) }
}

extension [UInt8]: KVKeyConvertible {
  /// A partition key of these bytes.
  public var kvKey: KVKey { KVKey(self) }
}

extension KVKey {
  func modelKey() throws(KVError) -> Key {
    do { return try Key(partitionKey: partitionKey, sortKey: sortKey) } catch {
      switch error {
      case .empty: throw KVError(.invalidKey, "the key is empty; a key has 1 to \(Limits.keyBytesMax) bytes")
      case .tooLong(let bytes):
        throw KVError(.invalidKey, "the key has \(bytes) bytes; a key has at most \(Limits.keyBytesMax)")
      }
    }
  }
}
