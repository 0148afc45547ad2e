import Dispatch
import Foundation
import KVClient
import KVSimulator
import Synchronization

/// The history of a load, on disk as it happens: a write stands there before it is sent, so that a load which is killed
/// leaves a history that explains every value of the store.
final class LoadJournal: Sendable {
  struct Counts {
    /// By kind, then outcome.
    var outcomes: [Operation.Kind: [Operation.Outcome: Int]] = [:]
    /// By code.
    var errors: [String: Int] = [:]
    /// When a call last succeeded.
    var succeededAt: UInt64 = 0

    var total: Int { outcomes.values.reduce(0) { $0 + $1.values.reduce(0, +) } }

    func total(_ outcome: Operation.Outcome) -> Int { outcomes.values.reduce(0) { $0 + ($1[outcome] ?? 0) } }
  }

  private struct State {
    var counts = Counts()
    /// The first write to the file that failed; nothing is written after it.
    var failure: (any Error)?
  }

  private let file: FileHandle
  private let state = Mutex(State())
  private let last = Atomic<Int>(0)

  /// Makes the file, or empties it, and writes the history's head.
  init(path: String, _ head: History) throws {
    guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path)
    else { throw LoadFailure("cannot write \(path): \(String(cString: strerror(errno)))") }
    self.file = file
    try file.write(contentsOf: Data((HistoryLines.head(head) + "\n").utf8))
  }

  /// One clock for everything in the history; it counts on whatever is done to the wall clock.
  static var now: UInt64 { DispatchTime.now().uptimeNanoseconds }

  var counts: Counts { state.withLock { $0.counts } }

  /// Why the history ends too early.
  var failure: (any Error)? { state.withLock { $0.failure } }

  func nextNumber() -> Int { last.add(1, ordering: .relaxed).newValue }

  /// A write that is about to be sent. A read that nobody answers proves nothing, and is not here before its end.
  func begin(_ operation: Operation) { if operation.isWrite { append(operation) } }

  func end(_ operation: Operation) {
    append(operation) { counts in
      counts.outcomes[operation.kind, default: [:]][operation.outcome, default: 0] += 1
      if let error = operation.error { counts.errors[error, default: 0] += 1 }
      if operation.outcome == .ok { counts.succeededAt = max(counts.succeededAt, operation.returnedAt ?? 0) }
    }
  }

  private func append(_ operation: Operation, _ count: (inout Counts) -> Void = { _ in }) {
    let line = Data((HistoryLines.line(operation) + "\n").utf8)
    state.withLock { state in
      count(&state.counts)
      guard state.failure == nil else { return }
      do { try file.write(contentsOf: line) } catch { state.failure = error }
    }
  }

  func close() throws {
    if let failure { throw failure }
    try file.close()
  }
}

/// Why a load could not be done.
struct LoadFailure: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}
