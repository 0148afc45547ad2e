import KVCore
import KVModel
import Testing

// What every store promises of expiry, and of reading leaves again.
extension StorageContract {
  private static func at(_ milliseconds: UInt64) -> WallTime { WallTime(milliseconds: milliseconds) }

  private static func due(
    _ store: StoreUnderTest, _ milliseconds: UInt64, after: ExpiryEntry? = nil, limit: Int = 100
  ) -> ExpiredPage? {
    let list = StorageOperation.listExpired(upTo: at(milliseconds), after: after, limit: limit)
    guard case .expired(let page)? = store.wait(for: store.turn(list)).last else { return nil }
    return page
  }

  @discardableResult
  private static func sweep(_ store: StoreUnderTest, _ text: String, _ milliseconds: UInt64) -> Merged.Swept? {
    let change = Change.sweep(at(milliseconds), entry: at(milliseconds))
    let answers = store.wait(for: store.turn(.merge(key(text), change)), answers: 2)
    guard case .merged(let merged)? = answers.first, answers.last == .synced else { return nil }
    return merged.swept
  }

  static func rescan(
    _ store: StoreUnderTest, _ partition: PartitionID, from leaf: UInt32 = 0, bytesMax: Int = Rescan.bytesMax
  ) -> Rescan? {
    let answers = store.wait(for: store.turn(.rescan(partition, from: leaf, bytesMax: bytesMax)))
    guard case .rescanned(let rescan)? = answers.last else { return nil }
    return rescan
  }

