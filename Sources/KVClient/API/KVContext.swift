package import KVModel

/// The causal history that a read saw; a write that brings it along replaces exactly what was read. Opaque, and bound
/// to its cluster and key: another key's context is refused with `invalidContext`.
public struct KVContext: Hashable, Sendable {
  package let token: ContextToken

  package init(_ token: ContextToken) { self.token = token }

  /// Reads what `bytes` gave.
  public init(bytes: [UInt8]) throws(KVError) {
    do { token = try ContextToken(bytes: bytes) } catch { throw KVContext.damaged }
  }

  /// Reads what `text` gave.
  public init(text: String) throws(KVError) {
    guard let bytes = Base64URL.decode(text) else { throw KVContext.damaged }
    try self.init(bytes: bytes)
  }

  /// For keeping outside of this process.
  public var bytes: [UInt8] { token.bytes }

  /// The bytes in the URL alphabet of base64, without padding.
  public var text: String { Base64URL.encode(bytes) }

  private static var damaged: KVError {
    KVError(.invalidContext, "the context is damaged or cut short; read the key again and use the context of that read")
  }
}
