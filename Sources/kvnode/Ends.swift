import Dispatch
import Glibc
import Logging
import Synchronization

/// The reasons to leave: a signal, or a node that cannot go on. The first one counts; a second signal ends the process at
/// once, and five seconds after the first it ends in any case.
final class Ends: Sendable {
  /// From the first signal to the exit, whatever happens.
  static let leaveMs = 4_900

  private let logger: Logger
  private let sink: LogSink
  private let queue = DispatchQueue(label: "kvnode.signals")
  private let stream: AsyncStream<NodeProcess.End>
  private let continuation: AsyncStream<NodeProcess.End>.Continuation
  private let signals = Mutex(0)

  init(logger: Logger, sink: LogSink) {
    self.logger = logger
    self.sink = sink
    (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1))
  }

  func first() async -> NodeProcess.End {
    for await end in stream { return end }
    return .halt("nobody waits for it any more")
  }

  /// Once a node that was asked to leave has failed, there is nothing left to wait for.
  func onHalt(_ reason: String) {
    continuation.yield(.halt(reason))
    guard signals.withLock({ $0 > 0 }) else { return }
    sink.flush(withinMs: 100)
    _exit(Program.failed)
  }

  func watchSignals() {
    for number in [SIGTERM, SIGINT] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      // The handler holds its source, which nobody else does and which lives as long as the process.
      source.setEventHandler { withExtendedLifetime(source) { self.onSignal(number) } }
      source.resume()
    }
  }

  private func onSignal(_ number: Int32) {
    let count = signals.withLock { count in
      count += 1
      return count
    }
    guard count == 1 else {
      logger.warning("leaving at once", metadata: ["signal": "\(number)"])
      sink.flush(withinMs: 100)
      _exit(128 + number)
    }
    queue.asyncAfter(deadline: .now() + .milliseconds(Ends.leaveMs)) { self.onOverdue() }
    continuation.yield(.signal(number))
  }

  private func onOverdue() {
    logger.critical(
      "not stopped in time: leaving as after a crash", metadata: ["after_ms": "\(Ends.leaveMs)"])
    sink.flush(withinMs: 100)
    _exit(Program.failed)
  }
}
