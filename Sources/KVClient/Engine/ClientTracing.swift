internal import KVModel
internal import Tracing

/// One span a call, one event an attempt. Without a tracer none of it is made.
enum ClientTracing {
  /// A span for a call, nil when nobody traces.
  static func start(_ name: String) -> (any Tracing.Span)? {
    let tracer = InstrumentationSystem.tracer
    if tracer is NoOpTracer { return nil }
    let span = tracer.startAnySpan(name, ofKind: .client)
    span.attributes["db.system.name"] = "ringkv"
    return span
  }

  static func end(_ span: any Tracing.Span, _ error: KVError?) {
    if let error {
      span.attributes["error.type"] = error.code.description
      span.recordError(error)
      span.setStatus(SpanStatus(code: .error, message: error.code.description))
    }
    span.end()
  }
}

extension ClientEngine {
  /// Notes in the call's span how an attempt ended; nil: it was answered.
  func trace(_ attempt: Attempt, _ code: KVError.Code?) {
    guard let span = attempt.call.span, !attempt.isTraced else { return }
    attempt.isTraced = true
    var event = SpanEvent(name: "ringkv.attempt")
    event.attributes["ringkv.node"] = attempt.link.name
    event.attributes["ringkv.attempt.kind"] = attempt.kind.rawValue
    event.attributes["ringkv.attempt.code"] = code?.description ?? "ok"
    event.attributes["ringkv.attempt.elapsed_us"] = Int64(clamping: now.since(attempt.startedAt).nanoseconds / 1_000)
    span.addEvent(event)
  }
}
