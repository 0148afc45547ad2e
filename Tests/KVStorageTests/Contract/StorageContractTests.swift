import KVCore
import KVModel
import Testing

@testable import KVStorage

@Suite struct `The contract of a store` {
  @Test(arguments: StoreKind.allCases)
  func `a write is acknowledged after its sync and survives a crash`(kind: StoreKind) {
    StorageContract.acknowledgesAfterTheSync(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `no read returns a version that is not yet synced, and later merges see it`(kind: StoreKind) {
    StorageContract.showsOnlyWhatIsSynced(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `a merge that changes nothing waits for what it joined onto`(kind: StoreKind) {
    StorageContract.unchangedMergeWaitsForWhatItJoinedOnto(kind.make())
    StorageContract.unchangedMergeInTheSameTurnWaitsToo(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `operations on a key keep their order`(kind: StoreKind) {
    StorageContract.keepsTheOrderOfAKey(kind.make())
    StorageContract.keepsRingOrder(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `a mint supersedes by its basis and is stamped by its rules`(kind: StoreKind) {
    StorageContract.mintsByItsBasis(kind.make())
    StorageContract.overwritesBesides(kind.make())
    StorageContract.stampsStayBelowTheCeiling(kind.make())
    StorageContract.reportsWhatStandsBeside(kind.make())
    StorageContract.refusesTooManySiblings(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `a lease is answered once it is synced`(kind: StoreKind) { StorageContract.keepsLeases(kind.make()) }

  @Test(arguments: StoreKind.allCases)
  func `hazard 44: an applied request is found, also after it was replaced`(kind: StoreKind) {
    StorageContract.remembersRequests(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 13: record, leaf and expiry change together or not at all`(kind: StoreKind) {
    StorageContract.keepsTreeExpiryAndDataTogether(kind.make())
    StorageContract.returnsExpiredVersionsUntouched(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 42: a damaged record is unreadable and nothing else is`(kind: StoreKind) {
    StorageContract.answersUnreadableForDamage(kind.make())
    StorageContract.answersEmptyForAnUnknownKey(kind.make())
  }

  @Test func `planted: a store that answers synced early is caught`() {
    withKnownIssue { StorageContract.acknowledgesAfterTheSync(StoreUnderTest(EagerStorage())) }
    withKnownIssue { StorageContract.unchangedMergeInTheSameTurnWaitsToo(StoreUnderTest(EagerStorage())) }
  }

  @Test func `a failed sync is answered once and nothing after it`() {
    let memory = MemoryStorage(geometry: testGeometry)
    let store = StoreUnderTest(memory)
    let fault = StorageFault(.diskFull, path: "/data/shard-0/000004.log", detail: "No space left on device")
    memory.nextSyncFails = fault
    let first = store.submit(.merge(key("a"), mint(1, "one")))
    let second = store.submit(.merge(key("b"), mint(2, "two")))
    store.endTurn()
    #expect(store.answers[first]?.last == .failed(fault))
    #expect(store.answers[second]?.count == 1)
    let later = store.turn(.read(key("a")))
    #expect(store.answers[later] == nil)
  }
}

@Suite struct `RocksDB beyond the contract` {
  @Test func `durability os answers synced in the turn of the write`() {
    let store = StoreUnderTest(in: TemporaryDirectory()) { $0.durability = .os }
    let id = store.submit(.merge(key("a"), mint(1, "one")))
    #expect(store.answers[id]?.count == 1)
    #expect(store.values(key("a")) == [], "the turn is not over")
    #expect(store.answers[id]?.last == .synced)
    #expect(store.values(key("a")) == ["one"])
    #expect(store.turn(.extendLease(Lease(actor: testActor, sequence: 5, stamp: stamp(1)))).raw > 0)
    store.reopen()
    #expect(store.recoveredLease?.sequence == 5)
    #expect(store.values(key("a")) == ["one"])
  }

  @Test func `what is not in memory comes from the IO pool, in the order of its key`() {
    let store = StoreUnderTest(in: TemporaryDirectory())
    for counter in 1...200 as ClosedRange<UInt64> {
      store.turn(.merge(key("k\(counter)"), mint(counter, "v\(counter)")))
    }
    store.merge(key("last"), mint(201, "v"))
    #expect(store.rocksDB.database.settle(.data) == nil)
    store.reopen()
    let a = key("k7")
    let read = store.submit(.read(a))
    let write = store.submit(.merge(a, mint(300, "new")))
    let again = store.submit(.merge(a, mint(301, "newer", basis: .context(VersionVector()))))
    #expect(store.answers[read] == nil, "nothing is in the cache yet")
    #expect(store.answers[write] == nil, "a merge queues behind the read of its key")
    store.endTurn()
    store.wait(for: again, answers: 2)
    #expect(store.answers[read]?.count == 1)
    guard case .record(let record)? = store.answers[read]?.first else {
      Issue.record("no record")
      return
    }
    #expect(record.values == ["v7"])
    #expect(store.values(a) == ["new", "newer"])
    #expect(store.rocksDB.metrics.servedFromDisk >= 1)
  }

  @Test func `above its bound of unsynced bytes it refuses merges and changes nothing`() {
    let store = StoreUnderTest(in: TemporaryDirectory()) {
      $0.unsyncedBytesMax = 2_000
      $0.batchBytesMax = 500
    }
    store.holdSyncs()
    var accepted: [StorageID] = []
    for counter in 1...100 as ClosedRange<UInt64> {
      let id = store.turn(.merge(key("k\(counter)"), mint(counter, "v")))
      switch store.answers[id]?.first {
      case .merged: accepted.append(id)
      case .refused(let failure): #expect(failure.code == .overloaded)
      default: Issue.record("neither merged nor refused")
      }
    }
    #expect(!accepted.isEmpty && accepted.count < 20)
    store.releaseSyncs()
    for id in accepted { #expect(store.wait(for: id, answers: 2).last == .synced) }
    #expect(store.snapshot().records.count == accepted.count)
    #expect(store.rocksDB.metrics.unsyncedBytes == 0)
  }

  @Test func `request ids are forgotten after their minute`() {
    let clock = TestClock()
    let store = StoreUnderTest(in: TemporaryDirectory()) { $0.wallClock = { clock.now } }
    store.merge(key("a"), mint(1, "one"))
    store.merge(key("a"), mint(2, "two"))
    #expect(store.snapshot().requests.count == 1)
    clock.set(WallTime(milliseconds: 59_000))
    store.merge(key("b"), mint(3, "three", at: 59_000))
    #expect(store.snapshot().requests.count == 1, "a retry may still come")
    clock.set(WallTime(milliseconds: 200_000))
    store.merge(key("b"), mint(4, "four", at: 200_000))
    #expect(store.snapshot().requests.isEmpty)
  }
}
