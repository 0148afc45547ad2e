internal import KVModel
internal import Synchronization
internal import Tracing

/// Where a call may go.
enum Route {
  /// An owner of the key, else any node of the cluster.
  case key(Token)
  /// Any node of the cluster.
  case any
  /// The node at this address and no other, whatever cluster it is of.
  case address(Address)
}

/// One call, from its submission to its end, through however many attempts.
///
/// ```
///   new ──► placed ──► attempt: waiting ──► sent ──reply──────────────────► ended
///             ▲           │ no connection     │ a failure that passes, lost,
///             │◄──────────┘                   │ silent for too long
///             └────────── backing off ◄───────┘
/// ```
///
/// Its fields but `isCancelled` and the constants belong to the loop.
final class Call: @unchecked Sendable {
  enum Ending {
    case user(CheckedContinuation<Result<ClientResponse, KVError>, Never>)
    /// The client's own fetch of a layout.
    case refresh
  }

  /// The part of the request that retries change is `isRetry` of a write.
  private(set) var request: ClientRequest
  let route: Route
  /// How long it may take in all.
  let limit: Span64
  /// One span a call, an event an attempt; nil when nobody traces.
  let span: (any Tracing.Span)?
  /// Set by whoever cancels, before the loop hears of it: a call may be cancelled before it is submitted.
  let isCancelled = Atomic<Bool>(false)

  /// Names it among the open calls; 0 before it is submitted.
  var id: UInt64 = 0
  var ending: Ending?
  var startedAt = Instant(nanoseconds: 0)
  /// `limit` after it was submitted.
  var deadline = Instant.distantFuture

  /// What is under way: one attempt, or two after a hedge or a silence. In the order in which they began.
  var open: [Attempt] = []
  var progress = CallProgress()
  /// When the next retry begins; nil when none is waited for.
  var retryAt: Instant?
  /// Links that failed this round; none is asked twice in a round while another is left.
  var tried: [NodeLink] = []
  /// What the error will tell of each attempt that ended.
  var attempts: [KVError.Attempt] = []
  /// Of the last attempt that was sent and failed; of the last one that was not while none was sent.
  var lastError: KVError?
  var wasSent = false

  /// Attempts beyond these are left out of errors.
  static let attemptsToldMax = 32

  init(_ request: ClientRequest, _ route: Route, within limit: Span64, span: (any Tracing.Span)? = nil) {
    self.request = request
    self.route = route
    self.limit = limit
    self.span = span
  }

  var kind: CallKind {
    switch request {
    case .get: .get
    case .write(let write): if case .delete = write.payload { .delete } else { .put }
    case .reserveCluster, .formCluster: .change
    case .explain, .describe, .fetchLayout, .repair: .question
    }
  }

  /// Whether the call changes something, so that its loss on the way leaves its outcome unknown.
  var isWrite: Bool {
    switch kind {
    case .put, .delete, .change: true
    case .get, .question: false
    }
  }

  /// Whether it may be sent again: reads freely, writes by their request id, and nothing that is meant for one node.
  var isRepeatable: Bool {
    if case .address = route { return false }
    return kind != .change
  }

  var isEnded: Bool { ending == nil }

  /// Bytes of its value, which it holds in memory until it ends.
  var valueBytes: Int {
    if case .write(let write) = request, case .put(let value, _) = write.payload { value.count } else { 0 }
  }

  /// What is known of its effect if it ends now without an answer.
  var outcome: KVError.Outcome {
    isWrite && (progress.mayBeApplied || open.contains(where: \.isSent)) ? .unknown : .notApplied
  }

  /// An attempt is about to be sent: says whether an earlier one may have been applied.
  func markRetry() {
    guard case .write(var write) = request, !write.isRetry,
      progress.mayBeApplied || open.contains(where: \.isSent)
    else { return }
    write.isRetry = true
    request = .write(write)
  }
}

/// One try of a call at one node.
final class Attempt {
  enum Kind: String {
    case first
    case retry
    /// The same read at a second owner, while the first one is still silent.
    case hedge
  }

  let call: Call
  let link: NodeLink
  let kind: Kind
  let startedAt: Instant
  /// Names it on the wire; 0 before it is sent.
  var id: UInt64 = 0
  /// Handed to the link's connection: the node may act on it. Otherwise it is queued at a link that is connecting.
  var isSent = false
  var sentAt = Instant(nanoseconds: 0)
  /// Its event stands in the call's span.
  var isTraced = false

  init(_ call: Call, at link: NodeLink, _ kind: Kind, startedAt: Instant) {
    self.call = call
    self.link = link
    self.kind = kind
    self.startedAt = startedAt
  }
}

/// Why a link carries nothing.
struct LinkFault: Hashable {
  var code: KVError.Code
  var message: String
  var retryAfter: Duration?

  var error: KVError { KVError(code, message, retryAfter: retryAfter) }
}

/// What a call is about, in metrics and spans.
enum CallKind: String, CaseIterable {
  case get
  case put
  case delete
  /// About the cluster, or what each owner holds.
  case question
  /// Forms a cluster.
  case change
}
