import KVModel
import Synchronization

/// A wall clock that stands still until it is set.
final class TestClock: Sendable {
  private let time = Mutex(WallTime(milliseconds: 0))

  var now: WallTime { time.withLock { $0 } }

  func set(_ wall: WallTime) { time.withLock { $0 = wall } }
}
