import Synchronization

/// Counts the connections of one port over all loops, and says when there are enough.
final class Admission: Sendable {
  struct Counts: Equatable {
    var all = 0
    /// Of them, those whose HELLO has not come yet.
    var greeting = 0
    /// Since the start: for want of a place, and for want of one among those not greeted.
    var refused: UInt64 = 0
    var refusedGreeting: UInt64 = 0
  }

  /// One connection's place. Given back once, however often that is asked for.
  struct Place {
    private enum State {
      case greeting
      case greeted
      case free
    }

    private let admission: Admission
    private var state = State.greeting

    fileprivate init(_ admission: Admission) { self.admission = admission }

    mutating func onGreeted() {
      guard state == .greeting else { return }
      state = .greeted
      admission.counts.withLock { $0.greeting -= 1 }
    }

    /// From now on another one may come.
    mutating func free() {
      if state == .free { return }
      let wasGreeting = state == .greeting
      state = .free
      admission.counts.withLock { counts in
        counts.all -= 1
        if wasGreeting { counts.greeting -= 1 }
      }
    }
  }

  private let counts = Mutex(Counts())
  private let connections: Int
  private let beforeHello: Int

  init(connections: Int, beforeHello: Int) {
    self.connections = connections
    self.beforeHello = beforeHello
  }

  /// A place for one more, or nil. The caller closes the connection then: it has not spoken yet, so nobody answers it.
  func admit() -> Place? {
    let isAdmitted = counts.withLock { counts in
      guard counts.all < connections else {
        counts.refused += 1
        return false
      }
      guard counts.greeting < beforeHello else {
        counts.refusedGreeting += 1
        return false
      }
      counts.all += 1
      counts.greeting += 1
      return true
    }
    return isAdmitted ? Place(self) : nil
  }

  var snapshot: Counts { counts.withLock { $0 } }
}
