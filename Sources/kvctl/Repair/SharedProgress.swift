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
    let width = 30
    let filled = total == 0 ? width : min(width, width * done / total)
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
    return "[\(bar)] \(Units.count(done)) of \(Units.count(total)) \(what)"
  }
}
