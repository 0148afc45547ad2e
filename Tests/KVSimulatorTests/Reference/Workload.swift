import KVModel
import KVSimulator

/// What clients of a reference store do: drawn from a seed, one history after another.
struct Workload {
  var clients = 4
  var operations = 100
  var keys = 1
  /// R and W are drawn for each operation; else both are 2.
  var mixesQuorums = false
  /// Of a hundred operations.
  var gets: UInt64 = 45
  var deletes: UInt64 = 6
  /// Of a hundred puts.
  var expiring: UInt64 = 4
  /// Of a hundred writes.
  var overwrites: UInt64 = 30
  /// Of a hundred writes: rejected, left without an answer.
  var rejected: UInt64 = 4
  var unanswered: UInt64 = 10

  /// A workload of some kind, so that not every history is of the same.
  static func drawn(_ random: inout PRNG) -> Workload {
    var workload = Workload()
    workload.clients = 1 + random.index(6)
    workload.operations = 20 + random.index(90)
    workload.keys = 1 + random.index(2)
    workload.mixesQuorums = random.chance(1, of: 2)
    workload.gets = random.within(20...70)
    workload.deletes = random.chance(1, of: 2) ? 0 : random.within(1...15)
    workload.expiring = random.chance(1, of: 2) ? 0 : random.within(1...15)
    workload.overwrites = random.pick([0, 10, 30, 60, 100])
    workload.rejected = random.pick([0, 5, 15])
    workload.unanswered = random.pick([0, 5, 15, 40])
    return workload
  }

  func quorum(_ random: inout PRNG) -> Int { mixesQuorums ? 1 + random.index(3) : 2 }

  /// The next operation of a client. `answered` are operations whose context it may carry, latest last.
  func operation(
    number: Int, client: Int, at now: UInt64, answered: [[Int]], _ random: inout PRNG
  ) -> Operation {
    let key = random.index(keys)
    let isGet = random.chance(gets, of: 100)
    let isDelete = !isGet && random.chance(deletes, of: 100)
    var operation = Operation(
      number: number, client: client, kind: isGet ? .get : isDelete ? .delete : .put, key: key,
      quorum: quorum(&random), invokedAt: now)
    if isGet { return operation }
    if !answered[key].isEmpty, !random.chance(overwrites, of: 100) {
      operation.context = random.pick(Array(answered[key].suffix(random.chance(1, of: 4) ? 30 : 3)))
    }
    if !isDelete, random.chance(expiring, of: 100) { operation.ttlMs = random.within(1...60) }
    return operation
  }
}

extension PRNG {
  mutating func pick<Element>(_ all: [Element]) -> Element { all[index(all.count)] }
}

/// Things to come, the earliest first; of one time, in the order in which they were planned.
struct Agenda<Item> {
  private var heap: [(at: UInt64, order: Int, item: Item)] = []
  private var planned = 0

  mutating func plan(_ item: Item, at time: UInt64) {
    planned += 1
    heap.append((time, planned, item))
    var place = heap.count - 1
    while place > 0, isEarlier(place, (place - 1) / 2) {
      heap.swapAt(place, (place - 1) / 2)
      place = (place - 1) / 2
    }
  }

  mutating func next() -> (at: UInt64, item: Item)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if heap.isEmpty { return (first.at, first.item) }
    heap[0] = last
    var place = 0
    while true {
      var least = place
      for child in [2 * place + 1, 2 * place + 2] where child < heap.count && isEarlier(child, least) { least = child }
      if least == place { return (first.at, first.item) }
      heap.swapAt(place, least)
      place = least
    }
  }

  private func isEarlier(_ a: Int, _ b: Int) -> Bool { (heap[a].at, heap[a].order) < (heap[b].at, heap[b].order) }
}
