import KVModel

/// How far this node trusts itself to judge others (Dadgar, Phillips, Currey: "Lifeguard", 2017).
///
/// A node that is starved of CPU or cut off gets no answers and would accuse everybody. Each sign that the fault is its
/// own makes it slower to ask and to give up; each answer in time makes it faster again.
struct LocalHealth: Equatable, Sendable {
  static let worst: UInt64 = 8

  /// Invariant: 0 (well) to `worst`.
  private(set) var score: UInt64 = 0

  /// What the periods and patiences of probes are multiplied by.
  var multiplier: UInt64 { score + 1 }

  mutating func onGoodSign() { score -= score == 0 ? 0 : 1 }

  /// Nobody answered at all, this node was accused itself, or its clockwork came late.
  mutating func onBadSign() { score = min(score + 1, LocalHealth.worst) }
}

extension Span64 {
  static func * (span: Span64, factor: UInt64) -> Span64 { Span64(nanoseconds: span.nanoseconds &* factor) }
}

/// How the last probes of different members ended: a node that reaches fewer than half of those it asks should doubt
/// itself, and declares nobody dead.
struct ProbeMemory: Equatable, Sendable {
  private static let most = 8

  /// Latest last, each node once.
  private var outcomes: [(node: NodeID, answered: Bool)] = []

  static func == (a: ProbeMemory, b: ProbeMemory) -> Bool {
    a.outcomes.elementsEqual(b.outcomes) { $0.node == $1.node && $0.answered == $1.answered }
  }

  mutating func note(_ node: NodeID, answered: Bool) {
    forget(node)
    if outcomes.count == ProbeMemory.most { outcomes.removeFirst() }
    outcomes.append((node, answered))
  }

  mutating func forget(_ node: NodeID) { outcomes.removeAll { $0.node == node } }

  /// Whether at least half of them answered.
  var reachesMost: Bool { 2 * outcomes.count(where: \.answered) >= outcomes.count && !outcomes.isEmpty }
}
