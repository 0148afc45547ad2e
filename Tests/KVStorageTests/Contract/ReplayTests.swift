import KVCore
import KVModel
import Testing

@testable import KVStorage

/// Random operations, replayed against RocksDB and the memory store: every answer and every byte must agree, through
/// held syncs, reopening and crashes.
@Suite struct `RocksDB and the memory store agree` {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `on every byte, whatever is asked`(seed: UInt64) {
    var random = PRNG(seed: seed)
    let stores = [StoreKind.memory.make(), StoreKind.rocksDB.make()]
    var operations = RandomOperations(random: random.fork())
    for _ in 0..<25 {
      let holds = random.chance(1, of: 2)
      var handed = false
      if holds { for store in stores { store.holdSyncs() } }
      var ids: [StorageID] = []
      for _ in 0..<(1 + random.index(20)) {
        let operation = operations.next()
        // What a read finds depends on the sync, unless that is held back or over.
        guard holds || !operation.isRead else { continue }
        let submitted = stores.map { $0.submit(operation) }
        #expect(submitted[0] == submitted[1])
        ids.append(submitted[0])
        // A read may wait for the disk, so it must end before the sync can go on.
        if operation.isRead { settle(stores, [submitted[0]]) }
        if random.chance(1, of: 4) {
          handed = true
          for store in stores { store.endTurn() }
        }
      }
      for store in stores { store.endTurn() }
      let crashes = holds && handed && random.chance(1, of: 3)
      if crashes {
        for store in stores {
          store.crash()
          store.releaseSyncs()
        }
      } else {
        if holds { for store in stores { store.releaseSyncs() } }
        settle(stores, ids)
        if random.chance(1, of: 4) { for store in stores { store.reopen() } }
      }
      compare(stores)
    }
  }

  /// Waits until RocksDB answered all that the memory store has, and compares.
  private func settle(_ stores: [StoreUnderTest], _ ids: [StorageID]) {
    for id in ids {
      let expected = stores[0].answers[id, default: []]
      #expect(stores[1].wait(for: id, answers: expected.count) == expected)
    }
  }

  private func compare(_ stores: [StoreUnderTest]) {
    let snapshots = stores.map { $0.snapshot() }
    #expect(snapshots[0] == snapshots[1])
    #expect(snapshots[1].leaves == snapshots[1].recomputedLeaves(testGeometry))
    for leaf in snapshots[0].leaves { #expect(stores[1].syncedLeaf(leaf.place) == leaf.digest) }
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `hazard 13: a kill at any point leaves the tree equal to the data`(seed: UInt64) throws {
    var random = PRNG(seed: seed)
    var operations = RandomOperations(random: random.fork())
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = StoreUnderTest(in: directory)
    for _ in 0..<8 {
      var acknowledged: [StorageID] = []
      for _ in 0..<(1 + random.index(60)) {
        let operation = operations.next()
        let id = store.turn(operation)
        if case .merge = operation { acknowledged.append(id) }
        store.pump()
      }
      let synced = acknowledged.filter { store.answers[$0]?.last == .synced }
      // The writer may be in the middle of a batch now.
      let copy = TemporaryDirectory()
      TemporaryDirectory.copy(directory.path, to: copy.path)
      let survivor = StoreUnderTest(in: copy)
      let found = survivor.snapshot()
      #expect(found.leaves == found.recomputedLeaves(testGeometry))
      for id in synced {
        guard case .merged(let merged)? = store.answers[id]?.first, let key = operations.drawnKey(for: id) else {
          continue
        }
        guard case .record(let record) = survivor.read(key), let now = try? record.decoded() else {
          Issue.record("an acknowledged write is gone")
          continue
        }
        #expect(now.context.covers(merged.context), "an acknowledged write is gone")
      }
    }
  }
}

extension StorageOperation {
  fileprivate var isRead: Bool {
    switch self {
    case .read, .findRequest: true
    case .merge, .extendLease: false
    }
  }
}

/// Draws operations on a few keys, with everything that records can have.
struct RandomOperations {
  private var random: PRNG
  private var counter: UInt64 = 0
  private var drawn: [Key?] = []
  private let keys = (0..<12).map { key("key-\($0)") }

  init(random: PRNG) { self.random = random }

  /// The key of the operation that was submitted with this id, ids counting from one.
  func drawnKey(for id: StorageID) -> Key? { drawn[Int(id.raw) - 1] }

  mutating func next() -> StorageOperation {
    counter += 1
    let key = keys[random.index(keys.count)]
    let operation: StorageOperation =
      switch random.index(10) {
      case 0: .read(key)
      case 1: .findRequest(RequestID(client: 9, sequence: random.within(1...counter)), key)
      case 2: .extendLease(Lease(actor: testActor, sequence: counter * 100, stamp: stamp(counter)))
      case 3, 4: .merge(key, .join(record()))
      default: .merge(key, change())
      }
    drawn.append(key)
    return operation
  }

  private mutating func change() -> Change {
    let expiry = random.chance(1, of: 3) ? WallTime(milliseconds: random.within(1...100_000)) : nil
    let text = random.chance(1, of: 5) ? nil : String(repeating: "x", count: random.index(2_000))
    let time = counter * random.within(1...3_000)
    switch random.index(3) {
    case 0: return mint(counter, text, at: time, expiry: text == nil ? nil : expiry)
    case 1:
      var seen = VersionVector()
      if counter > 1 { seen.add(dot(random.within(1...(counter - 1)))) }
      return mint(counter, text, basis: .context(seen), at: time, expiry: text == nil ? nil : expiry)
    default:
      let first = dot(counter > 1 ? random.within(1...(counter - 1)) : 1)
      let beside = Beside(history: record().context, stamp: stamp(time))
      var covered = VersionVector()
      if counter > 1 { covered.add(first) }
      return mint(
        counter, text, basis: .again(first: first, covered: covered, beside: beside), at: time,
        ceiling: stamp(time + random.within(0...50)))
    }
  }

  private mutating func record() -> Record {
    let actor = Actor(node: NodeID(random.within(2...4)), epoch: 1)
    var context = VersionVector()
    context.add(dot(random.within(1...20), of: Actor(node: NodeID(5), epoch: 2)))
    // A dot names one version for ever, so its content follows from it.
    let number = random.within(1...20)
    return Record(context: context, versions: [version(number, "theirs \(number)", of: actor)])
  }
}
