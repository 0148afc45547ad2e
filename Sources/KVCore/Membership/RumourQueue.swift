import KVModel

/// What is to be passed on with the next messages. Each rumour goes out a number of times that grows with the logarithm
/// of the cluster, which is enough for everybody to hear it (SWIM §4.1); then it is dropped.
struct RumourQueue: Equatable, Sendable {
  private struct Waiting: Equatable {
    var rumour: Rumour
    var sent = 0
  }

  /// Bytes of rumours in one message.
  static let bytesMax = 1_024
  /// Each goes out so many times log2 of the members.
  static let lambda = 3

  /// Invariant: one of each node at most; fewest times sent first.
  private var waiting: [Waiting] = []

  var isEmpty: Bool { waiting.isEmpty }
  var count: Int { waiting.count }

  /// Replaces what was to be said of the same node.
  mutating func add(_ rumour: Rumour) {
    waiting.removeAll { $0.rumour.entry.node == rumour.entry.node }
    waiting.insert(Waiting(rumour: rumour), at: 0)
  }

  /// The rumours of the next message: `first` whatever it is, then those that went out least.
  mutating func take(first: Rumour?, members: Int) -> [Rumour] {
    var taken: [Rumour] = []
    var bytes = 0
    if let first { RumourQueue.put(first, into: &taken, &bytes) }
    if waiting.isEmpty { return taken }
    for place in waiting.indices where waiting[place].rumour.entry.node != first?.entry.node {
      if RumourQueue.put(waiting[place].rumour, into: &taken, &bytes) { waiting[place].sent += 1 }
    }
    let budget = RumourQueue.lambda * (Int.bitWidth - members.leadingZeroBitCount)
    waiting.removeAll { $0.sent >= budget }
    waiting.sort { $0.sent < $1.sent }
    return taken
  }

  /// False when there is no room.
  @discardableResult
  private static func put(_ rumour: Rumour, into taken: inout [Rumour], _ bytes: inout Int) -> Bool {
    let more = rumour.entry.encodedBytes + 8
    guard taken.count < GossipMessage.rumoursMax, taken.isEmpty || bytes + more <= bytesMax else { return false }
    taken.append(rumour)
    bytes += more
    return true
  }
}
