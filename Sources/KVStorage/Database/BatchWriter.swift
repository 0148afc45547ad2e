import Dispatch
import Synchronization

/// The one thread that writes to a database with `durability: sync`.
///
/// ```
///   loop:    …gather 2……│hand 2│…gather 3……│reclaim 3, gather more│hand 3│
///   writer:  write+sync 1…………│write+sync 2……………………………………│write+sync 3
/// ```
///
/// While a sync is under way the next batch lies here, and the loop takes it back to add to it. So the writer never
/// waits for the loop to wake, and every batch is as large as it can be.
final class BatchWriter: Sendable {
  private struct State {
    /// Waiting, oldest first.
    var waiting: [WriteBatch] = []
    var isRunning = false
    var hasFailed = false
  }

  private let database: Database
  private let mailbox: Mailbox
  private let queue: DispatchQueue
  private let beforeWrite: (@Sendable () -> Void)?
  private let state = Mutex(State())

  init(database: Database, mailbox: Mailbox, beforeWrite: (@Sendable () -> Void)?) {
    self.database = database
    self.mailbox = mailbox
    self.beforeWrite = beforeWrite
    queue = DispatchQueue(label: "ringkv.log")
  }

  /// Passes a batch on. It belongs to the writer until it is reclaimed or comes back as an `Event`.
  func hand(_ batch: WriteBatch) {
    let starts = state.withLock { state in
      state.waiting.append(batch)
      defer { state.isRunning = true }
      return !state.isRunning
    }
    if starts { queue.async { self.run() } }
  }

  /// Takes the newest batch back, unless it is being written already.
  func reclaim() -> WriteBatch? {
    state.withLock { $0.waiting.popLast() }
  }

  /// Returns once everything handed on before has been written.
  func drain() { queue.sync {} }

  private func run() {
    while let batch = next() {
      beforeWrite?()
      let begin = DispatchTime.now().uptimeNanoseconds
      let error = database.write(batch, synced: true)
      if error != nil { state.withLock { $0.hasFailed = true } }
      mailbox.post(.written(batch, error, ns: DispatchTime.now().uptimeNanoseconds - begin))
    }
  }

  /// After an error nothing is written any more: a retry could find the lost page marked clean (HAZARDS.md row 37).
  private func next() -> WriteBatch? {
    state.withLock { state in
      if state.waiting.isEmpty || state.hasFailed {
        state.isRunning = false
        return nil
      }
      return state.waiting.removeFirst()
    }
  }
}

/// What other threads found out, on its way to the loop.
final class Mailbox: Sendable {
  enum Event: Sendable {
    case written(WriteBatch, RocksDBError?, ns: UInt64)
    case loaded(Load, Load.Outcome, ns: UInt64)
    case measured(shareBytes: [UInt64])
  }

  private let events = Mutex<[Event]>([])
  private let onResults: @Sendable () -> Void

  init(onResults: @escaping @Sendable () -> Void) { self.onResults = onResults }

  /// Wakes the loop only on empty → non-empty.
  func post(_ event: Event) {
    let wakes = events.withLock { events in
      events.append(event)
      return events.count == 1
    }
    if wakes { onResults() }
  }

  func take() -> [Event] {
    events.withLock { events in
      if events.isEmpty { return [] }
      let taken = events
      events = []
      return taken
    }
  }
}
