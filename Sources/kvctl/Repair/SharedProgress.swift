import Synchronization

/// A bar on stderr that several tasks move, where stderr is a terminal.
final class SharedProgress: Sendable {
  private struct State {
    var line = Progress()
    var done = 0
  }

  private let what: String
  private let total: Int
  private let state = Mutex(State())

  init(_ what: String, of total: Int) {
    self.what = what
    self.total = total
  }

  func onPartition() {
    state.withLock { state in
      state.done += 1
      state.line.show(SharedProgress.text(what, state.done, of: total))
    }
  }

  func show(done: Int) {
    state.withLock { state in
      state.done = done
      state.line.show(SharedProgress.text(what, done, of: total))
    }
  }

  func clear() { state.withLock { $0.line.clear() } }

  static func text(_ what: String, _ done: Int, of total: Int) -> String {
    let bar = ProgressBar.bar(UInt64(done), of: UInt64(total), empty: ".")
    return "\(bar) \(Units.count(done)) of \(Units.count(total)) \(what)"
  }
}
