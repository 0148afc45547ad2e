import Foundation
import KVNet
import Synchronization

/// Wakes a loop when an operation is due, finer than the loop's timers, whose tick of a millisecond would stand in every
/// latency of an open loop.
///
/// A thread that sleeps until the next due time, or, when operations are due more often than that, every `grainNs`.
final class PaceTicker: Sendable {
  /// An operation begins late by no more than this and the kernel's 50 µs: 10,000 wakes a second at the most.
  static let grainNs: UInt64 = 100_000
  /// How long it sleeps at the most before it looks whether something has become due earlier.
  private static let idleNs: UInt64 = 1_000_000

  private let due = Atomic<UInt64>(0)
  private let isPosted = Atomic<Bool>(false)
  private let isStopped = Atomic<Bool>(false)
  private let wake: @Sendable () -> Void

  /// `wake` runs on the loop.
  init(_ loop: EventLoop, _ wake: @escaping @Sendable () -> Void) {
    self.wake = wake
    let thread = Thread { [self] in
      while !isStopped.load(ordering: .acquiring) { step(loop) }
    }
    thread.name = "kvctl.ticker"
    thread.start()
  }

  /// Nothing is due before `instant`.
  func wait(until instant: UInt64) { due.store(instant, ordering: .releasing) }

  func stop() { isStopped.store(true, ordering: .releasing) }

  private func step(_ loop: EventLoop) {
    let now = BenchClock.now()
    let next = due.load(ordering: .acquiring)
    // While everybody is busy nothing is due; that can change at any time.
    let until = next == .max ? 0 : min(next, now + PaceTicker.idleNs)
    BenchClock.sleep(until: max(until, now + PaceTicker.grainNs))
    guard BenchClock.now() >= due.load(ordering: .acquiring) else { return }
    guard !isPosted.exchange(true, ordering: .acquiringAndReleasing) else { return }
    loop.execute { [self] in
      isPosted.store(false, ordering: .releasing)
      if !isStopped.load(ordering: .acquiring) { wake() }
    }
  }
}
