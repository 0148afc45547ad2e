/// One operation of a client as the client saw it: nothing in here is the store's opinion.
///
/// A put writes its own number as its value, so that a read names the writes that it saw, and every value is unique.
public struct Operation: Equatable, Sendable {
  public enum Kind: String, Equatable, Sendable {
    case get
    case put
    case delete
  }

  public enum Outcome: String, Equatable, Sendable {
    /// Read, or written and acknowledged.
    case ok
    /// Never visible, not now and not later.
    case rejected
    /// May be visible, now or later: no answer, or an answer that says so. The outcome of every failed write that is
    /// not `rejected`; a failed read is `rejected`.
    case unknown
  }

  /// Unique in the history; the value that a put writes.
  public var number: Int
  public var client: Int
  public var kind: Kind
  /// Index into the history's keys.
  public var key: Int
  /// Copies that had to answer: R of a get, W of a put or delete.
  public var quorum: Int
  /// Of a write: the operation whose answer's context it carried. Nil: an overwrite, no context.
  public var context: Int?
  /// Of a put: it expires so long after it was written, milliseconds.
  public var ttlMs: UInt64?
  /// One clock for all operations of a history, nanoseconds.
  public var invokedAt: UInt64
  /// Nil when no answer ever came.
  public var returnedAt: UInt64?
  public var outcome: Outcome
  /// Code of the failure.
  public var error: String?
  /// Of a get: the puts whose values it returned, siblings all.
  public var seen: [Int]
  /// Requests sent for this operation; more than one when it was retried under its own request id.
  public var attempts: Int

  public init(
    number: Int, client: Int, kind: Kind, key: Int, quorum: Int, context: Int? = nil, ttlMs: UInt64? = nil,
    invokedAt: UInt64
  ) {
    self.number = number
    self.client = client
    self.kind = kind
    self.key = key
    self.quorum = quorum
    self.context = context
    self.ttlMs = ttlMs
    self.invokedAt = invokedAt
    outcome = .unknown
    seen = []
    attempts = 1
  }

  public var isWrite: Bool { kind != .get }
}

/// All operations of a run, in the order of their invocation.
public struct History: Equatable, Sendable {
  /// N, and the R and W of `quorum`.
  public var copies: Int
  public var readQuorum: Int
  public var writeQuorum: Int
  public var keys: [String]
  public var operations: [Operation]

  public init(copies: Int, readQuorum: Int, writeQuorum: Int, keys: [String] = [], operations: [Operation] = []) {
    self.copies = copies
    self.readQuorum = readQuorum
    self.writeQuorum = writeQuorum
    self.keys = keys
    self.operations = operations
  }
}
