import KVCore
import KVModel
import KVSimulator
import Testing

@testable import KVStorage

#if DEBUG
  private let seeds: ClosedRange<UInt64> = 1...4
#else
  private let seeds: ClosedRange<UInt64> = 1...30
#endif

/// Random operations, replayed against RocksDB, the memory store and the simulated disk.
@Suite struct `RocksDB, the memory store and the simulated disk agree` {
  @Test(arguments: seeds)
  func `on every answer and every byte, whatever is asked, through crashes and restarts`(seed: UInt64) {
    var replay = Replay(seed: seed)
    for _ in 0..<12 { replay.round() }
  }

  @Test func `planted: a model that forgets an expiry, a request id or a leaf differs`() {
    let store = StoreKind.memory.make()
    store.merge(key("a"), mint(1, "one", expiry: WallTime(milliseconds: 5_000)))
    store.merge(key("a"), mint(2, "two", expiry: WallTime(milliseconds: 6_000)))
    let whole = store.snapshot()
    var (expiry, request, leaf) = (whole, whole, whole)
    expiry.expiries.removeLast()
    request.requests.removeLast()
    leaf.leaves[0].digest.low ^= 1
    for broken in [expiry, request, leaf] { #expect(broken != whole) }
    #expect(leaf.leaves != leaf.recomputedLeaves(testGeometry))
  }
}

/// The same life lived by three stores at once. The memory store is the model; the others must answer as it does, and
/// hold what it holds.
private struct Replay {
  private var random: PRNG
  private var operations: RandomOperations
  private let clock: TestClock
  private let memory = MemoryRig()
  private let disk: DiskRig
  private let rocksDB: RocksDBRig
  private let stores: [StoreUnderTest]
  private var damaged: Set<Key> = []
  private var ticks: UInt64 = 0

  init(seed: UInt64) {
    random = PRNG(seed: seed)
    operations = RandomOperations(random: random.fork())
    var faults = SimulatedDisk.Faults()
    faults.slowRead = 100_000 * (seed % 3)
    disk = DiskRig(seed: seed, faults: faults)
    let clock = TestClock()
    self.clock = clock
    rocksDB = RocksDBRig(in: TemporaryDirectory()) {
      $0.wallClock = { clock.now }
      $0.batchBytesMax = seed % 4 == 0 ? 2_000 : 4 << 20
      $0.writeBufferBytes = seed % 5 == 0 ? 64 << 10 : 64 << 20
    }
    let rigs: [any Rig] = [memory, disk, rocksDB]
    stores = rigs.map { StoreUnderTest($0, keepsLedger: false) }
  }

  /// Some turns, with syncs or without; then the stores go on, start again, or crash.
  mutating func round() {
    let holds = random.chance(1, of: 2)
    if holds { for store in stores { store.holdSyncs() } }
    var ids: [StorageID] = []
    for _ in 0..<(1 + random.index(240)) {
      let operation = operations.next()
      // What a read finds depends on the sync, unless that is held back or over.
      if operation.isRead || operation.isOfNoKey { settle(&ids) }
      let submitted = stores.map { $0.submit(operation) }
      ids.append(submitted[0])
      if operation.isRead { settle(&ids) }
      if random.chance(1, of: 4) { for store in stores { store.endTurn() } }
    }
    if holds, random.chance(1, of: 4) {
      settle(&ids)
      for store in stores { store.crash() }
      for store in stores { store.releaseSyncs() }
      forgetRequests()
    } else {
      if holds {
        settle(&ids)
        for store in stores { store.releaseSyncs() }
      }
      settle(&ids)
      rest()
    }
    compare()
  }

  /// Between rounds everything is synced.
  private mutating func rest() {
    switch random.index(8) {
    case 0: for store in stores { store.reopen() }
    case 1:
      // It starts again, and what hints are told apart by counts from each start.
      rocksDB.evict()
      for store in stores where !(store.rig is RocksDBRig) { store.reopen() }
    case 2: clock.set(WallTime(milliseconds: clock.now.milliseconds + random.within(60_000...200_000)))
    case 3: return damage()
    default: return
    }
    forgetRequests()
  }

  private mutating func damage() {
    let key = operations.keys[random.index(operations.keys.count)]
    guard damaged.count < 3, damaged.insert(key).inserted else { return }
    for store in stores {
      store.damage(key)
      // Each finds it in its own time, unless somebody touches it.
      _ = store.read(key)
      store.wait(for: store.turn(.changeGaps([])))
    }
  }

  /// RocksDB forgets with the first batch after a start or after a minute.
  private mutating func forgetRequests() {
    ticks += 1
    let ids = stores.map { $0.turn(.merge(key("tick"), mint(1_000_000 + ticks, "tick"))) }
    for (store, id) in zip(stores, ids) { store.wait(for: id, answers: 2) }
    memory.memory.forgetRequests(at: clock.now)
    disk.disk.forgetRequests(at: clock.now)
  }

  /// Ends the turn and waits until all have answered what the model has, now that syncs are held or have ended.
  private func settle(_ ids: inout [StorageID]) {
    for store in stores { store.endTurn() }
    for id in ids {
      let expected = stores[0].answers[id, default: []]
      for store in stores.dropFirst() { #expect(store.wait(for: id, answers: expected.count) == expected) }
    }
    ids.removeAll { stores[0].answers[$0]?.isOver ?? false }
  }

  private func compare() {
    let model = stores[0].snapshot()
    for store in stores.dropFirst() {
      #expect(store.snapshot().difference(from: model) == nil, "\(type(of: store.rig))")
      for leaf in model.leaves { #expect(store.syncedLeaf(leaf.place) == leaf.digest) }
    }
    #expect(model.leaves.filter { $0.digest != .zero } == model.recomputedLeaves(testGeometry))
  }
}

extension [StorageResult] {
  /// No more answers come.
  fileprivate var isOver: Bool {
    switch last {
    case nil, .merged: false
    case .record, .unreadable, .synced, .refused, .leased, .request, .digests, .listed, .hints, .census, .expired,
      .rescanned, .incomplete, .gaps, .scrubbed, .failed:
      true
    }
  }
}
