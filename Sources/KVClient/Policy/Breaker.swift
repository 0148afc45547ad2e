internal import KVModel
internal import KVNet

/// Keeps calls away from a node that fails, and lets one through now and then to see whether it is well again.
///
/// ```
///             5 failures in a row, or no connection            the wait is over: one call may go
///   closed ───────────────────────────────────────► open ──────────────────────────────────► probing
///     ▲                                               ▲                                        │  │
///     │                                               └────── it failed, or told nothing ──────┘  │
///     └───────────────────────────── it succeeded ────────────────────────────────────────────────┘
/// ```
///
/// The waits double from 100 ms to 5 s, each ±20 %, so that a crowd of clients that lost the same node does not come
/// back in step. Calls for which no other node is left go through an open breaker all the same: it orders the choices,
/// it does not forbid the last one.
struct Breaker: Hashable, Sendable {
  enum State: Hashable {
    case closed(failures: Int)
    case open(until: Instant)
    /// A call is out to see. Past `until` another one may go: the first may have ended without telling anything.
    case probing(until: Instant)
  }

  private(set) var state = State.closed(failures: 0)
  private var backoff = Breaker.waits

  static let failuresMax = 5
  private static let waits = Backoff(baseMilliseconds: 100, maxMilliseconds: 5_000)

  static func == (a: Breaker, b: Breaker) -> Bool { a.state == b.state && a.backoff == b.backoff }

  func hash(into hasher: inout Hasher) { hasher.combine(state) }

  /// Whether a call may go to the node.
  func admits(at now: Instant) -> Bool {
    switch state {
    case .closed: true
    case .open(let until), .probing(let until): until <= now
    }
  }

  /// A call goes to the node, as `admits` said or because there is no other.
  mutating func onChosen(at now: Instant, random: UInt64) {
    switch state {
    case .closed: break
    case .open(let until), .probing(let until):
      guard until <= now else { return }
      state = .probing(until: now.advanced(by: nextWait(random)))
    }
  }

  /// The node answered, whatever it said.
  mutating func onSuccess() {
    if case .closed(0) = state { return }
    state = .closed(failures: 0)
    backoff.reset()
  }

  /// The node failed a call. True: from now on it is avoided.
  mutating func onFailure(at now: Instant, random: UInt64) -> Bool {
    switch state {
    case .closed(let failures) where failures + 1 < Breaker.failuresMax:
      state = .closed(failures: failures + 1)
      return false
    case .closed, .probing:
      trip(at: now, random: random)
      return true
    case .open: return false
    }
  }

  /// There is no connection to the node: it is avoided at once. Answers when it may be tried again.
  @discardableResult
  mutating func trip(at now: Instant, random: UInt64) -> Instant {
    let until = now.advanced(by: nextWait(random))
    state = .open(until: until)
    return until
  }

  private mutating func nextWait(_ random: UInt64) -> Span64 {
    .milliseconds(backoff.nextMilliseconds(random: random))
  }
}
