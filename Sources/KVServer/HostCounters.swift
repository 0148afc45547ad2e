import KVModel

/// What a host counts beside its shard. All of it is rare; bytes are counted by `ByteAccount`.
struct HostCounters: Sendable {
  /// Which limit turned a request away.
  enum Limit: String, Sendable, CaseIterable {
    /// `limits.requests_in_flight_per_connection`.
    case connectionRequests = "connection_requests"
    /// `limits.bytes_in_flight_per_connection`: requests and unread replies.
    case connectionBytes = "connection_bytes"
    /// This shard's part of `limits.bytes_in_flight_total`.
    case nodeBytes = "node_bytes"
  }

  /// Why a connection was ended without a word, or for its slowness.
  enum Slowness: String, Sendable, CaseIterable {
    /// A frame was not complete within `limits.frame_timeout`.
    case frameTimeout = "frame_timeout"
    /// Unfinished frames held too much of `limits.bytes_in_flight_total`; this one was the oldest.
    case slowWriter = "slow_writer"
    /// Unread replies held too much of it; this one waited longest.
    case slowReader = "slow_reader"
  }

  /// When a frame of a client that floods was handled.
  enum FloodTurn: String, Sendable, CaseIterable {
    /// While others had frames: as many in all as one of them had.
    case shared
    /// The others had asked nothing for a millisecond.
    case free
  }

  var clientsAccepted: UInt64 = 0
  var peersAccepted: UInt64 = 0
  /// Connections turned away or ended with a word why.
  private(set) var refused: [Refusal.Reason: UInt64] = [:]
  private(set) var dropped: [Slowness: UInt64] = [:]
  private(set) var overloads: [Limit: UInt64] = [:]
  private(set) var floodFrames: [FloodTurn: UInt64] = [:]
  /// Answers to clients that were failures.
  private(set) var failures: [Failure.Code: UInt64] = [:]
  var malformedFrames: UInt64 = 0
  var malformedRequests: UInt64 = 0

  mutating func onRefused(_ reason: Refusal.Reason) { refused[reason, default: 0] += 1 }
  mutating func onDropped(_ reason: Slowness) { dropped[reason, default: 0] += 1 }
  mutating func onOverload(_ limit: Limit) { overloads[limit, default: 0] += 1 }
  mutating func onFloodFrames(_ count: Int, in turn: FloodTurn) { floodFrames[turn, default: 0] += UInt64(count) }
  mutating func onFailure(_ code: Failure.Code) { failures[code, default: 0] += 1 }
}
