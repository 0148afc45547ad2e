/// Judges the history of one key: goes through its events in order and keeps, for each quorum, what gets must show and
/// must not. The rules are explained in HistoryChecker.swift.
///
/// Its work is small: a put is expected, or stands, only until some get or write settles that it was replaced.
struct KeyChecker {
  let history: KeyHistory
  let copies: Int
  let bounds: HistoryChecker.Bounds
  private(set) var levels: [Level] = []
  private(set) var findings: [Finding] = []
  /// For searches through causes.
  var walk: Walk
  var lineage: Walk
  /// Deletes, and puts that expire: what may be in a record unseen.
  private(set) var hidden: Hidden
  /// The level of each get, and of each acknowledged overwrite.
  private var levelOfGet: [Int] = []
  private var levelOfWrite: [Int] = []
  /// What gets under way were expected to show, and do not.
  private var missing: [[Int]]
  /// Puts of which a rule complained already.
  private var isReported: [Bool]
  /// Puts that some level may come to know in whole.
  private var isKnowable: [Bool] = []

  init(_ history: KeyHistory, copies: Int, _ bounds: HistoryChecker.Bounds) {
    self.history = history
    self.copies = max(copies, 1)
    self.bounds = bounds
    walk = Walk(history.writes.count)
    lineage = Walk(history.writes.count)
    hidden = Hidden(history.writes)
    missing = Array(repeating: [], count: history.gets.count)
    isReported = Array(repeating: false, count: history.writes.count)
    arrangeLevels()
  }

  mutating func run() {
    for (place, event) in history.events.enumerated() {
      switch (event.isGet, event.isAnswer) {
      case (true, false): onGetInvoked(event.index)
      case (true, true): onGetAnswered(event.index, at: UInt32(place))
      case (false, false): break
      case (false, true): onWriteAcknowledged(event.index, at: UInt32(place))
      }
    }
  }

  // MARK: Levels

  private mutating func arrangeLevels() {
    let reads = history.gets.map { clamp($0.quorum) }
    let overwrites = history.writes.filter { $0.isAcknowledged && $0.basis.isOverwrite }.map { clamp($0.quorum) }
    let quorums = distinct(reads + overwrites)
    let readQuorums = distinct(reads)
    let writeQuorumMax = history.writes.reduce(0) { $1.isAcknowledged ? max($0, clamp($1.quorum)) : $0 }
    levels = quorums.map { quorum in
      let canLose = writeQuorumMax + quorum > copies || readQuorums.contains { follows(quorum, $0) }
      return Level(
        quorum: quorum, isRead: readQuorums.contains(quorum), canLoseWrites: canLose, writes: history.writes.count)
    }
    levelOfGet = history.gets.map { get in quorums.firstIndex(of: clamp(get.quorum)) ?? 0 }
    levelOfWrite = history.writes.map { write in quorums.firstIndex(of: clamp(write.quorum)) ?? 0 }
    isKnowable = history.writes.map { $0.isOneDot || clamp($0.quorum) + (quorums.last ?? 0) > copies }
  }

  private func clamp(_ quorum: Int) -> Int { min(max(quorum, 0), copies) }

  private func distinct(_ quorums: [Int]) -> [Int] {
    var result: [Int] = []
    for quorum in quorums where !result.contains(quorum) { result.append(quorum) }
    return result.sorted()
  }

  /// Whether gets of `quorum` surely meet what an earlier get of quorum `earlier` returned.
  private func follows(_ quorum: Int, _ earlier: Int) -> Bool { quorum >= earlier && quorum + earlier > copies }

  func level(ofGet get: Int) -> Level { levels[levelOfGet[get]] }

  /// Whether what gets of the overwrite's quorum surely met when it was invoked includes all of `put`.
  func surelyMet(_ put: Int, byOverwrite write: Int) -> Bool {
    history.writes[write].isAcknowledged && levels[levelOfWrite[write]].knows(put, by: history.writes[write].invoked)
  }

  func surelyMet(_ put: Int, by get: Int) -> Bool { levels[levelOfGet[get]].knows(put, by: history.gets[get].invoked) }

  // MARK: Events

  private mutating func onGetInvoked(_ get: Int) {
    guard history.gets[get].isBelieved else { return }
    let shown = history.shown(by: get)
    let level = levelOfGet[get]
    for put in shown {
      if levels[level].isReplaced(put) { reportReplaced(put, levels[level].replacedAt[put], get) }
      checkExpiry(of: put, get)
      if history.writes[put].isOneDot || surelyMet(put, by: get) {
        levels[level].show(put, at: history.gets[get].invoked)
      }
    }
    for put in levels[level].expected where !shown.contains(put) {
      let mayHide = history.writes[put].mayHide(at: history.gets[get].returnedAt, bounds)
      if !mayHide, !isReported[put] { missing[get].append(put) }
    }
  }

  private mutating func onGetAnswered(_ get: Int, at now: UInt32) {
    guard history.gets[get].isBelieved else { return }
    for put in missing[get] where !isReported[put] && !mayHaveReplaced(put, by: get) { reportMissing(put, get) }
    checkSiblings(get)
    for level in levels.indices where follows(levels[level].quorum, levels[levelOfGet[get]].quorum) {
      learn(from: get, level, at: now)
    }
    missing[get] = []
  }

