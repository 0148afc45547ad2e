import KVModel

// How the wire's words are written in labels: stable, whatever the cases are called.

extension Refusal.Reason {
  /// Reasons that a connection is told.
  static let told: [(name: String, reason: Refusal.Reason)] = [
    ("not_hello", .notHello), ("unknown_revision", .unknownRevision), ("other_cluster", .otherCluster),
    ("other_node", .otherNode), ("not_member", .notMember), ("malformed_frame", .malformedFrame),
    ("frame_too_large", .frameTooLarge), ("shutting_down", .shuttingDown), ("duplicate_node", .duplicateNode),
    ("hello_timeout", .helloTimeout),
  ]
}

extension Failure.Code {
  var label: String {
    switch self {
    case .overloaded: "overloaded"
    case .unavailable: "unavailable"
    case .timedOut: "timed_out"
    case .invalidRequest: "invalid_request"
    case .invalidKey: "invalid_key"
    case .valueTooLarge: "value_too_large"
    case .invalidTTL: "invalid_ttl"
    case .invalidQuorum: "invalid_quorum"
    case .invalidContext: "invalid_context"
    case .notMember: "not_member"
    case .clockSkew: "clock_skew"
    case .tooManySiblings: "too_many_siblings"
    case .checksumMismatch: "checksum_mismatch"
    case .shuttingDown: "shutting_down"
    case .otherCluster: "other_cluster"
    case .invalidLayout: "invalid_layout"
    case .unreadable: "unreadable"
    case .cancelled: "cancelled"
    case .storageFailed: "storage_failed"
    }
  }
}
