internal import CoreMetrics
internal import KVModel
internal import KVNet
internal import Logging
internal import Tracing

/// A call's attempts: where each goes, what its end means for the next.
extension ClientEngine {
  /// Gives a call to the best link that it has not tried.
  func begin(_ call: Call, _ kind: Attempt.Kind) {
    // A retry may go back to a node that failed before, if there is no other.
    if kind == .retry, nextLink(for: call) == nil { call.tried = [] }
    guard let link = nextLink(for: call) else { return onNoLink(call) }
    call.progress.onBegun()
    if kind == .retry { counters.retries += 1 }
    give(call, to: link, kind)
  }

  private func give(_ call: Call, to link: NodeLink, _ kind: Attempt.Kind) {
    let attempt = Attempt(call, at: link, kind, startedAt: now)
    call.open.append(attempt)
    link.breaker.onChosen(at: now, random: random.next())
    link.take(attempt)
  }

  /// An attempt is on its way: sees to it that it is not waited for in vain.
  func onSent(_ attempt: Attempt) {
    let call = attempt.call
    guard call.isRepeatable, call.open.count == 1 else { return }
    if call.kind == .get, let p95 = readLatency.p95 {
      arm(.hedge, call, at: now.advanced(by: max(p95, ClientEngine.hedgeAfterMin)))
    }
    arm(.patience, call, at: now.advanced(by: patience(of: call)))
  }

  private func patience(of call: Call) -> Span64 {
    let patience = configuration.patience.map { Span64($0) } ?? Span64(nanoseconds: call.limit.nanoseconds / 2)
    return max(patience, ClientEngine.patienceMin)
  }

  /// The timer wheel's tick: sooner than this a hedge is a coin toss.
  static let hedgeAfterMin = Span64.milliseconds(1)

  /// A read takes longer than most: another owner is asked too, if the budget allows.
  func onHedge(_ call: Call) {
    guard call.open.count == 1, let first = call.open.first, first.isSent, first.kind != .hedge,
      now.since(first.sentAt) >= ClientEngine.hedgeAfterMin, let link = hedgeLink(for: call), hedgeBudget.spend()
    else { return }
    counters.hedges += 1
    metrics.hedges.increment()
    give(call, to: link, .hedge)
  }

  /// Half of the call's time is over without an answer: another node is asked beside. A write is marked, so that it is
  /// applied once whichever of the two gets there.
  func onPatienceOver(_ call: Call) {
    guard call.open.count == 1, let silent = call.open.first, silent.isSent,
      now.since(silent.sentAt) >= patience(of: call),
      call.progress.attempts < policy.attemptsMax, let link = spareLink(for: call, beside: silent.link),
      retryBudget.spend()
    else { return }
    onNodeFailed(silent.link)
    counters.retries += 1
    metrics.retries.increment()
    call.progress.onBegun()
    give(call, to: link, .retry)
  }

  // MARK: Ends of attempts

  /// A link failed before it sent the attempt, which goes elsewhere: no node was asked anything.
  func onUnsent(_ attempt: Attempt, _ fault: LinkFault) {
    let call = attempt.call
    guard !call.isEnded else { return }
    note(attempt, fault.code)
    drop(attempt)
    call.tried.append(attempt.link)
    // What came of an attempt that was sent says more than that another node is not there.
    if !call.wasSent { call.lastError = fault.error }
    guard call.open.isEmpty else { return }
    guard let link = nextLink(for: call) else { return onNoLink(call) }
    give(call, to: link, attempt.kind)
  }

  /// A link broke after it sent the attempt.
  func onLost(_ attempt: Attempt, _ fault: LinkFault) {
    let call = attempt.call
    guard !call.isEnded else { return }
    call.progress.onEnded(.unknown)
    onFailed(attempt, fault.error)
  }

