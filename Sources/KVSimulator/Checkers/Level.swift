/// What is known of the gets of one quorum, as time goes on: what their copies surely hold. Times are places among the
/// events of the key, `never` when it has not come to that; writes are named by their places in the key's history.
struct Level {
  static let never = UInt32.max

  let quorum: Int
  /// Gets of this quorum exist; else only overwrites that replace what such gets would meet.
  let isRead: Bool
  /// Something can be learnt that is replaced for gets of this quorum.
  let canLoseWrites: Bool
  /// From when on the records of such gets hold a dot of the write, shown or replaced.
  private(set) var metAt: [UInt32]
  /// From when on they hold all that the write ever minted. Never before `metAt`.
  private(set) var knownAt: [UInt32]
  /// From when on they hold it as replaced. The event is the evidence.
  private(set) var replacedAt: [UInt32]
  /// The last invocation of such a get that showed the put, in whole: what its record held by then has not replaced it.
  private(set) var shownAt: [UInt32?]
  /// Puts that such gets must show from now on, unless they show what replaced them.
  private(set) var expected: [Int] = []
  /// Puts that exist and are not known to be replaced.
  private(set) var standing: [Int] = []

  init(quorum: Int, isRead: Bool, canLoseWrites: Bool, writes: Int) {
    self.quorum = quorum
    self.isRead = isRead
    self.canLoseWrites = canLoseWrites
    metAt = Array(repeating: Level.never, count: writes)
    knownAt = metAt
    replacedAt = metAt
    shownAt = Array(repeating: nil, count: writes)
  }

  func knows(_ write: Int, by time: UInt32) -> Bool { knownAt[write] <= time }
  func isReplaced(_ write: Int) -> Bool { replacedAt[write] != Level.never }

  mutating func show(_ put: Int, at time: UInt32) { shownAt[put] = time }

  /// Whether a get showed `put` whose record held all of `write`.
  func outlived(_ put: Int, _ write: Int) -> Bool { shownAt[put].map { knownAt[write] <= $0 } ?? false }

  mutating func meet(_ put: Int, at time: UInt32) {
    metAt[put] = min(metAt[put], time)
    if isRead, !isReplaced(put), !expected.contains(put) { expected.append(put) }
  }

  mutating func know(_ write: Int, at time: UInt32) { knownAt[write] = min(knownAt[write], time) }

  mutating func stand(_ put: Int) {
    if isRead, canLoseWrites, !isReplaced(put), !standing.contains(put) { standing.append(put) }
  }

  mutating func replace(_ put: Int, at time: UInt32) {
    if isReplaced(put) { return }
    replacedAt[put] = time
    know(put, at: time)
    forget(put)
    if let place = standing.firstIndex(of: put) { standing.remove(at: place) }
  }

  /// No longer expected; it may be shown again.
  mutating func forget(_ put: Int) {
    if let place = expected.firstIndex(of: put) { expected.remove(at: place) }
  }
}
