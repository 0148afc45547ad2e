import Dispatch
import Glibc
import Synchronization

/// Takes finished lines and writes them to a descriptor on a queue of its own, so that a pipe that nobody empties or a slow
/// terminal never holds up an event loop. What does not fit into the buffer is dropped, and the loss is told.
final class LogSink: Sendable {
  private struct State {
    var pending: [UInt8] = []
    var dropped = 0
    var droppedInAll = 0
    var isDraining = false
  }

  /// Some 10,000 lines.
  static let pendingBytesMax = 1 << 20

  private let descriptor: Int32
  private let queue = DispatchQueue(label: "kvnode.log")
  private let state = Mutex(State())

  init(descriptor: Int32 = STDERR_FILENO) { self.descriptor = descriptor }

  /// Lines lost since the start.
  var droppedLines: Int { state.withLock { $0.droppedInAll } }

  /// Takes one line, without its newline.
  func write(_ line: String) {
    let mustDrain = state.withLock { state in
      guard state.pending.count + line.utf8.count < LogSink.pendingBytesMax else {
        state.dropped += 1
        state.droppedInAll += 1
        return false
      }
      state.pending.append(contentsOf: line.utf8)
      state.pending.append(UInt8(ascii: "\n"))
      defer { state.isDraining = true }
      return !state.isDraining
    }
    if mustDrain { scheduleDrain() }
  }

  /// Waits until what was written so far is out, but no longer than `milliseconds`.
  func flush(withinMs milliseconds: Int = 500) {
    let done = DispatchSemaphore(value: 0)
    queue.async { done.signal() }
    _ = done.wait(timeout: .now() + .milliseconds(milliseconds))
  }

  private func scheduleDrain() { queue.async { self.drain() } }

  private func drain() {
    while true {
      let bytes = state.withLock { state -> [UInt8] in
        if state.dropped > 0, state.pending.count < LogSink.pendingBytesMax / 2 {
          state.pending.append(contentsOf: "kvnode: \(state.dropped) log lines dropped: stderr is too slow\n".utf8)
          state.dropped = 0
        }
        defer { state.pending.removeAll(keepingCapacity: state.pending.capacity <= 64 << 10) }
        if state.pending.isEmpty { state.isDraining = false }
        return state.pending
      }
      if bytes.isEmpty { return }
      bytes.withUnsafeBytes(writeAll)
    }
  }

  /// Gives up on any error but an interruption: there is nobody left to tell.
  private func writeAll(_ bytes: UnsafeRawBufferPointer) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
      if written > 0 {
        rest = rest.dropFirst(written)
      } else if errno == EAGAIN {
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&wait, 1, 1_000)
      } else if errno != EINTR {
        return
      }
    }
  }
}
