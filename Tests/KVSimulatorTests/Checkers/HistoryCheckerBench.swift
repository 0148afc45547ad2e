import Glibc
import KVModel
import KVSimulator
import Testing

/// What the checker costs: run with `RINGKV_BENCH=1 swift test -c release --filter HistoryCheckerBench`. It prints and
/// checks that the histories hold, nothing else.
@Suite(.serialized, .enabled(if: getenv("RINGKV_BENCH") != nil))
struct HistoryCheckerBench {
  @Test(arguments: [
    Load(keys: 1_000), Load(keys: 20), Load(keys: 1), Load(keys: 1, overwrites: 0, unanswered: 20, deletes: 20),
    Load(keys: 1, overwrites: 100, unanswered: 20, deletes: 0), Load(keys: 20, unanswered: 40, deletes: 20),
    Load(keys: 20, mixesQuorums: true), Load(keys: 1, unanswered: 20, mixesQuorums: true),
    Load(keys: 20, overwrites: 0, mixesQuorums: true, contextAge: 8),
  ])
  func `a hundred thousand operations`(_ load: Load) {
    let history = Busy.history(100_000, load)
    let began = now()
    let violations = HistoryChecker.check(history)
    let spent = now() - began
    #expect(violations.isEmpty, "\(violations)")
    print(load, "\(Int(spent * 1e9) / history.operations.count) ns an operation")
  }

  private func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

struct Load {
  var keys: Int
  var overwrites: UInt64 = 30
  var unanswered: UInt64 = 5
  var deletes: UInt64 = 5
  var mixesQuorums = false
  /// A write carries the context of one of the last so many gets of its key.
  var contextAge = 1
}

/// An atomic store for long histories, whose writes carry the contexts of gets or none: such a context is simply all
/// that took effect before it.
private struct Busy {
  enum Step {
    case invoke(client: Int)
    case takeEffect(Int)
    case answer(Int)
  }

  let load: Load
  var random = PRNG(seed: 1)
  var agenda = Agenda<Step>()
  var operations: [Operation] = []
  /// How many writes had taken effect when the get did.
  var reach: [Int] = []
  /// By key: how many took effect, and the live ones with their place among them.
  var effects: [Int]
  var live: [[(write: Int, place: Int)]]
  var gets: [[Int]]

  static func history(_ count: Int, _ load: Load) -> History {
    var busy = Busy(
      load: load, effects: Array(repeating: 0, count: load.keys), live: Array(repeating: [], count: load.keys),
      gets: Array(repeating: [], count: load.keys))
    for client in 0..<16 { busy.agenda.plan(.invoke(client: client), at: busy.random.within(0...1_000)) }
    while let (now, step) = busy.agenda.next() {
      switch step {
      case .invoke(let client):
        if busy.operations.count == count { continue }
        busy.invoke(client, at: now)
      case .takeEffect(let number): busy.takeEffect(number)
      case .answer(let number):
        busy.operations[number].returnedAt = now
        if busy.operations[number].kind == .get { busy.gets[busy.operations[number].key].append(number) }
        busy.agenda.plan(.invoke(client: busy.operations[number].client), at: now + busy.random.below(200))
      }
    }
    return History(
      copies: 3, readQuorum: 2, writeQuorum: 2, keys: (0..<load.keys).map { "\($0)" }, operations: busy.operations)
  }

  private mutating func invoke(_ client: Int, at now: UInt64) {
    let number = operations.count
    let isGet = random.chance(1, of: 2)
    let isDelete = !isGet && random.chance(load.deletes, of: 100)
    var operation = Operation(
      number: number, client: client, kind: isGet ? .get : isDelete ? .delete : .put, key: random.index(load.keys),
      quorum: load.mixesQuorums ? 1 + random.index(3) : 2, invokedAt: now)
    let known = gets[operation.key].suffix(load.contextAge)
    if !isGet, !known.isEmpty, !random.chance(load.overwrites, of: 100) {
      operation.context = known[known.startIndex + random.index(known.count)]
    }
    let end = now + random.within(100...2_000)
    let isAnswered = isGet || !random.chance(load.unanswered, of: 100)
    operation.outcome = isAnswered ? .ok : .unknown
    operations.append(operation)
    reach.append(0)
    if isAnswered || random.chance(1, of: 2) { agenda.plan(.takeEffect(number), at: now + random.below(end - now)) }
    agenda.plan(.answer(number), at: end)
  }

  private mutating func takeEffect(_ number: Int) {
    let operation = operations[number]
    if operation.kind == .get {
      operations[number].seen = live[operation.key].map(\.write).filter { operations[$0].kind == .put }
      reach[number] = effects[operation.key]
      return
    }
    let covered = operation.context.map { reach[$0] } ?? .max
    live[operation.key].removeAll { $0.place < covered }
    live[operation.key].append((number, effects[operation.key]))
    effects[operation.key] += 1
  }
}
