import KVCore
import KVModel
import Testing

// What every store promises of what it has lost.
extension StorageContract {
  private static func census(_ store: StoreUnderTest) -> GapCensus {
    guard case .gaps(let census)? = store.wait(for: store.turn(.listGaps)).last else { return GapCensus() }
    return census
  }

  private static func change(_ store: StoreUnderTest, _ changes: [GapChange]) {
    #expect(store.wait(for: store.turn(.changeGaps(changes))) == [.synced])
  }

  private static func leaf(of key: Key, _ store: StoreUnderTest) -> LeafPage? {
    let list = StorageOperation.listLeaf(LeafPlace(of: key, testGeometry), after: nil, limit: 9)
    guard case .listed(let page)? = store.wait(for: store.turn(list)).last else { return nil }
    return page
  }

  private static func mint(_ counter: UInt64, as actor: Actor, on key: Key, _ store: StoreUnderTest) -> StorageResult {
    store.merge(key, KVStorageTests.mint(counter, "by \(actor.epoch)", actor: actor))
  }

  /// Two records of a store whose actor has a lease; the first one is damaged.
  private static func damaged(_ store: StoreUnderTest) -> Key {
    store.wait(for: store.turn(.extendLease(Lease(actor: testActor, sequence: 100, stamp: stamp(1)))))
    store.merge(key("a"), KVStorageTests.mint(1, "one"))
    store.merge(key("b"), KVStorageTests.mint(2, "two"))
    store.damage(key("a"))
    return key("a")
  }

  /// HAZARDS.md rows 41 and 42: whatever touches damage puts it aside, and then tree and data agree again.
  static func putsDamageAside(_ store: StoreUnderTest, by touch: Touch) {
    let lost = damaged(store)
    let bytes = store.snapshot().records.first { $0.key == lost.bytes }?.record
    switch touch {
    case .read: #expect(store.read(lost) == .unreadable)
    case .list: #expect(leaf(of: lost, store)?.entries.first { $0.key == lost }?.digest == .zero)
    case .digests: #expect(store.wait(for: store.turn(.keyDigests([lost]))) == [.digests([.zero])])
    case .scrub:
      guard case .scrubbed(let page)? = store.wait(for: store.turn(.scrub(after: nil, bytes: 1 << 20))).last else {
        Issue.record("no .scrubbed")
        return
      }
      #expect(page.last == nil && page.bytes > 0)
    }
    // What is found on a thread of its own is put aside a moment later.
    while census(store).open.isEmpty, store.rig.awaitResults() { store.pump() }
    change(store, [])
    let census = census(store)
    #expect(census.open.map(\.gap.part) == [.key(lost)] && census.quarantined == 1)
    #expect(census.open.first?.isReady == true && census.open.first?.gap.barred == testActor)
    let snapshot = store.snapshot()
    #expect(snapshot.records.map(\.key) == [key("b").bytes])
    #expect(snapshot.quarantined.map(\.record) == [bytes], "the damaged bytes are kept")
    #expect(snapshot.leaves.filter { $0.digest != .zero } == snapshot.recomputedLeaves(testGeometry))
    #expect(store.read(lost) == .incomplete(.empty) && store.values(key("b")) == ["two"])
    #expect(leaf(of: lost, store)?.entries.contains { $0.key == lost } == false)
    store.crash()
    #expect(Self.census(store).open.map(\.gap.part) == [.key(lost)] && store.read(lost) == .incomplete(.empty))
  }

  enum Touch: CaseIterable { case read, list, digests, scrub }

  /// HAZARDS.md row 7: what was lost is joined onto, and neither read, nor minted onto, nor asked for requests.
  static func takesJoinsIntoAGap(_ store: StoreUnderTest) throws {
    let lost = damaged(store)
    let other = Actor(node: NodeID(2), epoch: 1)
    let record = Record(
      context: VersionVector([.init(actor: other, counter: 5)]), versions: [version(5, "theirs", of: other)])
    let id = store.turn(.merge(lost, .join(record)))
    #expect(store.wait(for: id, answers: 2).last == .synced)
    let merged = try store.merged(id)
    #expect(merged.isContested && merged.beside == nil, "nobody can say what lay beside it")
    #expect(store.read(lost) == .incomplete(EncodedRecord(record)))
    #expect(store.merge(lost, KVStorageTests.mint(3, "three")) == .unreadable)
    let find = StorageOperation.findRequest(RequestID(client: 9, sequence: 1), lost)
    #expect(store.wait(for: store.turn(find)) == [.unreadable])
    let snapshot = store.snapshot()
    #expect(snapshot.leaves.filter { $0.digest != .zero } == snapshot.recomputedLeaves(testGeometry))
  }

  /// DESIGN.md §5: a closed gap is minted onto by another actor only, also after a restart.
  static func mintsIntoAClosedGapAsAnotherActor(_ store: StoreUnderTest) {
    let lost = damaged(store)
    #expect(store.read(lost) == .unreadable)
    while census(store).open.isEmpty, store.rig.awaitResults() { store.pump() }
    change(store, [])
    let sequence = census(store).open.first?.sequence ?? 0
    change(store, [.close(.key(lost), sequence: sequence &+ 1)])
    #expect(!census(store).open.isEmpty, "it was noted again meanwhile")
    change(store, [.pulled(.key(lost), sequence: sequence, from: NodeID(3), isWhole: true)])
    #expect(store.snapshot().gaps.first?.pulled == [NodeID(3)])
    change(store, [.close(.key(lost), sequence: sequence)])
    #expect(census(store).open.isEmpty && census(store).barred == [testActor])
    #expect(store.read(lost) == .record(.empty))
    #expect(mint(3, as: testActor, on: lost, store) == .unreadable)
    store.reopen()
    #expect(mint(3, as: testActor, on: lost, store) == .unreadable)
    let next = Actor(node: testActor.node, epoch: 2)
    store.wait(for: store.turn(.extendLease(Lease(actor: next, sequence: 100, stamp: stamp(1)))))
    #expect(census(store).barred == [] && store.snapshot().gaps == [])
    _ = mint(1, as: next, on: lost, store)
    #expect(store.values(lost) == ["by 2"])
  }

  /// HAZARDS.md row 29: a partition that may lack anything is noted once for each time that the data went back.
  static func notesALostLifeOnce(_ store: StoreUnderTest) {
    store.merge(key("a"), KVStorageTests.mint(1, "one"))
    let partition = LeafPlace(of: key("a"), testGeometry).partition
    let until = WallTime(milliseconds: 60_000)
    let forgotten = GapChange.forgotten(life: 7, until: until, [partition])
    change(store, [forgotten])
    #expect(census(store).partitions == 1 && census(store).forgetfulUntil == until)
    guard case .incomplete(let record) = store.read(key("a")) else {
      Issue.record("it was served")
      return
    }
    #expect(record.values == ["one"])
    change(store, [.close(.partition(partition), sequence: census(store).open.first?.sequence ?? 0)])
    change(store, [forgotten])
    #expect(census(store).open.isEmpty && store.values(key("a")) == ["one"])
    store.crash()
    change(store, [forgotten])
    #expect(census(store).open.isEmpty && census(store).forgetfulUntil == until)
    change(store, [.forgotten(life: 8, until: until, [partition])])
    #expect(census(store).partitions == 1)
  }
}
