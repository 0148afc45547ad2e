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

  /// Tokens of connect timers bear the highest bit, then the link's number and its attempt; those of calls are their ids.
  private static let connectBit: UInt64 = 1 << 63

  func arm(_ call: Call, at deadline: Instant) { schedule(call.id, at: deadline) }

  func armConnect(_ link: NodeLink, attempt: UInt32) {
    let token = ClientEngine.connectBit | UInt64(link.number) << 32 | UInt64(attempt)
    schedule(token, at: now.advanced(by: Span64(configuration.connectTimeout)))
  }

  private func schedule(_ token: UInt64, at deadline: Instant) {
    if timers == nil { timers = loop.makeTimerClient(self) }
    guard let timers else { return }
    loop.schedule(at: deadline.nanoseconds, token, for: timers)
  }
}

extension ClientEngine: TimerHandler {
  func onTimer(_ token: UInt64) {
    guard token & ClientEngine.connectBit != 0 else {
      if let call = calls[token] { onDeadline(call) }
      return
    }
    let number = Int((token & ~ClientEngine.connectBit) >> 32)
    linksByNumber[number].onConnectDeadline(attempt: UInt32(truncatingIfNeeded: token))
  }
}
