import Foundation

/// How far an import or export has come, in a file, so that the same command goes on from there.
///
/// One line: `kvctl-checkpoint 1 LINES SUBJECT`. LINES of the input are done, without a gap; SUBJECT is the input's path.
/// Replaced as a whole, at most once a second and at the end; gone when everything is done.
struct Checkpoint {
  let path: String
  let subject: String
  private var written: ContinuousClock.Instant?

  private static let head = "kvctl-checkpoint 1 "

  init(path: String, subject: String) {
    self.path = path
    self.subject = subject
  }

  /// Lines that are done already; 0 when there is no such file yet.
  func linesDone() throws(CommandFailure) -> Int {
    guard let data = FileManager.default.contents(atPath: path) else { return 0 }
    let text = String(decoding: data, as: UTF8.self)
    let fields = text.dropFirst(Checkpoint.head.count).split(separator: " ", maxSplits: 1)
    guard text.hasPrefix(Checkpoint.head), text.hasSuffix("\n"), fields.count == 2, let lines = Int(fields[0]),
      lines >= 0
    else { throw .usage("\(path) is not a checkpoint; give another --checkpoint, or remove it") }
    guard fields[1].dropLast() == subject else {
      throw .usage("the checkpoint \(path) is of \(fields[1].dropLast()), not of \(subject); remove it to begin anew")
    }
    return lines
  }

  /// Notes how far it has come, now and then.
  mutating func note(_ lines: Int) throws(CommandFailure) {
    let now = ContinuousClock.now
    if let written, written.duration(to: now) < .seconds(1) { return }
    written = now
    try write(lines)
  }

  /// The end: of everything, or as far as it came.
  func finish(_ lines: Int, isWhole: Bool) throws(CommandFailure) {
    if isWhole { unlink(path) } else { try write(lines) }
  }

  private func write(_ lines: Int) throws(CommandFailure) {
    let draft = path + ".new"
    try Files.write(Array("\(Checkpoint.head)\(lines) \(subject)\n".utf8), path: draft)
    guard rename(draft, path) == 0 else {
      throw CommandFailure(.error, "io", "cannot write \(path): \(String(cString: strerror(errno)))")
    }
  }
}

/// Counts the lines that are done without a gap; lines end in any order.
struct LineWatermark: Equatable {
  private(set) var done: Int
  private var early: Set<Int> = []

  init(done: Int = 0) { self.done = done }

  /// Line `number`, counted from 1, is done. Lines that failed are never said to be, so that they are tried again.
  mutating func settle(_ number: Int) {
    early.insert(number)
    while early.remove(done + 1) != nil { done += 1 }
  }
}

/// `[#########           ]  45 %  12,345 written, 6,789/s`
enum ProgressBar {
  private static let width = 30

  /// `whole` is 0 for a pipe, whose end nobody knows: then there is no bar.
  static func line(_ part: UInt64, of whole: UInt64, _ rest: String) -> String {
    guard whole > 0 else { return rest }
    let percent = Text.right(Units.percent(min(part, whole), of: whole, digits: 0), 5)
    return "\(bar(part, of: whole, empty: " ")) \(percent)  \(rest)"
  }

  /// Nothing of nothing is all of it.
  static func bar(_ part: UInt64, of whole: UInt64, empty: String) -> String {
    let filled = whole == 0 ? width : Int(Double(width) * min(1, Double(part) / Double(whole)))
    return "[" + String(repeating: "#", count: filled) + String(repeating: empty, count: width - filled) + "]"
  }
}

extension CommandFailure {
  /// Of an import or export that was interrupted when `lines` of its input were done.
  static func interrupted(behind lines: Int, goesOn: Bool) -> CommandFailure {
    let advice = goesOn ? "the same command goes on there" : "--checkpoint FILE would note how far it comes"
    return CommandFailure(
      .interrupted, "cancelled", "interrupted behind line \(Units.count(lines)); \(advice)")
  }
}
