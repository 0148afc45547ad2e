internal import KVModel

/// Notices a half-open connection: the other side is gone, and no packet says so.
///
/// Only while something is awaited: an idle connection costs nothing. After `pingAfter` without a byte a PING is sent;
/// a node answers it at once, whatever its disks do, so after `lostAfter` of silence nobody is there.
struct Heartbeat: Hashable, Sendable {
  let pingAfter: Span64
  let lostAfter: Span64
  /// The silence that the last PING was sent into; another byte begins another one.
  private var pingedIn: Instant?

  enum Verdict: Hashable {
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
    let silence = now.since(silentSince)
    if silence >= lostAfter { return .lost }
    if silence < pingAfter { return .look(at: silentSince.advanced(by: pingAfter)) }
    let end = silentSince.advanced(by: lostAfter)
    if pingedIn == silentSince { return .look(at: end) }
    pingedIn = silentSince
    return .ping(lookAgainAt: end)
  }
}
