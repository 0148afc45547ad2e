import Synchronization

/// Counts the node's client connections over all its loops, and says when there are enough.
final class Admission: Sendable {
  private struct Counts {
    var all = 0
    var greeting = 0
    var refused: UInt64 = 0
  }

  private let counts = Mutex(Counts())
  private let limits: NodeConfiguration.Limits

  init(limits: NodeConfiguration.Limits) { self.limits = limits }

  /// Whether one more may come in. The caller closes it otherwise: it has not spoken yet, so nobody answers it.
  func admit() -> Bool {
    counts.withLock { counts in
      guard counts.all < limits.connections, counts.greeting < limits.connectionsBeforeHello else {
        counts.refused += 1
        return false
      }
      counts.all += 1
      counts.greeting += 1
      return true
    }
  }

  func onGreeted() { counts.withLock { $0.greeting -= 1 } }

  func onClosed(wasGreeting: Bool) {
    counts.withLock { counts in
      counts.all -= 1
      if wasGreeting { counts.greeting -= 1 }
    }
  }

  /// Connections now, those of them without HELLO, and those refused since the start.
  var snapshot: (all: Int, greeting: Int, refused: UInt64) {
    counts.withLock { ($0.all, $0.greeting, $0.refused) }
  }
}
