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

  /// One try at one node. Of a call that took more than 32 the first 32 are told.
  public struct Attempt: Hashable, Sendable {
    /// The node's name, or its address while that is all that is known.
    public var node: String
    /// From the start of the attempt to its failure.
    public var elapsed: Duration
    /// Why it failed.
    public var code: Code

    /// An attempt, for those who make errors in tests.
    public init(node: String, elapsed: Duration, code: Code) {
      self.node = node
      self.elapsed = elapsed
      self.code = code
    }
  }

  /// What went wrong, for programs.
  public var code: Code
  /// What happened and what can be done about it.
  public var message: String
  /// What is known of the effect of the call.
  public var outcome: Outcome
  /// When the cluster asks to be tried again.
  public var retryAfter: Duration?
  /// Every node that was tried, in order.
  public var attempts: [Attempt]
  /// Owners that were needed, where that is the matter; 0 otherwise.
  public var needed: Int
  /// Owners that answered, where that is the matter; 0 otherwise.
  public var got: Int

  /// An error, for those who make a ``KVStore`` of their own.
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
  public var isRetryable: Bool { outcome == .notApplied && Retryability(code) == .later }
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
  /// The node cannot do what was asked; both sides may be of different releases.
  public static let invalidRequest = Self("invalid_request")
  /// A key has 1 to 256 bytes, sort key included.
  public static let invalidKey = Self("invalid_key")
  /// A value has at most 1 MiB.
  public static let valueTooLarge = Self("value_too_large")
  /// The time to live is zero, below it, or above ten years.
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
  /// The node belongs to another cluster than the first one that was reached.
  public static let otherCluster = Self("other_cluster")
  /// The node cannot be part of the layout that was proposed.
  public static let invalidLayout = Self("invalid_layout")
  /// The stored record is damaged on too many owners.
  public static let unreadable = Self("unreadable")
  /// Others kept writing while ``KVStore/update(_:consistency:deadline:_:)`` merged: the last merge is written, and
  /// their versions lie beside it.
  public static let conflict = Self("conflict")
  /// A value is not what the Codable helpers can read, or cannot be written as they write.
  public static let codingFailed = Self("coding_failed")
  /// A node's disk failed or is full.
  public static let storageFailed = Self("storage_failed")
}

extension KVError: CustomStringConvertible {
  /// Code, message, outcome and attempts in one line.
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
