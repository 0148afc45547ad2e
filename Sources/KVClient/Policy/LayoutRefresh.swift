internal import KVModel

/// When the layout is fetched: once for each newer version that a node speaks of, in the background.
///
/// A fetch that failed is begun again by a later reply, at most twice a second: not by each of thousands.
struct LayoutRefresh: Hashable, Sendable {
  private enum State: Hashable {
    case idle
    case fetching(version: UInt32)
    case failed(version: UInt32, retryAt: Instant)
  }

  private var state = State.idle
  static let pause = Span64.milliseconds(500)

  /// A node spoke of `version`, newer than the one in force. True: fetch now.
  mutating func onNewer(_ version: UInt32, at now: Instant) -> Bool {
    switch state {
    case .fetching: return false
    case .failed(let failed, let retryAt) where version <= failed && now < retryAt: return false
    case .idle, .failed:
      state = .fetching(version: version)
      return true
    }
  }

  /// The fetch has ended, and this version is in force now.
  mutating func onFetched(inForce: UInt32, at now: Instant) {
    guard case .fetching(let version) = state else { return }
    state =
      inForce >= version ? .idle : .failed(version: version, retryAt: now.advanced(by: LayoutRefresh.pause))
  }
}
