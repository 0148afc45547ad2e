import Foundation

/// One line on stderr that is written over, on a terminal only.
struct Progress {
  private let isOn = Terminal.isError
  private var isShown = false

  mutating func show(_ text: String) {
    guard isOn else { return }
    isShown = true
    try? Files.write(Array("\r\u{1b}[K\(text)".utf8), to: STDERR_FILENO, named: "stderr")
  }

  mutating func clear() {
    guard isShown else { return }
    isShown = false
    try? Files.write(Array("\r\u{1b}[K".utf8), to: STDERR_FILENO, named: "stderr")
  }
}
