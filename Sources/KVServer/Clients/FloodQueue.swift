import KVModel

/// Who floods, while others do not: it waits here, and is served as one more of the others would be.
///
/// ```
///   every frame of the others      one credit; as many as there are others: the next of the queue has one frame
///   a millisecond without theirs   a turn's budget, divided among the queue, at least one each
/// ```
///
/// All that flood together so get what one of the others gets, however many they are; what the others do not use, they
/// have. Without that a flood is answered whenever the loop would rest, one frame at a time, which is the dearest way:
/// it took a quarter of what the others had, from their processors and from the peers.
struct FloodQueue {
  /// Without a frame of the others for so long, the loop is free.
  static let patience = Span64.milliseconds(1)

  /// In the order in which they came.
  private var queue: [UInt64] = []
  private var credit = 0
  private var lastOthers = Instant(nanoseconds: 0)

  var isEmpty: Bool { queue.isEmpty }

  mutating func add(_ client: UInt64) { queue.append(client) }

  mutating func remove(_ client: UInt64) {
    if !queue.isEmpty { queue.removeAll { $0 == client } }
  }

  /// The others, so many of them, had frames handled. Who may have one now.
  mutating func onOthers(frames: Int, of others: Int, at now: Instant) -> UInt64? {
    lastOthers = now
    if queue.isEmpty { return nil }
    credit += frames
    guard credit >= others else { return nil }
    credit = 0
    return queue.removeFirst()
  }

  /// When to look whether the loop is free.
  var due: Instant { lastOthers.advanced(by: FloodQueue.patience) }

  /// It is: all may go on, each with so many frames.
  mutating func onFree(framesATurn: Int) -> (clients: [UInt64], frames: Int) {
    defer { queue = [] }
    return (queue, max(1, framesATurn / max(1, queue.count)))
  }
}
