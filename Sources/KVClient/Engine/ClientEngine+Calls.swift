internal import KVModel
internal import KVNet
internal import Logging
internal import Synchronization
internal import Tracing

/// The life of a call but for its attempts: submitted, admitted, ended.
extension ClientEngine {
  /// Runs a call to its end.
  func perform(
    _ request: ClientRequest, _ route: Route, within limit: Duration?, span: (any Tracing.Span)? = nil
  ) async throws(KVError) -> ClientResponse {
    let call = Call(request, route, within: Span64(limit ?? configuration.deadline), span: span)
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        onLoop { engine in
          call.ending = .user(continuation)
          engine.submit(call)
        }
      }
    } onCancel: {
      call.isCancelled.store(true, ordering: .releasing)
      onLoop { $0.cancel(call) }
    }
    return try result.get()
  }

  private func submit(_ call: Call) {
    register(call)
    if call.isCancelled.load(ordering: .acquiring) { return cancel(call) }
    if let limit = exceededLimit { return end(call, .overloaded(limit)) }
    switch phase {
    case .idle:
      waitingForStart.append(call)
      arm(.deadline, call, at: min(call.deadline, now.advanced(by: Span64(configuration.startGrace))))
    case .running: admit(call)
    case .stopping, .stopped: end(call, .notRunning())
    }
  }

  private func register(_ call: Call) {
    call.id = calls.add(call)
    call.startedAt = now
    call.deadline = now.advanced(by: call.limit)
    valueBytes += call.valueBytes
  }

  /// Its first attempt begins.
  func admit(_ call: Call) {
    arm(.deadline, call, at: call.deadline)
    if call.isRepeatable { retryBudget.earn() }
    if call.kind == .get { hedgeBudget.earn() }
    begin(call, .first)
  }

  /// A call of the client itself.
  func submitOwn(_ call: Call) {
    call.ending = .refresh
    register(call)
    arm(.deadline, call, at: call.deadline)
    begin(call, .first)
  }

  private var exceededLimit: String? {
    if calls.count > configuration.callsInFlightMax { return "\(configuration.callsInFlightMax) calls" }
    if valueBytes > configuration.bytesInFlightMax { return "\(configuration.bytesInFlightMax) bytes of values" }
    return nil
  }

  func onDeadline(_ call: Call) {
    if case .idle = phase { return end(call, .notRunning()) }
    // The timer of its wait for `run()` may come after `run()` has.
    guard call.deadline <= now else { return }
    let error = KVError.timedOut(call)
    for attempt in call.open {
      note(attempt, .timedOut)
      // A caller in a hurry is no sign of a node that is ill.
      if now.since(attempt.startedAt) >= ClientEngine.patienceMin { onNodeFailed(attempt.link) }
    }
    end(call, error)
  }

  /// A node that has not answered for so long failed the call; sooner, its caller gave it no time.
  static let patienceMin = Span64.milliseconds(100)

  private func cancel(_ call: Call) {
    // A call that was not submitted yet is met by `submit`, which sees its flag.
    guard call.ending != nil else { return }
    end(call, KVError(.cancelled, "the task was cancelled", outcome: call.outcome))
  }

  func end(_ call: Call, _ error: KVError) {
    var error = error
    error.attempts = call.attempts
    finish(call, .failure(error))
  }

  /// Ends a call; `winner` is the attempt that was answered, if one was.
  func finish(_ call: Call, _ result: Result<ClientResponse, KVError>, by winner: Attempt? = nil) {
    guard let ending = call.ending else { return }
    call.ending = nil
    call.retryAt = nil
    calls.remove(call.id)
    valueBytes -= call.valueBytes
    let open = call.open
    call.open = []
    for attempt in open { close(attempt, answered: attempt === winner) }
    metrics.onEnded(call, result, after: now.since(call.startedAt))
    switch ending {
    case .user(let continuation): continuation.resume(returning: result)
    case .refresh: onLayoutFetched(result)
    }
    stopIfIdle()
  }
}
