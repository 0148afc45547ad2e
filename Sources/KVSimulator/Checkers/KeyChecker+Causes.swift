// Searches through what writes had read: what they replaced for sure, what they may have replaced.
extension KeyChecker {
  /// Whether `write`, a version that somebody saw, replaced all of `put`. Overwrites tell nothing here: what is seen of
  /// one may be its first round.
  mutating func surelyReplaced(_ put: Int, by write: Int) -> Bool {
    walk.begin()
    walk.push(write)
    while let next = walk.pop() {
      switch history.writes[next].basis {
      case .overwrite, .untraceable: continue
      case .receipt(let first):
        if first == put { return true }
        if !history.writes[first].basis.isOverwrite {
          walk.push(first)
        } else if surelyMet(put, byOverwrite: first) {
          return true
        }
      case .get(let get):
        if history.gets[get].returnedAt < history.writes[put].invokedAt { continue }
        if surelyMet(put, by: get) { return true }
        let shown = history.shown(by: get)
        if history.writes[put].isOneDot, shown.contains(put) { return true }
        for each in shown { walk.push(each) }
      }
    }
    return false
  }

  /// Whether anything that `get` shows, or that was in its record unseen, may have replaced `put`.
  mutating func mayHaveReplaced(_ put: Int, by get: Int) -> Bool {
    let time = history.gets[get].returnedAt
    walk.begin()
    walk.isAboutWhole = history.writes[put].isOneDot || surelyMet(put, by: get)
    for shown in history.shown(by: get) where mayHaveReplaced(put, by: shown, asOf: time) { return true }
    return mayWalkReach(put) || mayHiddenHaveReplaced(put, asOf: time) || mayWalkReach(put)
      || mayOthersHaveReplaced(put)
  }

  /// Follows contexts back. Each is of one time; what is replaced later is not in it.
  private mutating func mayWalkReach(_ put: Int) -> Bool {
    while let next = walk.pop() {
      switch history.writes[next].basis {
      case .overwrite, .untraceable: continue
      case .receipt(let first):
        if first == put || mayHaveReplaced(put, by: first, asOf: history.writes[first].end) { return true }
      case .get(let get):
        let time = history.gets[get].returnedAt
        if time < history.writes[put].invokedAt { continue }
        for shown in history.shown(by: get) {
          if shown == put || mayHaveReplaced(put, by: shown, asOf: time) { return true }
        }
      }
    }
    return walk.isExhausted
  }

  /// Answers for an overwrite; a write with a context is put aside for the walk.
  private mutating func mayHaveReplaced(_ put: Int, by write: Int, asOf time: UInt64) -> Bool {
    switch history.writes[write].basis {
    case .get, .receipt:
      walk.push(write)
      return false
    case .overwrite, .untraceable:
      let end = min(history.writes[write].end, time)
      guard write != put, history.writes[put].invokedAt <= end else { return false }
      let isOutlived = walk.isAboutWhole && levels.contains { $0.outlived(put, write) }
      if !isOutlived, !descends(put, from: write) { return true }
      walk.passOver(write, asOf: end)
      return false
    }
  }

  /// Deletes and expiring puts that were in the record as of `time`, for all that clients know.
  private mutating func mayHiddenHaveReplaced(_ put: Int, asOf time: UInt64) -> Bool {
    let invoked = history.writes[put].invokedAt
    for write in hidden.overwrites(upTo: time, lastingTo: invoked) {
      if history.writes[write].mayHide(at: time, bounds), mayHaveReplaced(put, by: write, asOf: time) { return true }
    }
    for write in hidden.others(from: invoked, upTo: time) where history.writes[write].mayHide(at: time, bounds) {
      walk.push(write)
    }
    return false
  }

  /// An overwrite that `put` had read, or outlived, did not replace it; but it may have replaced another write that did:
  /// the second round of an overwrite whose first was replaced leaves no version of its own. Seldom asked.
  private mutating func mayOthersHaveReplaced(_ put: Int) -> Bool {
    var next = 0
    while next < walk.passedOver.count {
      let (overwrite, time) = walk.passedOver[next]
      next += 1
      for write in history.writes.indices {
        if history.writes[write].invokedAt > time { break }
        if write == put || write == overwrite || descends(write, from: overwrite) { continue }
        if mayHaveReplaced(put, by: write, asOf: time) { return true }
      }
      if mayWalkReach(put) { return true }
    }
    return false
  }

