/// Why a request was not answered with what it asked for.
public struct Failure: Hashable, Sendable, Error {
  /// Tags are append-only.
  public enum Code: UInt8, Sendable, CaseIterable {
    /// Too much is in flight; retry after `retryAfterMs`.
    case overloaded = 1
    /// Fewer owners than needed can be reached or can answer.
    case unavailable = 2
    /// The deadline passed first.
    case timedOut = 3
    case invalidRequest = 4
    case invalidKey = 5
    case valueTooLarge = 6
    case invalidTTL = 7
    /// R or W is zero or above N.
    case invalidQuorum = 8
    /// The context belongs to another key or cluster, or is not one.
    case invalidContext = 9
    /// This node belongs to no cluster, or is no member of it.
    case notMember = 10
    /// A stamp lies more than the bound ahead of this node's clock.
    case clockSkew = 11
    /// The key has as many concurrent versions as are allowed; write with the context of a read to replace them.
    case tooManySiblings = 12
    /// The value does not agree with the checksum that came with it.
    case checksumMismatch = 13
    case shuttingDown = 14
    /// The node accepted another cluster before, or is held for one.
    case otherCluster = 15
    /// The proposed layout is not one that this node can be part of.
    case invalidLayout = 16
    /// The stored record is damaged.
    case unreadable = 17
    case cancelled = 18
    /// The node's disk failed or is full; the node is stopping.
    case storageFailed = 19
  }

  /// What is known of the request's effect.
  public enum Outcome: UInt8, Sendable {
    /// It was not applied and never will be.
    case rejected = 0
    /// It may have been applied, or may be later, once.
    case unknown = 1
  }

  public var code: Code
  public var outcome: Outcome
  /// Owners that were needed and that answered, where that is the matter.
  public var needed: UInt8
  public var got: UInt8
  /// When to try again, milliseconds; 0 = nothing is known.
  public var retryAfterMs: UInt32
  /// For people. Never holds key or value bytes.
  public var detail: String

  static let detailBytesMax = 1_024

  public init(
    _ code: Code, _ outcome: Outcome = .rejected, needed: Int = 0, got: Int = 0, retryAfterMs: UInt32 = 0,
    detail: String = ""
  ) {
    self.code = code
    self.outcome = outcome
    self.needed = UInt8(clamping: needed)
    self.got = UInt8(clamping: got)
    self.retryAfterMs = retryAfterMs
    self.detail = detail
  }
}

// | size | field |
// |---|---|
// | 1, 1 | code, outcome |
// | 1, 1 | needed, got |
// | 4 | retry after, ms |
// | 2+n | detail |
extension Failure {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(code.rawValue)
    bytes.append(outcome.rawValue)
    bytes.append(needed)
    bytes.append(got)
    bytes.append(integer: retryAfterMs)
    bytes.append(text: detail, max: Failure.detailBytesMax)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    let tag = try reader.u8()
    let outcomeTag = try reader.u8()
    guard let code = Code(rawValue: tag) else { throw .unknownTag(tag) }
    guard let outcome = Outcome(rawValue: outcomeTag) else { throw .unknownTag(outcomeTag) }
    self.code = code
    self.outcome = outcome
    needed = try reader.u8()
    got = try reader.u8()
    retryAfterMs = try reader.u32()
    detail = try reader.text(max: Failure.detailBytesMax)
  }
}