  func onReply(_ attempt: Attempt, _ response: ClientResponse) {
    let call = attempt.call
    guard !call.isEnded else { return }
    if call.kind == .get { readLatency.record(now.since(attempt.sentAt)) }
    guard case .failed(let failure) = response else {
      attempt.link.breaker.onSuccess()
      trace(attempt, nil)
      if attempt.kind == .hedge { counters.hedgesWon += 1 }
      return finish(call, .success(response), by: attempt)
    }
    if failure.code == .storageFailed { onNodeFailed(attempt.link) } else { attempt.link.breaker.onSuccess() }
    call.progress.onEnded(failure.outcome == .unknown ? .unknown : .rejected)
    onFailed(attempt, KVError(failure))
  }

  /// An attempt that was sent has failed: another one, now or later, or the end.
  private func onFailed(_ attempt: Attempt, _ error: KVError) {
    let call = attempt.call
    note(attempt, error.code)
    drop(attempt)
    call.tried.append(attempt.link)
    call.lastError = error
    call.wasSent = true
    let retryability = Retryability(error.code)
    // The other attempt may still be answered.
    if !call.open.isEmpty, retryability != .never { return }
    retry(call, retryability, error)
  }

  /// No link is left that was not tried.
  private func onNoLink(_ call: Call) {
    let error = KVError.unreachable(call)
    guard call.lastError != nil else { return end(call, error) }
    retry(call, Retryability(error.code), error)
  }

  private func retry(_ call: Call, _ retryability: Retryability, _ error: KVError) {
    guard call.isRepeatable, retryability != .elsewhere || nextLink(for: call) != nil else { return fail(call, error) }
    // A quarter of its time is left to the last attempt: a short one would end as unknown what was clearly refused.
    let lastStart = call.startedAt.advanced(by: Span64(nanoseconds: call.limit.nanoseconds / 4 * 3))
    let decision = policy.decision(
      retryability, attempts: call.progress.attempts, age: now.since(call.startedAt), left: lastStart.since(now),
      retryAfter: error.retryAfter.map { Span64($0) } ?? .zero, random: random.next())
    switch decision {
    case .end: fail(call, error)
    case .retry(let wait):
      guard retryBudget.spend() else {
        counters.retriesDenied += 1
        return fail(call, error)
      }
      metrics.retries.increment()
      call.retryAt = now.advanced(by: wait)
      arm(.retry, call, at: now.advanced(by: wait))
    }
  }

  /// The wait is over.
  func onRetry(_ call: Call) {
    guard let retryAt = call.retryAt, retryAt <= now else { return }
    call.retryAt = nil
    begin(call, .retry)
  }

  private func fail(_ call: Call, _ error: KVError) {
    var error = error
    error.outcome = call.outcome
    end(call, error)
  }

  // MARK: Bookkeeping

  /// Takes an attempt that failed from its call.
  private func drop(_ attempt: Attempt) {
    attempt.call.open.removeAll { $0 === attempt }
    close(attempt, answered: true)
  }

  /// An attempt is over. When it is not answered, the node is told that nobody waits.
  func close(_ attempt: Attempt, answered: Bool) {
    guard attempt.isSent, attempts.remove(attempt.id) else { return }
    if !answered { trace(attempt, .cancelled) }
    attempt.link.onEnded(attempt, answered: answered)
  }

  /// For the error that may end the call, and for its span.
  func note(_ attempt: Attempt, _ code: KVError.Code) {
    trace(attempt, code)
    let call = attempt.call
    guard call.attempts.count < Call.attemptsToldMax else { return }
    let elapsed = Duration.nanoseconds(Int64(now.since(attempt.startedAt).nanoseconds))
    call.attempts.append(KVError.Attempt(node: attempt.link.name, elapsed: elapsed, code: code))
  }

  /// A node failed a call; when it does so again and again it is avoided.
  func onNodeFailed(_ link: NodeLink) {
    guard link.breaker.onFailure(at: now, random: random.next()) else { return }
    counters.breakersOpened += 1
    metrics.breakersOpened.increment()
    logger.info("a node fails call after call and is avoided", metadata: ["node": "\(link.name)"])
  }
}
