import KVCore
import KVModel
import KVSimulator
import Testing

@testable import KVStorage
@testable import StorageDriver

@Suite struct `The contract of a store` {
  @Test(arguments: StoreKind.allCases)
  func `a write is acknowledged after its sync and survives a crash`(kind: StoreKind) {
    StorageContract.acknowledgesAfterTheSync(kind.make())
    StorageContract.waitsForASyncOfItsOwn(kind.make())
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

  @Test(arguments: StoreKind.evicting)
  func `operations on a key keep their order when the first waits for the disk`(kind: StoreKind) {
    StorageContract.keepsTheOrderBehindTheDisk(kind.make())
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
    StorageContract.comparesWhatIsSynced(kind.make())
  }

  @Test(arguments: StoreKind.allCases, [Crash.powerCut, .death])
  func `hazard 16: a hint for an owner that is away is there exactly when its record is`(kind: StoreKind, crash: Crash)
  {
    StorageContract.writesHintsWithTheirRecord(kind.make(), after: crash)
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 2: hints are listed as their records are now, and none goes that was noted again`(kind: StoreKind) {
    StorageContract.notesWhatAnUnchangedMergeMissed(kind.make())
    StorageContract.listsHintsInRingOrder(kind.make())
    StorageContract.forgetsNothingThatWasWrittenAgain(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 16: hints beyond the budget mark their leaves, until an exchange answers for them`(kind: StoreKind) {
    StorageContract.marksLeavesBeyondTheBudget(kind.make(hintKeysMax: 2))
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 15: a sweep drops the bytes of what has expired, and neither digest nor leaf changes`(kind: StoreKind) {
    StorageContract.sweepsWhatHasExpired(kind.make())
    StorageContract.listsWhatIsDuePageByPage(kind.make())
    StorageContract.sweptStaysSwept(kind.make())
  }

  @Test(arguments: StoreKind.damaging)
  func `the expiry entry of a record that was put aside goes when the sweep comes by`(kind: StoreKind) {
    StorageContract.dropsStaleEntries(kind.make())
  }

  @Test(arguments: StoreKind.allCases, [Crash.powerCut, .death])
  func `a crash during a sweep leaves the bytes and their entry, or neither`(kind: StoreKind, crash: Crash) {
    StorageContract.sweepsAllOrNothing(kind.make(), after: crash)
  }

  @Test(arguments: StoreKind.allCases)
  func `hazard 13: reading leaves again finds tree and data equal, whatever is written meanwhile`(kind: StoreKind) {
    StorageContract.readsLeavesAgain(kind.make())
  }

  @Test(arguments: StoreKind.allCases, [Crash.powerCut, .death])
  func `a crash leaves whole operations, none before one that was acknowledged missing`(kind: StoreKind, crash: Crash) {
    StorageContract.leavesWholeOperations(kind.make(), after: crash)
  }

  @Test(arguments: StoreKind.failing)
  func `hazard 37: after a failed sync a store says so once and nothing more`(kind: StoreKind) {
    StorageContract.fallsSilentAfterAFailedSync(kind.make())
  }

  @Test(arguments: StoreKind.damaging, StorageContract.Touch.allCases)
  func `hazard 42: whatever touches a damaged record puts it aside, and nothing else goes`(
    kind: StoreKind, touch: StorageContract.Touch
  ) {
    StorageContract.putsDamageAside(kind.make(), by: touch)
  }

  @Test(arguments: StoreKind.damaging)
  func `hazard 07: a lost record is joined onto, and neither read nor minted onto`(kind: StoreKind) throws {
    try StorageContract.takesJoinsIntoAGap(kind.make())
    StorageContract.mintsIntoAClosedGapAsAnotherActor(kind.make())
  }

  @Test(arguments: StoreKind.damaging)
  func `hazard 29: a partition that may lack anything is noted, and once`(kind: StoreKind) {
    StorageContract.notesALostLifeOnce(kind.make())
  }

  @Test(arguments: StoreKind.allCases)
  func `a key that was never written is empty`(kind: StoreKind) {
    StorageContract.answersEmptyForAnUnknownKey(kind.make())
  }
}

@Suite struct `What the contract catches` {
  private func expectCaught(_ plant: Plant, _ check: (StoreUnderTest) -> Void) {
    withKnownIssue { check(StoreUnderTest(PlantedRig(plant))) }
  }

  @Test func `planted: an answer before the sync`() {
    expectCaught(.acknowledgesEarly, StorageContract.acknowledgesAfterTheSync)
    expectCaught(.acknowledgesEarly, StorageContract.waitsForASyncOfItsOwn)
    expectCaught(.acknowledgesUnchanged, StorageContract.unchangedMergeWaitsForWhatItJoinedOnto)
    expectCaught(.acknowledgesUnchanged, StorageContract.unchangedMergeInTheSameTurnWaitsToo)
  }

  @Test func `planted: a read of what is not synced, or out of its order`() {
    expectCaught(.showsUnsynced, StorageContract.showsOnlyWhatIsSynced)
    expectCaught(.overtakesReads, StorageContract.keepsTheOrderBehindTheDisk)
  }

  @Test func `planted: hazard 37: a sync that is asked for again`() {
    expectCaught(.retriesSyncs, StorageContract.fallsSilentAfterAFailedSync)
  }

  @Test func `planted: hazard 44: a store that finds no request`() {
    expectCaught(.forgetsRequests, StorageContract.remembersRequests)
  }

  @Test(arguments: [PlantedRig.Wreck.recordAlone, .leafLost])
  func `planted: hazard 13: a crash that leaves a record without what belongs to it`(wreck: PlantedRig.Wreck) {
    withKnownIssue { StorageContract.leavesWholeOperations(StoreUnderTest(PlantedRig(wreck)), after: .death) }
  }
}

@Suite struct `The simulated disk beyond the contract` {
  @Test func `a batch that is handed over during a sync is not part of it`() {
    let rig = DiskRig(seed: 1)
    let store = StoreUnderTest(rig)
    store.holdSyncs()
    let first = store.turn(.merge(key("a"), mint(1, "one")))
    #expect(rig.disk.wantsSync)
    rig.disk.beginSync()
    #expect(!rig.disk.wantsSync)
    let second = store.turn(.merge(key("b"), mint(2, "two")))
    rig.disk.finishSync()
    store.pump()
    #expect(store.answers[first]?.last == .synced)
    #expect(store.answers[second]?.count == 1)
    #expect(rig.disk.wantsSync)
  }

  @Test func `a record that the disk does not give back is unreadable, and all else goes on`() {
    var faults = SimulatedDisk.Faults()
    (faults.slowRead, faults.readError) = (1_000_000, 1_000_000)
    let rig = DiskRig(seed: 1)
    let store = StoreUnderTest(rig)
    store.merge(key("a"), mint(1, "one"))
    rig.disk.faults = faults
    #expect(store.read(key("a")) == .unreadable)
    #expect(store.wait(for: store.turn(.merge(key("a"), mint(2, "two")))) == [.unreadable])
    rig.disk.faults = .init()
    store.merge(key("a"), mint(3, "three"))
    #expect(store.values(key("a")) == ["three"])
  }

  @Test func `a crash keeps any beginning of the unsynced batches, and a power cut none`() {
    var kept: Set<Int> = []
    for seed in 0..<60 as Range<UInt64> {
      let rig = DiskRig(seed: seed)
      let store = StoreUnderTest(rig)
      store.holdSyncs()
      for counter in 1...3 as ClosedRange<UInt64> { store.turn(.merge(key("k\(counter)"), mint(counter, "v"))) }
      let power = seed % 2 == 0
      store.crash(power ? .powerCut : .death)
      let count = store.snapshot().records.count
      #expect(!power || count == 0)
      kept.insert(count)
    }
    #expect(kept == [0, 1, 2, 3])
  }

  @Test func `after a failed sync the log may hold what was to be synced, and the disk is silent until the crash`() {
    var kept: Set<Int> = []
    for seed in 0..<20 as Range<UInt64> {
      let rig = DiskRig(seed: seed)
      let store = StoreUnderTest(rig)
      store.rig.failNextSync()
      let id = store.turn(.merge(key("a"), mint(1, "one")))
      #expect(store.wait(for: id, answers: 2).last == .failed(syncFault))
      #expect(!rig.disk.wantsSync && !rig.disk.wantsReads)
      store.crash(.death)
      kept.insert(store.snapshot().records.count)
    }
    #expect(kept == [0, 1])
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

  /// Rk#1824.
  @Test
  func `hazard 42: a flipped bit in a table file costs that file, and neither a crash nor a scan that never ends`()
    throws
  {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let keys = (1...300 as ClosedRange<UInt64>).map { key("k\($0)") }
    var random = PRNG(seed: 42)
    do {
      let store = StoreUnderTest(in: directory)
      for (index, key) in keys.enumerated() {
        let value = String((0..<200).map { _ in Character(Unicode.Scalar(UInt8(random.within(97...122)))) })
        store.turn(.merge(key, mint(UInt64(index + 1), value)))
      }
      store.merge(key("last"), mint(301, "v"))
      #expect(store.rocksDB.database.settle(.data) == nil)
    }
    let tables = TemporaryDirectory.names(in: directory.path).filter { $0.hasSuffix(".sst") }
    let sizes = try tables.map { try FileSystem.read(directory.path + "/" + $0, bytesMax: 1 << 24) }
    let data = sizes.indices.max { sizes[$0].count < sizes[$1].count }!
    var bytes = sizes[data]
    bytes[bytes.count / 3] ^= 1
    TemporaryDirectory.overwrite(directory.path + "/" + tables[data], bytes)

    let store = StoreUnderTest(in: directory)
    func census() -> GapCensus {
      guard case .gaps(let census)? = store.wait(for: store.turn(.listGaps)).last else { return GapCensus() }
      return census
    }
    guard let touched = keys.first(where: { store.read($0) == .unreadable }) else {
      Issue.record("nothing is damaged")
      return
    }
    // The file goes, and what lay in it is noted before: also what could be read.
    while census().open.isEmpty || !census().open.allSatisfy(\.isReady), store.rig.awaitResults() { store.pump() }
    #expect(census().open.allSatisfy(\.isReady) && census().filesDropped >= 1)
    #expect(keys.allSatisfy { store.read($0) == .incomplete(.empty) })
    #expect(!TemporaryDirectory.names(in: directory.path).contains(tables[data]))
    let dropped = store.snapshot()
    #expect(dropped.records.isEmpty && dropped.leaves.allSatisfy { $0.digest == .zero })
    // It takes joins, and a scan or a compaction of it all comes to its end.
    let other = Actor(node: NodeID(2), epoch: 1)
    let record = Record(
      context: VersionVector([.init(actor: other, counter: 5)]), versions: [version(5, "theirs", of: other)])
    store.wait(for: store.turn(.merge(touched, .join(record))), answers: 2)
    #expect(store.read(touched) == .incomplete(EncodedRecord(record)))
    #expect(store.rocksDB.database.settle(.data) == nil && store.rocksDB.backgroundFault() == nil)
    let mended = store.snapshot()
    #expect(mended.leaves.filter { $0.digest != .zero } == mended.recomputedLeaves(testGeometry))
    store.reopen()
    #expect(store.read(touched) == .incomplete(EncodedRecord(record)))
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
    #expect(store.snapshot().requests.map(\.id.sequence) == [3], "only what this write has replaced")
  }
}
