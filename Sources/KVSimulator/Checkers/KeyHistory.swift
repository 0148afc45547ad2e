/// The operations on one key in the form in which the checker works on them: writes and gets numbered in the order of
/// their invocation, what they name resolved, their answers in order. Writes that were rejected and gets that failed
/// tell nothing and are left out.
struct KeyHistory {
  /// What a write goes out from.
  enum Basis {
    case overwrite
    /// The context of this get.
    case get(Int)
    /// The context of this write's receipt.
    case receipt(Int)
    /// A context that no answer in this history can have brought: nothing is known of it.
    case untraceable
  }

  struct Write {
    let number: Int
    let kind: Operation.Kind
    let quorum: Int
    let invokedAt: UInt64
    /// No later write is replaced by this one but through its context, nanoseconds.
    let end: UInt64
    let ttlMs: UInt64?
    let isAcknowledged: Bool
    /// Sent once, so that with a context it has one dot.
    let isSentOnce: Bool
    var basis = Basis.untraceable
    /// Place of its invocation among the events.
    var invoked = UInt32.max

    /// Whoever sees this write sees all of it, for it has one dot only.
    var isOneDot: Bool {
      switch basis {
      case .get, .receipt: isSentOnce
      case .overwrite, .untraceable: false
      }
    }

    /// It may be in a record without being shown.
    func mayHide(at time: UInt64, _ bounds: HistoryChecker.Bounds) -> Bool {
      if kind == .delete { return true }
      guard let ttlMs else { return false }
      guard let error = bounds.clockErrorMs else { return true }
      return invokedAt.later(byMs: ttlMs) <= time.later(byMs: 2 &* min(error, .max / 2))
    }
  }

  struct Get {
    let number: Int
    let quorum: Int
    let invokedAt: UInt64
    let returnedAt: UInt64
    /// Where the writes that it showed stand in `shown`; each once.
    var shown = 0..<0
    var isBelieved = true
    var invoked = UInt32.max
  }

  /// An invocation or an answer of a get that was answered or a write that was acknowledged.
  struct Event {
    let at: UInt64
    /// Of what happens at one time, answers come first; last come the answers to what was invoked only then.
    let phase: UInt8
    let isAnswer: Bool
    let isGet: Bool
    let index: Int
  }

  var writes: [Write] = []
  var gets: [Get] = []
  var shown: [Int] = []
  var events: [Event] = []

  func shown(by get: Int) -> ArraySlice<Int> { shown[gets[get].shown] }

  mutating func add(_ operation: Operation, end: UInt64) -> Int {
    if operation.kind == .get {
      let returned = max(operation.returnedAt ?? .max, operation.invokedAt)
      gets.append(
        Get(
          number: operation.number, quorum: operation.quorum, invokedAt: operation.invokedAt, returnedAt: returned))
      note(isGet: true, gets.count - 1, operation.invokedAt, returned)
      return gets.count - 1
    }
    let isAcknowledged = operation.outcome == .ok && operation.returnedAt != nil
    writes.append(
      Write(
        number: operation.number, kind: operation.kind, quorum: operation.quorum, invokedAt: operation.invokedAt,
        end: end, ttlMs: operation.ttlMs, isAcknowledged: isAcknowledged, isSentOnce: operation.attempts <= 1))
    if isAcknowledged { note(isGet: false, writes.count - 1, operation.invokedAt, end) }
    return writes.count - 1
  }

  private mutating func note(isGet: Bool, _ index: Int, _ invokedAt: UInt64, _ returnedAt: UInt64) {
    events.append(Event(at: invokedAt, phase: 1, isAnswer: false, isGet: isGet, index: index))
    let phase: UInt8 = returnedAt > invokedAt ? 0 : 2
    events.append(Event(at: returnedAt, phase: phase, isAnswer: true, isGet: isGet, index: index))
  }

  /// Puts the events in order and tells the operations their places.
  mutating func order() {
    events.sort { ($0.at, $0.phase, $0.index) < ($1.at, $1.phase, $1.index) }
    for (place, event) in events.enumerated() where !event.isAnswer {
      if event.isGet { gets[event.index].invoked = UInt32(place) } else { writes[event.index].invoked = UInt32(place) }
    }
  }
}
