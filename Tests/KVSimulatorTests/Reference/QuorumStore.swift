import KVModel
import KVSimulator

/// A store of N copies that keeps the promises and not more: messages are late or lost, overwrites take two rounds,
/// reads write back, copies are exchanged now and then. What an atomic store never shows, it shows: a put seen before
/// its answer, an overwrite seen in its first round and replaced before its second, one read ahead of another.
///
/// It knows what a real one cannot: the whole history of each dot. A tick is a millisecond.
struct QuorumStore {
  /// A bug, each of which the checker must find.
  enum Plant: CaseIterable {
    /// A read returns before enough copies hold what it returns.
    case noWriteBack
    /// Reads need one reply less; writes need one acknowledgement less.
    case lowReads, lowWrites
    /// Overwrites leave what their write quorum held beside them.
    case oneRound
    /// The second round replaces what had read the first.
    case replacesReaders
    /// A write's receipt covers all that its coordinator held.
    case wideReceipt
    /// A context covers all that the coordinator holds.
    case wideContext
    /// Copies learn the history of a write without the versions that it left beside it.
    case deltas
    /// A copy forgets its last change now and then.
    case forgets
    /// A write that takes too long is called rejected.
    case falseRejection
    /// Expired values are returned.
    case showsExpired
    /// Deletes are dropped from the records at some time, with what they know.
    case purges
  }

  /// A set of dots, by their place in `dots`. So a history has at most 128 of them.
  typealias Dots = UInt128

  struct Copy: Equatable {
    var context: Dots = 0
    var live: Dots = 0

    mutating func join(_ other: Copy) {
      live = live & other.live | live & ~other.context | other.live & ~context
      context |= other.context
    }
  }

  struct Dot {
    let write: Int
    /// All that came before it, itself included.
    let history: Dots
    let mintedAt: UInt64
  }

  /// A request at its coordinator.
  struct Progress {
    var round = 1
    var first: Int?
    var covered: Dots = 0
    var acknowledged: Set<Int> = []
    var beside: Dots = 0
    var replies: [Int: Copy] = [:]
    /// Of a read: what it will return once enough copies hold it.
    var join: Copy?
    var isOver = false
  }

  enum Step {
    case invoke(client: Int)
    case mint(Int)
    case deliver(Int, round: Int, to: Int, Copy)
    case acknowledge(Int, round: Int, from: Int, beside: Dots)
    case read(Int, at: Int)
    case reply(Int, from: Int, Copy)
    case writeBack(Int, to: Int, Copy)
    case held(Int, by: Int)
    case giveUp(Int)
    case exchange(Int, Int, key: Int)
  }

  static let copies = 3
  /// Clients give up after this, and coordinators work no longer.
  static let deadline: UInt64 = 120
  static let clockError: UInt64 = 5

  let workload: Workload
  var plant: Plant?
  var random: PRNG
  var agenda = Agenda<Step>()
  /// By key and place.
  var held: [[Copy]]
  var operations: [Operation] = []
  var progress: [Progress] = []
  var contexts: [Dots] = []
  var expiresAt: [UInt64?] = []
  var answered: [[Int]]
  var dots: [Dot] = []
  let lossPercent: UInt64
  let delayMax: UInt64

  static func history(_ workload: Workload, plant: Plant? = nil, _ random: inout PRNG) -> History {
    var store = QuorumStore(workload, random.fork())
    store.plant = plant
    store.run()
    for place in store.operations.indices {
      store.operations[place].invokedAt *= 1_000_000
      store.operations[place].returnedAt = store.operations[place].returnedAt.map { $0 * 1_000_000 }
    }
    return History(
      copies: copies, readQuorum: 2, writeQuorum: 2, keys: (0..<workload.keys).map { "key \($0)" },
      operations: store.operations)
  }

  private init(_ workload: Workload, _ random: PRNG) {
    self.workload = workload
    self.random = random
    held = Array(repeating: Array(repeating: Copy(), count: QuorumStore.copies), count: workload.keys)
    answered = Array(repeating: [], count: workload.keys)
    lossPercent = self.random.pick([0, 2, 10, 25])
    delayMax = self.random.pick([2, 8, 30, 100])
  }

  private mutating func run() {
    for client in 0..<workload.clients { agenda.plan(.invoke(client: client), at: random.within(0...50)) }
    for round in 0..<random.within(0...40) {
      let (a, b) = (random.index(3), random.index(3))
      agenda.plan(.exchange(a, b, key: random.index(workload.keys)), at: 30 * round)
    }
    while let (now, step) = agenda.next() { take(step, at: now) }
  }

