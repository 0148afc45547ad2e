package import KVModel

extension KVError {
  /// What a node said.
  package init(_ failure: Failure) {
    self.init(
      KVError.code(failure.code), failure.detail.isEmpty ? KVError.sentence(failure.code) : failure.detail,
      outcome: failure.outcome == .unknown ? .unknown : .notApplied,
      retryAfter: failure.retryAfterMs == 0 ? nil : .milliseconds(Int64(failure.retryAfterMs)))
    needed = Int(failure.needed)
    got = Int(failure.got)
  }

  static func notRunning() -> KVError {
    KVError(.notRunning, "the client is not running; call run() beside its use, or use withKVClient")
  }

  static func stopped(_ call: Call) -> KVError {
    KVError(.notRunning, "the client was stopped", outcome: call.outcome)
  }

  static func overloaded(_ what: String) -> KVError {
    KVError(.overloaded, "the client has \(what) in flight, its limit", retryAfter: .milliseconds(10))
  }

  /// No link is left that a call could go to.
  static func unreachable(_ call: Call) -> KVError {
    call.lastError ?? KVError(.invalidRequest, "no endpoint is known; give at least one as host:port")
  }

  static func timedOut(_ call: Call) -> KVError {
    var cause = "the deadline passed"
    if let attempt = call.open.first {
      let name = attempt.link.name
      cause =
        attempt.isSent ? "\(name) did not answer within the deadline" : "no connection to \(name) within the deadline"
    }
    if let before = call.lastError { cause += "; before that: \(before.message)" }
    return KVError(.timedOut, cause, outcome: call.outcome)
  }

  private static func code(_ code: Failure.Code) -> Code {
    switch code {
    case .overloaded: .overloaded
    case .unavailable: .unavailable
    case .timedOut: .timedOut
    case .invalidRequest: .invalidRequest
    case .invalidKey: .invalidKey
    case .valueTooLarge: .valueTooLarge
    case .invalidTTL: .invalidTTL
    case .invalidQuorum: .invalidQuorum
    case .invalidContext: .invalidContext
    case .notMember: .notMember
    case .clockSkew: .clockSkew
    case .tooManySiblings: .tooManySiblings
    case .checksumMismatch: .checksumMismatch
    case .shuttingDown: .shuttingDown
    case .otherCluster: .otherCluster
    case .invalidLayout: .invalidLayout
    case .unreadable: .unreadable
    case .cancelled: .cancelled
    case .storageFailed: .storageFailed
    }
  }

  private static func sentence(_ code: Failure.Code) -> String {
    switch code {
    case .overloaded: "the node has too much in flight"
    case .unavailable: "too few owners of the key can be reached"
    case .timedOut: "the deadline passed at the node"
    case .invalidRequest: "the node cannot do what was asked"
    case .invalidKey: "the node refuses the key"
    case .valueTooLarge: "the value is too large"
    case .invalidTTL: "the time to live is zero or too long"
    case .invalidQuorum: "more owners were asked for than the cluster keeps copies"
    case .invalidContext: "the context is of another key or another cluster; use the one of a read of this key"
    case .notMember: "the node is no member of a cluster"
    case .clockSkew: "the clocks of the nodes differ too much; check that they are synchronised"
    case .tooManySiblings: "the key has too many concurrent versions; write with the context of a read"
    case .checksumMismatch: "the value was damaged on its way to the node"
    case .shuttingDown: "the node is shutting down"
    case .otherCluster: "the node belongs to another cluster, or is held for one"
    case .invalidLayout: "the node cannot be part of the layout"
    case .unreadable: "the stored record is damaged"
    case .cancelled: "the call was cancelled"
    case .storageFailed: "the node's disk failed or is full"
    }
  }
}