  /// Whether `write` had read `overwrite`, a dot of it at least.
  private mutating func descends(_ write: Int, from overwrite: Int) -> Bool {
    lineage.begin()
    lineage.push(write)
    while let next = lineage.pop() {
      switch history.writes[next].basis {
      case .overwrite, .untraceable: continue
      case .receipt(let first):
        if first == overwrite { return true }
        lineage.push(first)
      case .get(let get):
        if history.gets[get].returnedAt < history.writes[overwrite].invokedAt { continue }
        let shown = history.shown(by: get)
        if level(ofGet: get).metAt[overwrite] <= history.gets[get].invoked || shown.contains(overwrite) { return true }
        for each in shown { lineage.push(each) }
      }
    }
    return false
  }
}

/// A search's writes: those to look at, and those looked at already. Clearing it costs nothing.
struct Walk {
  /// A search that comes to so many writes ends without an answer, for which no rule complains.
  static let visitsMax = 20_000

  /// Overwrites that were passed over, because what is searched for had read or outlived them, as of which time.
  private(set) var passedOver: [(write: Int, time: UInt64)] = []
  /// All dots of what is searched for are asked about, not one.
  var isAboutWhole = false
  private(set) var isExhausted = false
  private var ahead: [Int] = []
  private var round: UInt32 = 0
  private var seenInRound: [UInt32]
  private var visits = 0

  init(_ writes: Int) { seenInRound = Array(repeating: 0, count: writes) }

  mutating func begin() {
    ahead.removeAll(keepingCapacity: true)
    round &+= 1
    visits = 0
    isExhausted = false
    passedOver.removeAll(keepingCapacity: true)
  }

  mutating func passOver(_ overwrite: Int, asOf time: UInt64) {
    if !passedOver.contains(where: { $0.write == overwrite && $0.time >= time }) {
      passedOver.append((overwrite, time))
    }
  }

  mutating func push(_ write: Int) {
    if seenInRound[write] == round { return }
    seenInRound[write] = round
    ahead.append(write)
  }

  mutating func pop() -> Int? {
    visits += 1
    if visits > Walk.visitsMax {
      isExhausted = !ahead.isEmpty
      return nil
    }
    return ahead.popLast()
  }
}

/// Deletes, and puts that expire, by their invocation: writes that no get need show and that may have replaced others.
struct Hidden {
  /// Those without a context, each with the furthest end of itself and those before.
  private var overwrites: [(write: Int, invokedAt: UInt64, furthestEnd: UInt64)] = []
  /// Those with one. They replace nothing that was invoked after themselves.
  private var others: [(write: Int, invokedAt: UInt64)] = []

  init(_ writes: [KeyHistory.Write]) {
    for (place, write) in writes.enumerated() where write.kind == .delete || write.ttlMs != nil {
      switch write.basis {
      case .overwrite, .untraceable:
        let furthest = max(overwrites.last?.furthestEnd ?? 0, write.end)
        overwrites.append((place, write.invokedAt, furthest))
      case .get, .receipt: others.append((place, write.invokedAt))
      }
    }
  }

  /// Those invoked up to `time`, latest first, for as long as one of them may have lasted to `end`.
  func overwrites(upTo time: UInt64, lastingTo end: UInt64) -> some Sequence<Int> {
    overwrites[..<overwrites.count(upTo: time) { $0.invokedAt }].reversed().lazy.prefix { $0.furthestEnd >= end }
      .map(\.write)
  }

  /// Those invoked from `begin` up to `time`.
  func others(from begin: UInt64, upTo time: UInt64) -> some Sequence<Int> {
    others[..<others.count(upTo: time) { $0.invokedAt }].reversed().lazy.prefix { $0.invokedAt >= begin }.map(\.write)
  }
}

extension Array {
  /// How many elements at the front are not later than `time`; `timeOf` must ascend.
  fileprivate func count(upTo time: UInt64, _ timeOf: (Element) -> UInt64) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if timeOf(self[middle]) <= time { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