  private mutating func take(_ step: Step, at now: UInt64) {
    switch step {
    case .invoke(let client): invoke(client, at: now)
    case .mint(let number): mint(number, at: now)
    case .deliver(let number, let round, let place, let copy): deliver(number, round, place, copy, at: now)
    case .acknowledge(let number, let round, let place, let beside):
      acknowledge(number, round, place, beside, at: now)
    case .read(let number, let place):
      send(.reply(number, from: place, held[operations[number].key][place]), at: now)
    case .reply(let number, let place, let copy): reply(number, place, copy, at: now)
    case .writeBack(let number, let place, let copy):
      held[operations[number].key][place].join(copy)
      send(.held(number, by: place), at: now)
    case .held(let number, let place): isHeld(number, place, at: now)
    case .giveUp(let number): giveUp(number, at: now)
    case .exchange(let a, let b, let key):
      held[key][a].join(held[key][b])
      if plant == .purges { purge(key, a) }
    }
  }

  /// A message: late, or lost. Some are very late.
  mutating func send(_ step: Step, at now: UInt64) {
    if random.chance(lossPercent, of: 100) { return }
    let isSlow = random.chance(1, of: 20)
    agenda.plan(step, at: now + 1 + random.below(isSlow ? 10 * delayMax : delayMax))
  }

  private mutating func invoke(_ client: Int, at now: UInt64) {
    let number = operations.count
    guard number < workload.operations, dots.count < 100 else { return }
    operations.append(
      workload.operation(number: number, client: client, at: now, answered: answered, &random))
    progress.append(Progress())
    contexts.append(0)
    expiresAt.append(nil)
    agenda.plan(.giveUp(number), at: now + QuorumStore.deadline)
    if operations[number].isWrite {
      if random.chance(workload.rejected, of: 100) { return end(number, .rejected, at: now + 1) }
      return send(.mint(number), at: now)
    }
    for place in [0, 1, 2].shuffled(using: &random) { send(.read(number, at: place), at: now) }
  }

  mutating func end(_ number: Int, _ outcome: Operation.Outcome, at now: UInt64) {
    operations[number].outcome = outcome
    operations[number].returnedAt = now
    progress[number].isOver = true
    if outcome == .ok { answered[operations[number].key].append(number) }
    agenda.plan(.invoke(client: operations[number].client), at: now + random.within(0...20))
  }

  private mutating func purge(_ key: Int, _ place: Int) {
    for dot in set(held[key][place].live) where operations[dots[dot].write].kind == .delete {
      held[key][place].live &= ~(1 << Dots(dot))
      held[key][place].context &= held[key][place].live
    }
  }

  func needed(_ number: Int, isLow: Bool) -> Int {
    isLow ? max(operations[number].quorum - 1, 1) : operations[number].quorum
  }

  /// A read that fails is rejected; a write may still go on.
  private mutating func giveUp(_ number: Int, at now: UInt64) {
    if progress[number].isOver { return }
    let isUnknown = operations[number].isWrite && plant != .falseRejection
    end(number, isUnknown ? .unknown : .rejected, at: now)
    if operations[number].isWrite {
      progress[number].isOver = false
      if random.chance(1, of: 2) { operations[number].returnedAt = nil }
    }
  }
}

// MARK: Writes

extension QuorumStore {
  private func coordinator(_ number: Int) -> Int { number % QuorumStore.copies }

  mutating func mint(_ number: Int, at now: UInt64) {
    let operation = operations[number]
    if now > operation.invokedAt + QuorumStore.deadline { return }
    var copy = held[operation.key][coordinator(number)]
    var covered = operation.context.map { contexts[$0] } ?? copy.context
    if plant == .wideContext { covered |= copy.context }
    let dot = add(number, replacing: covered, &copy, at: now)
    progress[number].first = dot
    progress[number].covered = copy.context
    let isWide = operation.context == nil || plant == .wideReceipt
    contexts[number] = isWide ? copy.context : covered | 1 << Dots(dot)
    if let ttl = operation.ttlMs { expiresAt[number] = skewed(now + ttl) }
    replicate(number, copy, at: now)
  }

  private mutating func add(_ number: Int, replacing covered: Dots, _ copy: inout Copy, at now: UInt64) -> Int {
    let dot = dots.count
    let mine: Dots = 1 << Dots(dot)
    dots.append(Dot(write: number, history: covered | mine, mintedAt: now))
    copy.live = copy.live & ~covered | mine
    copy.context |= covered | mine
    return dot
  }

  private mutating func replicate(_ number: Int, _ copy: Copy, at now: UInt64) {
    let place = coordinator(number)
    held[operations[number].key][place] = copy
    let round = progress[number].round
    agenda.plan(.acknowledge(number, round: round, from: place, beside: 0), at: now + random.below(delayMax))
    for other in 0..<QuorumStore.copies where other != place {
      send(.deliver(number, round: round, to: other, copy), at: now)
    }
  }

