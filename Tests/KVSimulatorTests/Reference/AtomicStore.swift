import KVModel
import KVSimulator

/// The store that all promises are modelled on: one copy of each key, a causal object, on which each operation takes
/// effect at one random instant between its invocation and its return. A write without an answer takes effect sometime,
/// perhaps long after, or never.
struct AtomicStore {
  /// A set of writes, by their place in `operations`. So a history has at most 128 operations.
  typealias Writes = UInt128

  struct Record {
    var context: Writes = 0
    var live: Writes = 0
  }

  private enum Step {
    case invoke(client: Int)
    case takeEffect(Int)
    case answer(Int)
  }

  private let workload: Workload
  private var random: PRNG
  private var agenda = Agenda<Step>()
  private var records: [Record]
  private var operations: [Operation] = []
  /// What the context in each operation's answer covers.
  private var contexts: [Writes] = []
  private var answered: [[Int]]
  /// When each put was replaced, if it was.
  private(set) var replacedAt: [UInt64?] = []

  static func history(_ workload: Workload, _ random: inout PRNG) -> (history: History, replacedAt: [UInt64?]) {
    var store = AtomicStore(workload, random.fork())
    store.run()
    var history = History(copies: 3, readQuorum: 2, writeQuorum: 2, operations: store.operations)
    history.keys = (0..<workload.keys).map { "key \($0)" }
    return (history, store.replacedAt)
  }

  private init(_ workload: Workload, _ random: PRNG) {
    self.workload = workload
    self.random = random
    records = Array(repeating: Record(), count: workload.keys)
    answered = Array(repeating: [], count: workload.keys)
  }

  private mutating func run() {
    for client in 0..<workload.clients { agenda.plan(.invoke(client: client), at: random.within(0...50)) }
    while let (now, step) = agenda.next() {
      switch step {
      case .invoke(let client): invoke(client, at: now)
      case .takeEffect(let number): takeEffect(number, at: now)
      case .answer(let number): answer(number, at: now)
      }
    }
  }

  private mutating func invoke(_ client: Int, at now: UInt64) {
    let number = operations.count
    guard number < min(workload.operations, 128) else { return }
    let operation = workload.operation(number: number, client: client, at: now, answered: answered, &random)
    operations.append(operation)
    contexts.append(0)
    replacedAt.append(nil)
    let end = now + random.within(2...40)
    if operation.isWrite, random.chance(workload.rejected, of: 100) {
      operations[number].outcome = .rejected
      return agenda.plan(.answer(number), at: end)
    }
    guard operation.isWrite, random.chance(workload.unanswered, of: 100) else {
      agenda.plan(.takeEffect(number), at: random.within(now + 1...end - 1))
      operations[number].outcome = .ok
      return agenda.plan(.answer(number), at: end)
    }
    if random.chance(2, of: 3) {
      agenda.plan(.takeEffect(number), at: now + random.within(1...(random.chance(1, of: 3) ? 1_000 : 40)))
    }
    agenda.plan(.answer(number), at: end)
  }

  private mutating func takeEffect(_ number: Int, at now: UInt64) {
    let operation = operations[number]
    let mine: Writes = 1 << Writes(number)
    var record = records[operation.key]
    if operation.kind == .get {
      let shown = set(record.live).filter { isShown($0, at: now) }
      operations[number].seen = shown.shuffled(using: &random)
      contexts[number] = record.context
      return
    }
    let covered = operation.context.map { contexts[$0] } ?? record.context
    for write in set(record.live & covered) { replacedAt[write] = now }
    record.live = record.live & ~covered | mine
    record.context |= covered | mine
    contexts[number] = operation.context == nil ? record.context : covered | mine
    records[operation.key] = record
  }

  private func isShown(_ write: Int, at now: UInt64) -> Bool {
    let operation = operations[write]
    return operation.kind == .put && operation.ttlMs.map { operation.invokedAt + $0 > now } ?? true
  }

  private mutating func answer(_ number: Int, at now: UInt64) {
    let operation = operations[number]
    if operation.outcome == .ok { answered[operation.key].append(number) }
    if operation.outcome != .unknown || random.chance(1, of: 2) { operations[number].returnedAt = now }
    agenda.plan(.invoke(client: operation.client), at: now + random.within(0...30))
  }
}

/// The members of a set, ascending.
func set(_ members: UInt128) -> [Int] {
  var rest = members
  var result: [Int] = []
  while rest != 0 {
    result.append(rest.trailingZeroBitCount)
    rest &= rest - 1
  }
  return result
}
