/// How much extra work retries or hedges may make: each call earns a part of a token, each extra attempt costs one.
///
/// In the long run at most `percent` of a hundred calls cost a second attempt; what was saved up, at most `burst`, pays
/// for a moment in which many fail at once, as when a node dies. Without it a cluster that is slow because it has too
/// much to do would be given twice as much.
struct TokenBudget: Hashable, Sendable {
  let percent: Int
  let burst: Int
  /// Hundredths of a token. Invariant: 0…100·burst.
  private(set) var hundredths: Int

  /// Begins with `saved` tokens.
  init(percent: Int, burst: Int, saved: Int) {
    self.percent = max(0, percent)
    self.burst = max(0, burst)
    hundredths = 100 * min(max(0, saved), self.burst)
  }

  /// A call came.
  mutating func earn() { hundredths = min(hundredths + percent, 100 * burst) }

  /// Whether there is a token for an extra attempt; if so it is spent.
  mutating func spend() -> Bool {
    guard hundredths >= 100 else { return false }
    hundredths -= 100
    return true
  }
}