  /// What later gets of this level meet, because this one met it.
  private mutating func learn(from get: Int, _ level: Int, at now: UInt32) {
    let shown = history.shown(by: get)
    for put in missing[get] { levels[level].forget(put) }
    for put in levels[level].standing where !shown.contains(put) && isReplaced(put, accordingTo: get) {
      levels[level].replace(put, at: now)
    }
    for put in shown where !isReported[put] {
      levels[level].meet(put, at: now)
      if history.writes[put].isOneDot {
        levels[level].know(put, at: now)
        for each in levels.indices { levels[each].stand(put) }
      }
    }
  }

  /// Whether the get's record held `put`, which it does not show, as replaced.
  private mutating func isReplaced(_ put: Int, accordingTo get: Int) -> Bool {
    if isReported[put] { return false }
    let mayHide = history.writes[put].mayHide(at: history.gets[get].returnedAt, bounds)
    if !mayHide, surelyMet(put, by: get) { return true }
    return history.shown(by: get).contains { surelyReplaced(put, by: $0) }
  }

  private mutating func onWriteAcknowledged(_ write: Int, at now: UInt32) {
    let subject = history.writes[write]
    for level in levels.indices where levels[level].quorum + clamp(subject.quorum) > copies {
      for put in levels[level].standing where put != write && isReplaced(put, byAcknowledged: write) {
        levels[level].replace(put, at: now)
      }
      if case .receipt(let first) = subject.basis, history.writes[first].kind == .put {
        levels[level].replace(first, at: now)
      }
      levels[level].know(write, at: now)
      if subject.kind == .put, !isReported[write] { levels[level].meet(write, at: now) }
    }
    if subject.kind == .put, isKnowable[write] {
      for level in levels.indices { levels[level].stand(write) }
    }
  }

  private mutating func isReplaced(_ put: Int, byAcknowledged write: Int) -> Bool {
    switch history.writes[write].basis {
    case .overwrite: surelyMet(put, byOverwrite: write)
    case .get, .receipt: surelyReplaced(put, by: write)
    case .untraceable: false
    }
  }

  // MARK: Complaints

  private mutating func checkSiblings(_ get: Int) {
    let shown = history.shown(by: get)
    if shown.count < 2 { return }
    for put in shown where !isReported[put] {
      guard let other = shown.first(where: { $0 != put && surelyReplaced(put, by: $0) }) else { continue }
      report(
        .session, "returned put \(number(put)) beside put \(number(other)), which had replaced it", put, get,
        also: [number(other)])
    }
  }

  private mutating func checkExpiry(of put: Int, _ get: Int) {
    let write = history.writes[put]
    guard let ttlMs = write.ttlMs, let error = bounds.clockErrorMs, !isReported[put] else { return }
    let expired = write.end.later(byMs: ttlMs).later(byMs: error).later(byMs: error)
    guard history.gets[get].invokedAt > expired else { return }
    let late = (history.gets[get].invokedAt - write.end) / 1_000_000
    report(.session, "returned put \(write.number), which was to live \(ttlMs) ms, \(late) ms after its end", put, get)
  }

  private mutating func reportMissing(_ put: Int, _ get: Int) {
    let level = levels[levelOfGet[get]]
    let evidence = history.events[Int(level.metAt[put])]
    let shown = history.shown(by: get).map { number($0) }
    let end = "nor what may have replaced it; it returned \(shown)"
    if !evidence.isGet {
      return report(
        .noLostAcknowledgedWrite, "did not return put \(number(put)), which was acknowledged before, \(end)", put, get)
    }
    let first = history.gets[evidence.index].number
    if isAcknowledged(put, before: get) {
      return report(
        .noLostAcknowledgedWrite,
        "did not return put \(number(put)), which was acknowledged and which get \(first) had returned, \(end)", put,
        get,
        also: [first])
    }
    report(
      .session, "did not return put \(number(put)), which get \(first) had returned, \(end)", put, get, also: [first])
  }

  private func isAcknowledged(_ put: Int, before get: Int) -> Bool {
    history.writes[put].isAcknowledged && history.writes[put].end <= history.gets[get].invokedAt
  }

  private mutating func reportReplaced(_ put: Int, _ time: UInt32, _ get: Int) {
    if isReported[put] { return }
    let evidence = history.events[Int(time)]
    if evidence.isGet {
      let first = history.gets[evidence.index].number
      return report(
        .session, "returned put \(number(put)), which was replaced when get \(first) returned without it", put, get,
        also: [first])
    }
    let by = history.writes[evidence.index]
    report(
      .session,
      "returned put \(number(put)), which \(by.kind.rawValue) \(by.number), acknowledged before, had replaced",
      put, get, also: [by.number])
  }

  private func number(_ write: Int) -> Int { history.writes[write].number }

  private mutating func report(_ code: Invariant, _ what: String, _ put: Int, _ get: Int, also: [Int] = []) {
    let subject = history.gets[get]
    isReported[put] = true
    for level in levels.indices { levels[level].forget(put) }
    let violation = Violation(
      code, "get \(subject.number) \(what)", operations: [number(put)] + also + [subject.number])
    findings.append(Finding(at: subject.returnedAt, shownBy: subject.number, violation: violation))
  }
}

extension KeyHistory.Basis {
  var isOverwrite: Bool { if case .overwrite = self { true } else { false } }
}