  /// Dot, stamp, expiry and checksum stay; a version that is not due, and one beside it, keep their bytes.
  static func sweepsWhatHasExpired(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "gone", expiry: at(1_000)))
    store.merge(key("a"), mint(2, "later", basis: .context(VersionVector()), expiry: at(5_000)))
    store.merge(key("a"), mint(3, "kept", basis: .context(VersionVector())))
    store.merge(key("b"), mint(4, "b", expiry: at(2_000)))
    let before = store.snapshot()
    #expect(due(store, 999)?.entries == [] && due(store, 1_000)?.entries.map(\.key) == [key("a")])
    #expect(sweep(store, "a", 1_000) == Merged.Swept(versions: 1, bytes: 4))
    #expect(store.values(key("a")) == ["later", "kept"])
    let after = store.snapshot()
    #expect(after.leaves == before.leaves && after.leaves == after.recomputedLeaves(testGeometry))
    #expect(after.expiries.map(\.at) == [at(2_000), at(5_000)] && after.requests == before.requests)
    guard let found = after.records.first(where: { $0.key == key("a").bytes }), let record = try? found.record.decoded()
    else {
      Issue.record("no record")
      return
    }
    #expect(record.versions.map(\.dot.counter) == [1, 2, 3] && record.versions[0].content == .swept)
    #expect(record.versions[0].checksum == Checksum.of(Array("gone".utf8)) && record.versions[0].expiry == at(1_000))
    #expect(sweep(store, "a", 1_000) == .nothing, "sweeping again changes nothing")
    #expect(store.snapshot() == after)
    store.crash()
    #expect(store.snapshot() == after)
    // What was swept is replaced like anything else.
    store.merge(key("a"), mint(9, "anew"))
    #expect(store.values(key("a")) == ["anew"] && store.snapshot().expiries.map(\.at) == [at(2_000)])
  }

  static func listsWhatIsDuePageByPage(_ store: StoreUnderTest) {
    for counter in 1...9 as ClosedRange<UInt64> {
      store.merge(key("k\(counter)"), mint(counter, "v", expiry: at(1_000 * (1 + counter / 4))))
    }
    let all = due(store, 9_000)
    #expect(all?.entries.count == 9 && all?.isLast == true && all?.entries == all?.entries.sorted())
    var paged: [ExpiryEntry] = []
    while let next = due(store, 9_000, after: paged.last, limit: 2) {
      paged += next.entries
      if next.isLast { break }
    }
    #expect(paged == all?.entries)
    #expect(due(store, 2_000)?.entries.count == 7)
    // What is not synced is not there yet.
    store.holdSyncs()
    let id = store.turn(.merge(key("z"), mint(20, "v", expiry: at(500))))
    store.waitForHeldSync()
    #expect(due(store, 600)?.entries == [])
    store.releaseSyncs()
    store.wait(for: id, answers: 2)
    #expect(due(store, 600)?.entries == [ExpiryEntry(at: at(500), key: key("z"))])
  }

  /// A copy that still has its bytes brings none back, and the swept one takes them from it.
  static func sweptStaysSwept(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "gone", expiry: at(1_000)))
    guard case .record(let encoded) = store.read(key("a")), let whole = try? encoded.decoded() else {
      Issue.record("no record")
      return
    }
    sweep(store, "a", 1_000)
    store.merge(key("a"), .join(whole))
    #expect(store.values(key("a")) == [] && store.snapshot().expiries == [])
    var swept = whole
    swept.sweep(at: at(1_000))
    store.merge(key("b"), .join(whole))
    store.merge(key("b"), .join(swept))
    #expect(store.values(key("b")) == [] && store.snapshot().expiries == [])
  }

  /// What was put aside has no bytes that could expire; what is pulled again has.
  static func dropsStaleEntries(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "gone", expiry: at(1_000)))
    guard case .record(let encoded) = store.read(key("a")), let whole = try? encoded.decoded() else {
      Issue.record("no record")
      return
    }
    store.damage(key("a"))
    _ = store.read(key("a"))
    store.wait(for: store.turn(.changeGaps([])))
    #expect(store.read(key("a")) == .incomplete(.empty))
    #expect(due(store, 1_000)?.entries == [ExpiryEntry(at: at(1_000), key: key("a"))])
    // Not by a sweep that came by another entry.
    store.wait(for: store.turn(.merge(key("a"), .sweep(at(2_000), entry: at(2_000)))), answers: 2)
    #expect(store.snapshot().expiries.count == 1)
    #expect(sweep(store, "a", 1_000) == .nothing)
    #expect(store.snapshot().expiries == [] && due(store, 1_000)?.entries == [])
    store.crash()
    #expect(store.snapshot().expiries == [])
    // Pulled again, and swept in the same turn by the stale entry: its own stays, with its bytes.
    store.merge(key("a"), .join(whole))
    #expect(store.snapshot().expiries.map(\.at) == [at(1_000)])
    #expect(sweep(store, "a", 999) == .nothing)
    let sweep = store.submit(.merge(key("b"), .sweep(at(1_000), entry: at(1_000))))
    let join = store.submit(.merge(key("b"), .join(whole)))
    store.endTurn()
    store.wait(for: sweep, answers: 2)
    store.wait(for: join, answers: 2)
    let found = store.snapshot()
    #expect(Set(found.expiries.map(\.key)) == [key("a").bytes, key("b").bytes])
    #expect(found.leaves == found.recomputedLeaves(testGeometry))
    #expect(Self.sweep(store, "a", 1_000)?.versions == 1 && Self.sweep(store, "b", 1_000)?.versions == 1)
    #expect(store.snapshot().expiries == [])
  }

  static func sweepsAllOrNothing(_ store: StoreUnderTest, after crash: Crash) {
    for counter in 1...3 as ClosedRange<UInt64> {
      store.merge(key("k\(counter)"), mint(counter, "v\(counter)", expiry: at(1_000)))
    }
    store.holdSyncs()
    for counter in 1...3 {
      store.turn(.merge(key("k\(counter)"), .sweep(at(1_000), entry: at(1_000))))
      if counter == 1 { store.waitForHeldSync() }
    }
    store.crash(crash)
    #expect(store.judge()?.isHeld == true)
    let found = store.snapshot()
    #expect(found.leaves == found.recomputedLeaves(testGeometry))
    let unswept = (1...3).filter { !store.values(key("k\($0)")).isEmpty }
    #expect(Set(found.expiries.map(\.key)) == Set(unswept.map { key("k\($0)").bytes }))
    store.releaseSyncs()
    for counter in 1...3 { sweep(store, "k\(counter)", 1_000) }
    #expect(store.snapshot().expiries == [])
  }

  /// HAZARDS.md row 13, as `kvctl repair verify` asks for it.
  static func readsLeavesAgain(_ store: StoreUnderTest) {
    let keys = (1...40 as ClosedRange<UInt64>).map { key("k\($0)") }
    for (place, key) in keys.enumerated() {
      let expiry: WallTime? = place % 4 == 0 ? at(1_000) : nil
      store.merge(
        key, mint(UInt64(place + 1), place % 5 == 1 ? nil : "value \(place)", expiry: place % 5 == 1 ? nil : expiry))
    }
    for place in stride(from: 0, to: 40, by: 4) where place % 5 != 1 {
      store.wait(for: store.turn(.merge(keys[place], .sweep(at(1_000), entry: at(1_000)))), answers: 2)
    }
    let partitions = Set(keys.map { LeafPlace(of: $0, testGeometry).partition }).sorted()
    var whole = Rescan()
    for partition in partitions {
      guard let found = rescan(store, partition) else {
        Issue.record("partition \(partition) was not read")
        continue
      }
      #expect(found.nextLeaf == nil && found.differingLeaves == 0 && found.damaged == 0)
      #expect(
        .digests([found.root]) == store.wait(for: store.turn(.digests(partition, [.root]))).last)
      var paged = Rescan(nextLeaf: 0)
      while let leaf = paged.nextLeaf, let next = rescan(store, partition, from: leaf, bytesMax: 1) { paged.add(next) }
      #expect(paged == found, "page by page it is the same")
      #expect(rescan(store, partition, bytesMax: 0)?.root == found.root)
      whole.add(found)
    }
    #expect(whole.keys == 40 && whole.tombstones.versions == 8 && whole.swept.versions == 8)
    #expect(whole.tombstones.bytes > 8 * 56 && whole.swept.bytes > 8 * 56 && whole.bytes > whole.swept.bytes)
    // Unsynced joins are in neither.
    store.holdSyncs()
    let id = store.turn(.merge(keys[0], mint(90, "new")))
    store.waitForHeldSync()
    #expect(rescan(store, LeafPlace(of: keys[0], testGeometry).partition)?.differingLeaves == 0)
    store.releaseSyncs()
    store.wait(for: id, answers: 2)
    #expect(rescan(store, LeafPlace(of: keys[0], testGeometry).partition)?.differingLeaves == 0)
  }
}
