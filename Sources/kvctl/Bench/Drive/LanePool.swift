/// Which connections of one node can take a request.
///
/// A lane holds a token for every request that it may carry and does not. A request takes a token; only when a node's
/// lanes have none left does one carry more than `depth`, which happens when keys happen to crowd at one node. Pure.
struct LanePool: Equatable, Sendable {
  /// When an answered request makes room for the next one.
  enum Refill: Equatable, Sendable {
    /// At once: replies are independent of each other.
    case each
    /// When all of the lane's requests are answered, as `redis-benchmark -P` does it. Refilled one by one, a batch falls
    /// apart wherever a buffer of the server ends, and the server pays two system calls for each piece.
    case batch
  }

  private let depth: Int
  private let refill: Refill
  /// A lane stands here once for each of its tokens; the one that became free last is asked first.
  private var tokens: [Int] = []
  /// Lanes that are ready.
  private(set) var ready: [Int] = []
  private var cursor = 0
  private(set) var inFlight = 0

  init(depth: Int, refill: Refill = .each) {
    self.depth = depth
    self.refill = refill
  }

  var isReady: Bool { !ready.isEmpty }

  /// Lanes are ready, and each waits for the rest of its batch.
  var isWaiting: Bool { refill == .batch && isReady && tokens.isEmpty }

  /// A lane stands and carries nothing.
  mutating func add(_ lane: Int) {
    ready.append(lane)
    for _ in 0..<depth { tokens.append(lane) }
  }

  /// A lane takes no more requests. What it carries is still given back, one by one.
  mutating func remove(_ lane: Int) {
    ready.removeAll { $0 == lane }
    tokens.removeAll { $0 == lane }
  }

  /// A lane for one more request; nil when none is ready.
  mutating func take() -> Int? {
    guard let lane = tokens.popLast() ?? crowded() else { return nil }
    inFlight += 1
    return lane
  }

  /// A request has left its lane, which now carries `carried`.
  mutating func giveBack(_ lane: Int, carried: Int, isReady: Bool) {
    inFlight -= 1
    guard isReady else { return }
    switch refill {
    case .each: if carried < depth { tokens.append(lane) }
    case .batch: if carried == 0 { for _ in 0..<depth { tokens.append(lane) } }
    }
  }

  private mutating func crowded() -> Int? {
    guard !ready.isEmpty else { return nil }
    cursor = (cursor + 1) % ready.count
    return ready[cursor]
  }
}
