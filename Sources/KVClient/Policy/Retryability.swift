internal import KVModel

/// What a failure means for the next attempt. The one table of it: retries, `KVError.isRetryable` and the circuit
/// breaker all ask here.
enum Retryability: Hashable, Sendable {
  /// The request itself is at fault; every node would say the same.
  case never
  /// This node cannot serve it, and will not for a while; another one may.
  case elsewhere
  /// It passes: the same call may succeed a little later, here or at another node.
  case later

  init(_ code: KVError.Code) { self = Retryability.table[code] ?? .never }

  /// A code that has no row is never retried.
  static let table: [KVError.Code: Retryability] = [
    // What a node said.
    .overloaded: .later,
    .unavailable: .later,
    .timedOut: .later,
    .clockSkew: .later,
    .checksumMismatch: .later,
    .shuttingDown: .later,
    .notMember: .elsewhere,
    .storageFailed: .elsewhere,
    .otherCluster: .elsewhere,
    .invalidRequest: .never,
    .invalidKey: .never,
    .valueTooLarge: .never,
    .invalidTTL: .never,
    .invalidQuorum: .never,
    .invalidContext: .never,
    .tooManySiblings: .never,
    .invalidLayout: .never,
    .unreadable: .never,
    .cancelled: .never,
    // What happened on the way.
    .unreachable: .later,
    .refused: .later,
    .connectionLost: .later,
    .protocolMismatch: .elsewhere,
  ]
}
