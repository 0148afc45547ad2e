internal import KVModel
internal import KVNet

/// How the engine meets its loop: threads, clock, timers.
extension ClientEngine {
  /// Runs `body` on the loop, where the engine's state is.
  func onLoop(_ body: @escaping @Sendable (ClientEngine) -> Void) {
    loop.execute { body(self) }
  }

  /// The same, with an answer.
  func onLoop<Value: Sendable>(_ body: @escaping @Sendable (ClientEngine) -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      loop.execute { continuation.resume(returning: body(self)) }
    }
  }

  /// The time of this turn. Loop only.
  var now: Instant { Instant(nanoseconds: loop.now) }

  func arm(_ purpose: CallTimer, _ call: Call, at deadline: Instant) {
    schedule(TimerToken.call(call.id, purpose).bits, at: deadline)
  }

  func arm(_ purpose: LinkTimer, _ link: NodeLink, attempt: UInt32 = 0, at deadline: Instant) {
    schedule(TimerToken.link(link.number, attempt: attempt, purpose).bits, at: deadline)
  }

  private func schedule(_ token: UInt64, at deadline: Instant) {
    if timers == nil { timers = loop.makeTimerClient(self) }
    guard let timers else { return }
    loop.schedule(at: deadline.nanoseconds, token, for: timers)
  }
}

/// What a call waits for.
enum CallTimer: UInt64 {
  case deadline
  case retry
  case hedge
  case patience
}

/// What a link waits for.
enum LinkTimer: UInt64 {
  /// The connection is to be made and greeted by then.
  case connect
  case heartbeat
  case reconnect
}

/// What a timer is for, in 64 bits: whose it is, two bits of purpose, then a call's id, or a link's number and attempt.
/// Timers are never withdrawn; whoever meets one looks whether it still means something.
enum TimerToken: Equatable {
  case call(UInt64, CallTimer)
  case link(UInt32, attempt: UInt32, LinkTimer)

  private static let linkBit: UInt64 = 1 << 63
  private static let purposeShift: UInt64 = 61

  var bits: UInt64 {
    switch self {
    case .call(let id, let purpose): purpose.rawValue << TimerToken.purposeShift | id
    case .link(let number, let attempt, let purpose):
      TimerToken.linkBit | purpose.rawValue << TimerToken.purposeShift | UInt64(number) << 32 | UInt64(attempt)
    }
  }

  init?(bits: UInt64) {
    let purpose = bits >> TimerToken.purposeShift & 3
    let rest = bits & (1 << TimerToken.purposeShift - 1)
    if bits & TimerToken.linkBit == 0 {
      guard let purpose = CallTimer(rawValue: purpose) else { return nil }
      self = .call(rest, purpose)
    } else {
      guard let purpose = LinkTimer(rawValue: purpose) else { return nil }
      self = .link(UInt32(rest >> 32), attempt: UInt32(truncatingIfNeeded: rest), purpose)
    }
  }
}

extension ClientEngine: TimerHandler {
  func onTimer(_ bits: UInt64) {
    switch TimerToken(bits: bits) {
    case .call(let id, let purpose): if let call = calls[id] { onTimer(purpose, call) }
    case .link(let number, let attempt, let purpose): onTimer(purpose, linksByNumber[Int(number)], attempt)
    case nil: break
    }
  }

  private func onTimer(_ purpose: CallTimer, _ call: Call) {
    switch purpose {
    case .deadline: onDeadline(call)
    case .retry: onRetry(call)
    case .hedge: onHedge(call)
    case .patience: onPatienceOver(call)
    }
  }

  private func onTimer(_ purpose: LinkTimer, _ link: NodeLink, _ attempt: UInt32) {
    switch purpose {
    case .connect: link.onConnectDeadline(attempt: attempt)
    case .heartbeat: link.onHeartbeat()
    case .reconnect: link.onReconnect()
    }
  }
}
