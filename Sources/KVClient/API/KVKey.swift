internal import KVModel

/// A key: a partition key, which decides where it lives, and a sort key, which may be empty. Together 1 to 256 bytes;
/// a call with another key throws `invalidKey`.
public struct KVKey: Hashable, Sendable {
  public var partitionKey: [UInt8]
  public var sortKey: [UInt8]

  public init(_ partitionKey: [UInt8], sortKey: [UInt8] = []) {
    self.partitionKey = partitionKey
    self.sortKey = sortKey
  }

  public init(_ partitionKey: String, sortKey: String = "") {
    self.init(Array(partitionKey.utf8), sortKey: Array(sortKey.utf8))
  }
}

/// What can stand for a key in a call: text, bytes, or a `KVKey` with its sort key.
public protocol KVKeyConvertible: Sendable {
  var kvKey: KVKey { get }
}

extension KVKey: KVKeyConvertible {
  public var kvKey: KVKey { self }
}

extension String: KVKeyConvertible {
  public var kvKey: KVKey { KVKey(self) }
}

extension [UInt8]: KVKeyConvertible {
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
