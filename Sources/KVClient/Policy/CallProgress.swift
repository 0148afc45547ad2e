internal import KVModel

/// How far a call has come through its attempts, and what may be believed of its effect.
///
/// A write may have been applied as soon as one attempt was sent and ended otherwise than by a plain "rejected". From
/// then on every further attempt is marked as a retry, so that the coordinator asks all owners about its request id
/// before it mints, and nothing but an answer makes the outcome known again. Until then an attempt is as good as the
/// first one.
struct CallProgress: Hashable, Sendable {
  /// Attempts that were sent, and rounds in which no node could be reached.
  private(set) var attempts = 0
  private(set) var mayBeApplied = false

  /// How an attempt that was sent ended.
  enum Ending: Hashable {
    /// The node says that it did nothing and never will.
    case rejected
    /// The connection broke, nobody answered, or the node itself does not know.
    case unknown
  }

  mutating func onBegun() { attempts += 1 }

  mutating func onEnded(_ ending: Ending) {
    switch ending {
    case .rejected: break
    case .unknown: mayBeApplied = true
    }
  }
}
