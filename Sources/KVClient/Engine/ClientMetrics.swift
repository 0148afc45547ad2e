internal import CoreMetrics
internal import KVModel

/// What swift-metrics hears. Everything is made once; without a backend an update costs a few nanoseconds.
///
/// | metric | kind | dimensions |
/// |---|---|---|
/// | kvclient_call_seconds | timer | kind: get put delete question change |
/// | kvclient_calls_failed_total | counter | kind, outcome: not_applied applied unknown |
/// | kvclient_retries_total, kvclient_hedges_total | counter | |
/// | kvclient_connects_total, kvclient_connections_lost_total | counter | |
/// | kvclient_breakers_opened_total, kvclient_layout_fetches_total | counter | |
struct ClientMetrics: Sendable {
  let retries: Counter
  let hedges: Counter
  let connects: Counter
  let connectionsLost: Counter
  let breakersOpened: Counter
  let layoutFetches: Counter
  private let kinds: [Kind]

  private struct Kind: Sendable {
    let seconds: CoreMetrics.Timer
    let notApplied: Counter
    let applied: Counter
    let unknown: Counter
  }

  init(_ factory: any MetricsFactory) {
    func counter(_ name: String, _ dimensions: [(String, String)] = []) -> Counter {
      Counter(label: "kvclient_\(name)_total", dimensions: dimensions, factory: factory)
    }
    retries = counter("retries")
    hedges = counter("hedges")
    connects = counter("connects")
    connectionsLost = counter("connections_lost")
    breakersOpened = counter("breakers_opened")
    layoutFetches = counter("layout_fetches")
    kinds = CallKind.allCases.map { kind in
      func failed(_ outcome: String) -> Counter {
        counter("calls_failed", [("kind", kind.rawValue), ("outcome", outcome)])
      }
      return Kind(
        seconds: CoreMetrics.Timer(
          label: "kvclient_call_seconds", dimensions: [("kind", kind.rawValue)], factory: factory),
        notApplied: failed("not_applied"), applied: failed("applied"), unknown: failed("unknown"))
    }
  }

  func onEnded(_ call: Call, _ result: Result<ClientResponse, KVError>, after span: Span64) {
    let kind = kinds[call.kind.place]
    kind.seconds.recordNanoseconds(Int64(clamping: span.nanoseconds))
    guard case .failure(let error) = result else { return }
    switch error.outcome {
    case .notApplied: kind.notApplied.increment()
    case .applied: kind.applied.increment()
    case .unknown: kind.unknown.increment()
    }
  }
}

extension CallKind {
  /// Its index in `allCases`.
  fileprivate var place: Int {
    switch self {
    case .get: 0
    case .put: 1
    case .delete: 2
    case .question: 3
    case .change: 4
    }
  }
}