  /// What was beside the write is named, but for what had read its first round.
  mutating func deliver(_ number: Int, _ round: Int, _ place: Int, _ copy: Copy, at now: UInt64) {
    let key = operations[number].key
    var copy = copy
    if plant == .deltas, let first = progress[number].first { copy.live &= 1 << Dots(first) }
    if plant == .forgets, random.chance(1, of: 10) { copy = Copy() }
    held[key][place].join(copy)
    var beside: Dots = 0
    if held[key][place].live & ~copy.context != 0, let first = progress[number].first {
      for dot in set(held[key][place].context)
      where plant == .replacesReaders || dots[dot].history & (1 << Dots(first)) == 0 {
        beside |= 1 << Dots(dot)
      }
    }
    send(.acknowledge(number, round: round, from: place, beside: beside), at: now)
  }

  mutating func acknowledge(_ number: Int, _ round: Int, _ place: Int, _ beside: Dots, at now: UInt64) {
    let operation = operations[number]
    if progress[number].isOver || progress[number].round != round { return }
    progress[number].acknowledged.insert(place)
    progress[number].beside |= beside
    if progress[number].acknowledged.count < needed(number, isLow: plant == .lowWrites) { return }
    let more = progress[number].beside & ~progress[number].covered
    if round == 1, operation.context == nil, more != 0, plant != .oneRound {
      if now <= operation.invokedAt + QuorumStore.deadline { writeOnceMore(number, at: now) }
    } else if operation.outcome == .unknown, now < operation.invokedAt + QuorumStore.deadline {
      end(number, .ok, at: now)
    }
  }

  /// The second round. When somebody replaced the first meanwhile, there is no version any more, and what was there
  /// before the write goes.
  private mutating func writeOnceMore(_ number: Int, at now: UInt64) {
    let operation = operations[number]
    let first = progress[number].first ?? 0
    progress[number].round = 2
    progress[number].acknowledged = []
    var copy = held[operation.key][coordinator(number)]
    let covered = progress[number].covered | progress[number].beside
    if copy.live & (1 << Dots(first)) != 0 {
      let second = add(number, replacing: covered, &copy, at: now)
      contexts[number] = plant == .wideReceipt ? copy.context : covered | 1 << Dots(second)
    } else {
      for dot in set(progress[number].beside)
      where plant == .replacesReaders || dots[dot].mintedAt <= operation.invokedAt {
        copy.join(Copy(context: dots[dot].history, live: 0))
      }
      contexts[number] |= progress[number].covered
    }
    replicate(number, copy, at: now)
  }
}

// MARK: Reads

extension QuorumStore {
  mutating func reply(_ number: Int, _ place: Int, _ copy: Copy, at now: UInt64) {
    if progress[number].isOver || progress[number].join != nil { return }
    progress[number].replies[place] = copy
    let replies = (0..<QuorumStore.copies).compactMap { progress[number].replies[$0] }
    if replies.count < needed(number, isLow: plant == .lowReads) { return }
    if replies.allSatisfy({ $0 == replies[0] }) { return finish(number, replies[0], at: now) }
    var join = Copy()
    for reply in replies { join.join(reply) }
    progress[number].join = join
    for place in 0..<QuorumStore.copies {
      if progress[number].replies[place] == join {
        progress[number].acknowledged.insert(place)
      } else if progress[number].replies[place] != nil || random.chance(1, of: 2) {
        send(.writeBack(number, to: place, join), at: now)
      }
    }
    finishIfHeld(number, at: now)
  }

  mutating func isHeld(_ number: Int, _ place: Int, at now: UInt64) {
    if progress[number].isOver { return }
    progress[number].acknowledged.insert(place)
    finishIfHeld(number, at: now)
  }

  private mutating func finishIfHeld(_ number: Int, at now: UInt64) {
    guard let join = progress[number].join else { return }
    let isHeld = progress[number].acknowledged.count > QuorumStore.copies - operations[number].quorum
    if isHeld || plant == .noWriteBack {
      finish(number, join, at: now)
    }
  }

  private mutating func finish(_ number: Int, _ copy: Copy, at now: UInt64) {
    if now >= operations[number].invokedAt + QuorumStore.deadline { return }
    let time = skewed(now)
    var seen: [Int] = []
    for dot in set(copy.live) {
      let write = dots[dot].write
      let isExpired = plant != .showsExpired && expiresAt[write].map { $0 <= time } ?? false
      if operations[write].kind == .put, !isExpired, !seen.contains(write) { seen.append(write) }
    }
    operations[number].seen = seen.shuffled(using: &random)
    contexts[number] = copy.context
    end(number, .ok, at: now)
  }

  /// A reading of some node's clock.
  mutating func skewed(_ now: UInt64) -> UInt64 {
    now + random.within(0...2 * QuorumStore.clockError) - min(now, QuorumStore.clockError)
  }
}
