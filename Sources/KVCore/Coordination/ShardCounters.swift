import KVModel

/// What a shard counts. Plain numbers in the machine; the shell turns them into metrics.
public struct ShardCounters: Equatable, Sendable {
  public enum Kind: Int, Sendable, CaseIterable {
    case get, put, delete, explain
  }

  public enum Ending: Int, Sendable, CaseIterable {
    case ok, rejected, unknown
  }

  /// Requests that ended, by `Kind`, then `Ending`.
  public private(set) var requests: [[UInt64]] = Kind.allCases.map { _ in Ending.allCases.map { _ in 0 } }
  /// From a request's arrival at its coordinator to its answer, by `Kind`.
  public private(set) var latency: [LatencyHistogram] = Kind.allCases.map { _ in LatencyHistogram() }

  /// Reads whose replies differed.
  public var mismatches: UInt64 = 0
  /// Records written back to owners that were behind.
  public var repairs: UInt64 = 0
  /// Reads that asked one more owner because the first were late.
  public var hedges: UInt64 = 0
  /// Overwrites that met versions at other owners and wrote once more.
  public var secondRounds: UInt64 = 0
  /// Requests that could not reach their quorum.
  public var quorumFailures: UInt64 = 0
  /// Reads that found more than one version.
  public var siblingsSeen: UInt64 = 0
  /// Marked retries that came in, and those that turned out to be applied already.
  public var retries: UInt64 = 0
  public var retriesApplied: UInt64 = 0
  /// Requests handed on to an owner.
  public var forwarded: UInt64 = 0
  /// Work dropped because nobody waits for it any more.
  public var expiredWork: UInt64 = 0
  /// Requests refused because too many were under way.
  public var overloads: UInt64 = 0
  /// Writes refused because only the disk's reserve is left.
  public var diskRefusals: UInt64 = 0
  /// Stored records that were damaged and put aside, and peers' that could not be decoded.
  public var damagedRecords: UInt64 = 0
  public var malformedRecords: UInt64 = 0
  /// Lists of keys from peers that held what was not asked for.
  public var malformedTrees: UInt64 = 0
  /// Writes refused for their stamp.
  public var clockRefusals: UInt64 = 0

  /// Exchanges with other owners that began, that ended incomplete, and keys that differed.
  public var exchanges: UInt64 = 0
  public var exchangesFailed: UInt64 = 0
  public var keysMended: UInt64 = 0

  /// Pulls into gaps of this node's copies that began, and what they brought.
  public var pulls: UInt64 = 0
  public var pulledRecords: UInt64 = 0
  public var pulledBytes: UInt64 = 0
  /// Parts of the copy that stayed unread, for want of enough owners that are whole, until somebody accepted that.
  public var lossesAccepted: UInt64 = 0
  /// What the walk for cold damage has read, and how often it came round.
  public var scrubbedBytes: UInt64 = 0
  public var scrubRounds: UInt64 = 0

  /// Hints that were asked of the storage, those that their targets turned out to have, and those that they refused.
  public var hintsWritten: UInt64 = 0
  public var hintsDelivered: UInt64 = 0
  public var hintsRefused: UInt64 = 0
  /// Offers of hints that were for no one here.
  public var offersRefused: UInt64 = 0

  /// Versions whose bytes were dropped after their expiry, and these bytes.
  public var versionsSwept: UInt64 = 0
  public var bytesSwept: UInt64 = 0

  public init() {}

  mutating func onEnd(_ kind: Kind, _ ending: Ending, after span: Span64) {
    requests[kind.rawValue][ending.rawValue] += 1
    latency[kind.rawValue].record(span)
  }

  public func count(_ kind: Kind, _ ending: Ending) -> UInt64 { requests[kind.rawValue][ending.rawValue] }
}

extension ClientRequest {
  /// How a request about a key is counted; nil for what concerns the node.
  var counted: ShardCounters.Kind? {
    switch self {
    case .get: .get
    case .write(let write): write.payload == .delete ? .delete : .put
    case .explain: .explain
    case .describe, .fetchLayout, .reserveCluster, .formCluster, .repair: nil
    }
  }
}

extension ClientResponse {
  var ending: ShardCounters.Ending {
    switch self {
    case .failed(let failure): failure.outcome == .unknown ? .unknown : .rejected
    case .value, .written, .explained, .described, .layout, .done, .reserved, .repaired: .ok
    }
  }
}
