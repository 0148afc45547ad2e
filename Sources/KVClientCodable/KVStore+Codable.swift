internal import Foundation
public import KVClient

extension KVStore {
  /// The newest version of a key, read as JSON; nil when the key is absent.
  ///
  /// Throws `codingFailed` when the value is no JSON of this type.
  public func get<Value: Decodable>(
    _ key: some KVKeyConvertible, as type: Value.Type, consistency: KVConsistency = .quorum,
    deadline: Duration? = nil
  ) async throws(KVError) -> KVDecoded<Value>? {
    guard let read = try await get(key, consistency: consistency, deadline: deadline) else { return nil }
    return KVDecoded(
      value: try KVJSON.decode(type, read.value),
      versions: try read.versions.compactMap(\.value).map { bytes throws(KVError) in try KVJSON.decode(type, bytes) },
      context: read.context)
  }

  /// Writes a value as JSON, with its keys in order: equal values have equal bytes.
  ///
  /// Throws `codingFailed` when the value cannot be written as JSON.
  @discardableResult
  public func put(
    _ key: some KVKeyConvertible, encoding value: some Encodable, context: KVContext? = nil, ttl: Duration? = nil,
    consistency: KVConsistency = .quorum, deadline: Duration? = nil
  ) async throws(KVError) -> KVReceipt {
    try await put(
      key, try KVJSON.encode(value), context: context, ttl: ttl, consistency: consistency, deadline: deadline)
  }

  /// Reads all versions of a key as JSON, lets `merge` make one value of them, and writes it in their place, again and
  /// again until no other write came between; see ``KVClient/KVStore/update(_:consistency:deadline:isolation:_:)``.
  ///
  /// - Parameter merge: Is shown every concurrent value that is alive, newest first; what it returns replaces them.
  @discardableResult
  public func update<Value: Codable>(
    _ key: some KVKeyConvertible, as type: Value.Type, consistency: KVConsistency = .quorum,
    deadline: Duration = .seconds(5), isolation: isolated (any Swift.Actor)? = #isolation,
    _ merge: ([Value]) throws(KVError) -> Value
  ) async throws(KVError) -> KVReceipt? {
    try await update(key, consistency: consistency, deadline: deadline, isolation: isolation) {
      versions throws(KVError) in
      var values: [Value] = []
      for version in versions {
        if let bytes = version.value { values.append(try KVJSON.decode(type, bytes)) }
      }
      return .put(try KVJSON.encode(try merge(values)))
    }
  }
}

/// A key's value and its siblings, decoded.
public struct KVDecoded<Value> {
  /// The newest version that is alive.
  public var value: Value
  /// Every concurrent version that is alive, newest first.
  public var versions: [Value]
  /// For the write that replaces what was read.
  public var context: KVContext
}

extension KVDecoded: Sendable where Value: Sendable {}
extension KVDecoded: Equatable where Value: Equatable {}

/// The one form that values have: JSON, keys sorted.
enum KVJSON {
  static func encode(_ value: some Encodable) throws(KVError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do { return Array(try encoder.encode(value)) } catch {
      throw KVError(.codingFailed, "a \(Swift.type(of: value)) cannot be written as JSON")
    }
  }

  /// What was wrong is told by its place, never by the value's bytes.
  static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws(KVError) -> Value {
    do { return try JSONDecoder().decode(type, from: Data(bytes)) } catch {
      throw KVError(.codingFailed, "the value is no JSON of a \(type)")
    }
  }
}
