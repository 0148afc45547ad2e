import KVModel

/// Somebody got no answer from a member. It is declared dead unless it refutes that in time; the time shrinks with each
/// other member that got no answer either, from `most` to `least` (Lifeguard §IV.B):
///
/// ```
///   most ┤●
///        │   ●             most − (most − least) · log(c + 1) / log(k + 1)
///        │      ●  ●
///  least ┤─────────●       c = confirmations, k = `confirmationsMax`
/// ```
struct Suspicion: Equatable, Sendable {
  static let confirmationsMax = 3

  let node: NodeID
  /// Who got no answer, each once, the first one first.
  private(set) var accusers: [NodeID]
  /// When it is to be decided next.
  private(set) var due: Instant
  private var startedAt: Instant
  private let members: Int

  init(of node: NodeID, by accuser: NodeID, among members: Int, at now: Instant) {
    self.node = node
    accusers = [accuser]
    startedAt = now
    self.members = members
    due = now
    reckon()
  }

  /// Somebody got no answer either. False when that is no news.
  mutating func confirm(by accuser: NodeID) -> Bool {
    guard accusers.count <= expected, !accusers.contains(accuser) else { return false }
    accusers.append(accuser)
    reckon()
    return true
  }

  /// This node was stopped for so long: the suspect's answer may have waited as long.
  mutating func postpone(by span: Span64) {
    startedAt = startedAt.advanced(by: span)
    due = due.advanced(by: span)
  }

  /// It cannot be decided now.
  mutating func lookAgain(at instant: Instant) { due = instant }

  /// Confirmations that make it as short as it gets: no more than there are others to give them.
  private var expected: Int { max(0, min(Suspicion.confirmationsMax, members - 2)) }

  private mutating func reckon() {
    let least = Gossip.period * (3 * Suspicion.scale(members))
    let most = Span64(nanoseconds: least.nanoseconds * 5 / 1_000)
    let shortest = least.nanoseconds / 1_000
    let gained = (most.nanoseconds - shortest) / 1_024 * Suspicion.share(accusers.count - 1, of: expected)
    due = startedAt.advanced(by: Span64(nanoseconds: most.nanoseconds - gained))
  }

  /// 1,000 · max(1, log10 members).
  private static func scale(_ members: Int) -> UInt64 {
    // log10 2 = 0.30103; between powers of two a little too high, which only makes it slower.
    max(1_000, UInt64(Int.bitWidth - max(0, members - 1).leadingZeroBitCount) * 301)
  }

  /// 1,024 · log(c + 1) / log(k + 1), from a table: libm differs between machines.
  private static func share(_ confirmations: Int, of expected: Int) -> UInt64 {
    let table: [[UInt64]] = [[1_024], [0, 1_024], [0, 646, 1_024], [0, 512, 811, 1_024]]
    return table[expected][min(confirmations, expected)]
  }
}
