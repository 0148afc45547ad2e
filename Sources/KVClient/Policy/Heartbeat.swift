internal import KVModel

/// Notices a half-open connection: the other side is gone, and no packet says so.
///
/// Only while something is awaited: an idle connection costs nothing. After `pingAfter` without a byte a PING is sent;
/// a node answers it at once, whatever its disks do, so after `lostAfter` of silence nobody is there. When this process
/// got no time meanwhile, the PING still has half of what lies between the two: who did not listen heard no silence.
struct Heartbeat: Sendable {
  let pingAfter: Span64
  let lostAfter: Span64
  /// The silence that the last PING was sent into, which another byte ends, and when that PING is unanswered.
  private var pinged: (in: Instant, lostAt: Instant)?

  enum Verdict: Equatable {
    /// Nothing is awaited: look again when something is.
    case idle
    case look(at: Instant)
    case ping(lookAgainAt: Instant)
    case lost
  }

  init(pingAfter: Span64, lostAfter: Span64) {
    self.pingAfter = pingAfter
    self.lostAfter = max(pingAfter, lostAfter)
  }

  /// - Parameters:
  ///   - heardAt: When the last byte came.
  ///   - awaitedSince: Since when an answer has been awaited without a break; nil when none is.
  mutating func look(at now: Instant, heardAt: Instant, awaitedSince: Instant?) -> Verdict {
    guard let awaitedSince else { return .idle }
    let silentSince = max(heardAt, awaitedSince)
    if now.since(silentSince) < pingAfter { return .look(at: silentSince.advanced(by: pingAfter)) }
    if let pinged, pinged.in == silentSince { return now < pinged.lostAt ? .look(at: pinged.lostAt) : .lost }
    let answerTime = Span64(nanoseconds: (lostAfter.nanoseconds - pingAfter.nanoseconds) / 2)
    let lostAt = max(silentSince.advanced(by: lostAfter), now.advanced(by: answerTime))
    pinged = (silentSince, lostAt)
    return .ping(lookAgainAt: lostAt)
  }
}
