/// One write of a key.
public struct Version: Hashable, Sendable {
  /// What the write left behind.
  public enum Content: Hashable, Sendable {
    case value(Bytes)
    /// A delete.
    case tombstone
    /// A value whose bytes were dropped after its expiry. It keeps dot, stamp, expiry and checksum, so that its
    /// record's digest stays what it was.
    case swept

    public static func value(_ bytes: [UInt8]) -> Content { .value(Bytes(bytes)) }

    fileprivate var rank: Int {
      switch self {
      case .value: 0
      case .tombstone: 1
      case .swept: 2
      }
    }
  }

  public var dot: Dot
  public var stamp: Stamp
  /// The write is absent from this moment on; nil = never.
  public var expiry: WallTime?
  public var requestID: RequestID
  /// XXH3-64 of the value, made by the client side; 0 for a tombstone.
  public var checksum: UInt64
  public var content: Content

  public init(
    dot: Dot, stamp: Stamp, expiry: WallTime? = nil, requestID: RequestID, checksum: UInt64, content: Content
  ) {
    self.dot = dot
    self.stamp = stamp
    self.expiry = expiry
    self.requestID = requestID
    self.checksum = checksum
    self.content = content
  }

  /// The value, if there is one at `wall`: not a tombstone, not swept, not expired.
  public func value(at wall: WallTime) -> Bytes? {
    guard case .value(let bytes) = content, !isExpired(at: wall) else { return nil }
    return bytes
  }

  public func isExpired(at wall: WallTime) -> Bool { expiry.map { $0 <= wall } ?? false }

  var isTombstone: Bool { if case .tombstone = content { true } else { false } }

  /// Bytes of the value, 0 if there is none.
  public var valueBytes: Int { if case .value(let bytes) = content { bytes.count } else { 0 } }

  /// Which of two copies of one dot a join keeps. Copies differ only in that one was swept. Were a dot ever minted twice,
  /// this is still a total order, so that replicas agree at last and do not bounce two values for ever (HAZARDS.md 14).
  func yields(to other: Version) -> Bool {
    if stamp != other.stamp { return stamp < other.stamp }
    if requestID != other.requestID { return requestID < other.requestID }
    if expiry != other.expiry { return expiry ?? WallTime(milliseconds: 0) < other.expiry ?? WallTime(milliseconds: 0) }
    if checksum != other.checksum { return checksum < other.checksum }
    return content.rank < other.content.rank
  }

  /// Later in the order that picks one of several siblings.
  static func isNewer(_ a: Version, than b: Version) -> Bool { a.stamp == b.stamp ? a.dot > b.dot : a.stamp > b.stamp }
}
