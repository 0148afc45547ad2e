import Foundation
import KVModel

/// stdout and stderr.
enum Output {
  static func write(_ report: Report, _ format: OutputFormat, _ identity: ClusterIdentity?) {
    for note in report.notes { Output.note(note) }
    switch format {
    case .table:
      if let value = report.value { bytes(value) }
      for line in report.lines { for part in wrapped(line, STDOUT_FILENO) { Output.line(part) } }
    case .json:
      line(report.envelope(identity).pretty)
    case .jsonl:
      for row in report.jsonLines { Output.line(row) }
    }
    for failure in report.failures { note("kvctl: error: \(prefix(failure))\(failure.message)") }
  }

  private static func prefix(_ failure: CommandFailure) -> String {
    guard let node = failure.node, !failure.message.contains(node) else { return "" }
    return "\(node): "
  }

  static func line(_ text: String) { bytes(Array(text.utf8) + [UInt8(ascii: "\n")]) }

  /// To stderr, so that stdout holds results alone.
  static func note(_ text: String) {
    let lines = wrapped(text, STDERR_FILENO).map { $0 + "\n" }
    // Nothing is left to be told when stderr is gone.
    try? Files.write(Array(lines.joined().utf8), to: STDERR_FILENO, named: "stderr")
  }

  /// As a terminal shows it best; a file and a pipe get the line as it is.
  private static func wrapped(_ text: String, _ descriptor: Int32) -> [String] {
    guard let width = Terminal.width(of: descriptor) else { return [text] }
    return Wrapping.lines(text, width: width)
  }

  /// A reader that went away (`kvctl … | head`) ends the program, as it does others.
  static func bytes(_ bytes: [UInt8]) {
    do { try Files.write(bytes, to: STDOUT_FILENO, named: "stdout") } catch { exit(ShellStatus.error.rawValue) }
  }
}

/// What is at the other end of stdin, stdout and stderr.
enum Terminal {
  static var isInput: Bool { isatty(STDIN_FILENO) == 1 }
  static var isOutput: Bool { isatty(STDOUT_FILENO) == 1 }
  static var isError: Bool { isatty(STDERR_FILENO) == 1 }

  /// Columns; nil where there is no terminal, or one that does not say.
  static func width(of descriptor: Int32) -> Int? {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  static func hasColour(noColor: Bool) -> Bool {
    let environment = ProcessInfo.processInfo.environment
    return !noColor && isatty(STDOUT_FILENO) == 1 && environment["NO_COLOR"] == nil && environment["TERM"] != "dumb"
  }

  /// Asks on stderr; whatever is not a yes is a no.
  static func confirm(_ question: String) -> Bool {
    try? Files.write(Array("\(question) [y/N] ".utf8), to: STDERR_FILENO, named: "stderr")
    let answer = readLine()?.lowercased() ?? ""
    return answer == "y" || answer == "yes"
  }
}

/// The terminal's screen, for what is shown anew in place.
struct Screen {
  var isOn: Bool

  /// To the upper left corner, and everything behind it gone.
  func clear() { if isOn { Output.bytes(Array("\u{1b}[H\u{1b}[J".utf8)) } }
}
