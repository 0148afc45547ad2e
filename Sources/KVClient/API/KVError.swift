/// Why a call did not do what was asked. A struct, so that it can grow.
///
/// Its description names codes, counts and nodes; it never holds key or value bytes.
public struct KVError: Error, Hashable, Sendable {
  /// What went wrong. More codes may come; compare with those that you know.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The code as text, the same in logs and in `kvctl --json`.
    public let description: String

    init(_ description: String) { self.description = description }
  }

  /// What is known of the effect of the call.
  public enum Outcome: Hashable, Sendable {
    /// Nothing was written and nothing will be. Reads are always so.
    case notApplied
    /// The write is durable, though the call failed behind it.
    case applied
    /// The write may have happened, or may still happen, once.
    case unknown
  }

  /// One try at one node.
  public struct Attempt: Hashable, Sendable {
    /// The node's name, or its address while that is all that is known.
    public var node: String
    /// From the start of the attempt to its failure.
    public var elapsed: Duration
    public var code: Code

    public init(node: String, elapsed: Duration, code: Code) {
      self.node = node
      self.elapsed = elapsed
      self.code = code
    }
  }

  public var code: Code
  /// What happened and what can be done about it.
  public var message: String
  public var outcome: Outcome
  /// When the cluster asks to be tried again.
  public var retryAfter: Duration?
  /// Every node that was tried, in order.
  public var attempts: [Attempt]
  /// Owners that were needed and that answered, where that is the matter; 0 otherwise.
  public var needed: Int
  public var got: Int

  public init(
    _ code: Code, _ message: String, outcome: Outcome = .notApplied, retryAfter: Duration? = nil,
    attempts: [Attempt] = []
  ) {
    self.code = code
    self.message = message
    self.outcome = outcome
    self.retryAfter = retryAfter
    self.attempts = attempts
    needed = 0
    got = 0
  }

  /// Whether the same call may succeed a little later and cannot apply anything twice.
  public var isRetryable: Bool { outcome == .notApplied && KVError.passing.contains(code) }
}

extension KVError.Code {
  /// `run()` is not running, or has ended.
  public static let notRunning = Self("not_running")
  /// No connection to any node could be made.
  public static let unreachable = Self("unreachable")
  /// A node turned the connection away.
  public static let refused = Self("refused")
  /// What answers at the address does not speak RingKV's protocol, or not one that this client reads.
  public static let protocolMismatch = Self("protocol_mismatch")
  /// The connection broke while the call was under way.
  public static let connectionLost = Self("connection_lost")
  /// The deadline passed.
  public static let timedOut = Self("timed_out")
  /// The task was cancelled.
  public static let cancelled = Self("cancelled")
  /// Too much is in flight, here or at the node; see `retryAfter`.
  public static let overloaded = Self("overloaded")
  /// Fewer owners of the key than needed can be reached; see `needed` and `got`.
  public static let unavailable = Self("unavailable")
  public static let invalidRequest = Self("invalid_request")
  /// A key has 1 to 256 bytes, sort key included.
  public static let invalidKey = Self("invalid_key")
  /// A value has at most 1 MiB.
  public static let valueTooLarge = Self("value_too_large")
  public static let invalidTTL = Self("invalid_ttl")
  /// R or W is zero or above the cluster's number of copies.
  public static let invalidQuorum = Self("invalid_quorum")
  /// The context is damaged, or of another key or cluster.
  public static let invalidContext = Self("invalid_context")
  /// The node belongs to no cluster, or is no member of it.
  public static let notMember = Self("not_member")
  /// The clocks of the nodes differ by more than the bound.
  public static let clockSkew = Self("clock_skew")
  /// The key has as many concurrent versions as it may; write with the context of a read to replace them.
  public static let tooManySiblings = Self("too_many_siblings")
  /// A value does not agree with the checksum that its writer made.
  public static let checksumMismatch = Self("checksum_mismatch")
  /// The node is leaving.
  public static let shuttingDown = Self("shutting_down")
  public static let otherCluster = Self("other_cluster")
  public static let invalidLayout = Self("invalid_layout")
  /// The stored record is damaged on too many owners.
  public static let unreadable = Self("unreadable")
  /// A node's disk failed or is full.
  public static let storageFailed = Self("storage_failed")
}

extension KVError: CustomStringConvertible {
  public var description: String {
    var text = "\(code): \(message)"
    if outcome == .unknown { text += " (outcome unknown: the write may have happened)" }
    for attempt in attempts { text += "; \(attempt.node) after \(milliseconds(attempt.elapsed)) ms: \(attempt.code)" }
    return text
  }

  private func milliseconds(_ duration: Duration) -> Int64 {
    duration.components.seconds * 1_000 + duration.components.attoseconds / 1_000_000_000_000_000
  }
}

extension KVError {
  /// Causes that pass by themselves.
  private static let passing: Set<Code> = [
    .unreachable, .refused, .connectionLost, .timedOut, .overloaded, .unavailable, .clockSkew, .checksumMismatch,
    .shuttingDown,
  ]
}
