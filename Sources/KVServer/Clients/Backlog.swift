import KVModel

/// Whether a connection sends more than it is given, for longer than a burst: more than half of the last tenth of a
/// second or so it had frames that waited for their turn. One that sends many at once and then waits for the answers
/// catches up; one that floods never does.
struct Backlog {
  private static let window = Span64.milliseconds(100)

  /// Since when frames have been waiting; nil when none do.
  private(set) var since: Instant?
  private(set) var isFlood = false
  private var windowBegan = Instant(nanoseconds: 0)
  /// Of this window, until `since`.
  private var waited: UInt64 = 0

  /// Frames are left for another turn.
  mutating func onLeft(at now: Instant) {
    if since == nil { since = now }
  }

  /// All that came is done.
  mutating func onCaughtUp(at now: Instant) {
    guard let since else { return }
    waited += now.since(max(since, windowBegan)).nanoseconds
    self.since = nil
  }

  mutating func end() { self = Backlog() }

  /// Frames are about to be handled.
  mutating func onFrames(at now: Instant) {
    let length = now.since(windowBegan)
    if length < Backlog.window { return }
    if let since { waited += now.since(max(since, windowBegan)).nanoseconds }
    isFlood = waited > length.nanoseconds / 2
    waited = 0
    windowBegan = now
  }
}
