import KVCore
import KVModel
import Testing

/// What every store of the seam promises, by the numbers of `StorageOperation`. RocksDB (in this process, and in one of
/// its own under the fault shim), the memory store and the simulator's disk all pass it; the planted stores must not.
enum StorageContract {
  /// Promise 4, and that an acknowledged write is there after a crash.
  static func acknowledgesAfterTheSync(_ store: StoreUnderTest) {
    let a = key("a")
    store.holdSyncs()
    let id = store.turn(.merge(a, mint(1, "one")))
    #expect(store.answers[id]?.count == 1, "only .merged is known before the sync")
    store.releaseSyncs()
    let answers = store.wait(for: id, answers: 2)
    #expect(answers.last == .synced)
    store.crash()
    #expect(store.values(a) == ["one"])
  }

  /// Promise 3.
  static func showsOnlyWhatIsSynced(_ store: StoreUnderTest) {
    let a = key("a")
    store.merge(a, mint(1, "one"))
    store.holdSyncs()
    let id = store.turn(.merge(a, mint(2, "two")))
    store.waitForHeldSync()
    #expect(store.values(a) == ["one"])
    #expect(store.wait(for: store.turn(.findRequest(RequestID(client: 9, sequence: 2), a))) == [.request(seen: false)])
    let later = store.turn(.merge(a, mint(3, "three", basis: .context(VersionVector()))))
    guard case .merged(let merged)? = store.answers[later]?.first else {
      Issue.record("no .merged")
      return
    }
    #expect(merged.record.values == ["two", "three"], "a later merge sees the unsynced join")
    #expect(store.values(a) == ["one"])
    store.releaseSyncs()
    store.wait(for: id, answers: 2)
    store.wait(for: later, answers: 2)
    #expect(store.values(a) == ["two", "three"])
  }

  /// Promise 4, last sentence.
  static func unchangedMergeWaitsForWhatItJoinedOnto(_ store: StoreUnderTest) {
    let a = key("a")
    store.holdSyncs()
    let first = store.turn(.merge(a, mint(1, "one")))
    store.waitForHeldSync()
    guard case .merged(let merged)? = store.answers[first]?.first, let record = try? merged.record.decoded() else {
      Issue.record("no .merged")
      return
    }
    let again = store.turn(.merge(a, .join(record)))
    #expect(store.answers[again]?.count == 1, "what it joined onto is not synced")
    store.releaseSyncs()
    store.wait(for: first, answers: 2)
    #expect(store.wait(for: again, answers: 2).last == .synced)
    let third = store.turn(.merge(a, .join(record)))
    #expect(store.answers[third]?.last == .synced, "the record is synced and does not change")
    #expect(store.answers[third]?.count == 2)
  }

  /// Promise 4, when what it joined onto was gathered in the same turn.
  static func unchangedMergeInTheSameTurnWaitsToo(_ store: StoreUnderTest) {
    store.holdSyncs()
    let record = Record(context: VersionVector(), versions: [version(1, "x", of: Actor(node: NodeID(2), epoch: 1))])
    let first = store.submit(.merge(key("a"), .join(record)))
    let second = store.submit(.merge(key("a"), .join(record)))
    store.endTurn()
    #expect(store.answers[second]?.count == 1)
    store.releaseSyncs()
    #expect(store.wait(for: first, answers: 2).last == .synced)
    #expect(store.wait(for: second, answers: 2).last == .synced)
  }

  /// Promise 4: what is handed over during a sync is not part of it.
  static func waitsForASyncOfItsOwn(_ store: StoreUnderTest) {
    store.holdSyncs()
    let first = store.turn(.merge(key("a"), mint(1, "one")))
    store.waitForHeldSync()
    let second = store.turn(.merge(key("b"), mint(2, "two")))
    store.pump()
    #expect(store.answers[first]?.count == 1 && store.answers[second]?.count == 1)
    #expect(store.values(key("a")) == [] && store.values(key("b")) == [])
    store.releaseSyncs()
    #expect(store.wait(for: second, answers: 2).last == .synced)
    #expect(store.answers[first]?.last == .synced, "batches are synced in their order")
    store.crash()
    #expect(store.values(key("a")) == ["one"] && store.values(key("b")) == ["two"])
  }

  /// Promise 5: what a crash leaves are whole operations, the acknowledged ones and perhaps the next ones.
  static func leavesWholeOperations(_ store: StoreUnderTest, after crash: Crash) {
    for counter in 1...3 as ClosedRange<UInt64> {
      store.merge(key("k\(counter)"), mint(counter, "old", expiry: WallTime(milliseconds: 1_000 + counter)))
    }
    store.holdSyncs()
    for counter in 1...3 as ClosedRange<UInt64> {
      store.submit(
        .merge(key("k\(counter)"), mint(10 + counter, "new", expiry: WallTime(milliseconds: 2_000 + counter))))
      store.turn(.extendLease(Lease(actor: testActor, sequence: counter, stamp: stamp(counter))))
      if counter == 1 { store.waitForHeldSync() }
    }
    store.crash(crash)
    #expect(store.judge()?.isHeld == true)
    let found = store.snapshot()
    #expect(found.leaves == found.recomputedLeaves(testGeometry))
    store.releaseSyncs()
    store.merge(key("later"), mint(20, "goes on"))
    store.crash(crash)
    #expect(store.judge()?.isHeld == true)
  }

  /// Promise 6 and HAZARDS.md row 37.
  static func fallsSilentAfterAFailedSync(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "one"))
    store.rig.failNextSync()
    let first = store.submit(.merge(key("a"), mint(2, "two")))
    let second = store.submit(.merge(key("b"), mint(3, "three")))
    store.endTurn()
    guard case .failed? = store.wait(for: first, answers: 2).last else {
      Issue.record("not failed")
      return
    }
    let later = [
      store.turn(.read(key("a"))), store.turn(.merge(key("c"), mint(4, "four"))),
      store.turn(.extendLease(Lease(actor: testActor, sequence: 9, stamp: stamp(9)))),
      store.turn(.findRequest(RequestID(client: 9, sequence: 1), key("a"))),
    ]
    for _ in 0..<5 {
      store.rig.rest()
      store.pump()
    }
    #expect(store.answers[first]?.count == 2 && store.answers[second]?.count == 1)
    for id in later { #expect(store.answers[id] == nil, "answered after the failure") }
    store.crash()
    #expect(store.judge()?.isHeld == true)
    #expect(store.values(key("a")) == ["one"])
    store.merge(key("a"), mint(5, "five"))
    #expect(store.values(key("a")) == ["five"])
  }

  /// Promise 1, where the record is not in memory.
  static func keepsTheOrderBehindTheDisk(_ store: StoreUnderTest) {
    let a = key("a")
    store.merge(a, mint(1, "one"))
    store.rig.evict()
    let read = store.submit(.read(a))
    store.submit(.merge(a, mint(2, "two")))
    let again = store.submit(.merge(a, mint(3, "three", basis: .context(VersionVector()))))
    #expect(store.answers[read] == nil, "it is not in memory")
    store.endTurn()
    store.wait(for: again, answers: 2)
    store.wait(for: read)
    guard case .record(let record)? = store.answers[read]?.first else {
      Issue.record("no record")
      return
    }
    #expect(record.values == ["one"])
    #expect(store.values(a) == ["two", "three"])
  }

  /// Promise 1.
  static func keepsTheOrderOfAKey(_ store: StoreUnderTest) {
    let a = key("a")
    var last = StorageID(raw: 0)
    for counter in 1...20 as ClosedRange<UInt64> {
      last = store.submit(.merge(a, mint(counter, "v\(counter)")))
      if counter % 3 == 0 { store.endTurn() }
    }
    store.endTurn()
    store.wait(for: last, answers: 2)
    #expect(store.values(a) == ["v20"])
  }

  /// DESIGN.md §5: a write without a context supersedes all that this replica holds, one with a context exactly that.
  static func mintsByItsBasis(_ store: StoreUnderTest) {
    let a = key("a")
    let other = Actor(node: NodeID(2), epoch: 1)
    store.merge(a, mint(1, "one"))
    store.merge(a, .join(Record(context: VersionVector(), versions: [version(5, "theirs", of: other)])))
    #expect(store.values(a) == ["one", "theirs"])
    var seen = VersionVector()
    seen.add(dot(1))
    store.merge(a, mint(2, "two", basis: .context(seen)))
    #expect(store.values(a) == ["two", "theirs"])
    guard case .merged(let merged) = store.merge(a, mint(3, "three")) else {
      Issue.record("refused")
      return
    }
    #expect(store.values(a) == ["three"])
    #expect(merged.minted?.dot == dot(3))
    #expect(merged.context[other] == 5)
  }

  /// An overwrite supersedes what another owner reported beside it, and is stamped after it.
  static func overwritesBesides(_ store: StoreUnderTest) {
    let a = key("a")
    let other = Actor(node: NodeID(2), epoch: 1)
    var history = VersionVector()
    history.add(dot(7, of: other))
    let beside = Beside(history: history, stamp: stamp(900))
    store.merge(a, mint(1, "one", basis: .overwrite))
    var covered = VersionVector()
    covered.add(dot(1))
    let again = Mint.Basis.again(first: dot(1), covered: covered, beside: beside)
    guard case .merged(let merged) = store.merge(a, mint(2, "one", basis: again)) else {
      Issue.record("refused")
      return
    }
    #expect(merged.minted?.stamp == stamp(900).next)
    store.merge(a, .join(Record(context: VersionVector(), versions: [version(7, "old", of: other)])))
    #expect(store.values(a) == ["one"])
  }

  /// HAZARDS.md row 23: one bad clock does not drag the others along.
  static func stampsStayBelowTheCeiling(_ store: StoreUnderTest) {
    let a = key("a")
    store.merge(a, mint(1, "far ahead", at: 1_000_000))
    guard case .merged(let merged) = store.merge(a, mint(2, "now", at: 10, ceiling: stamp(500))) else {
      Issue.record("refused")
      return
    }
    #expect(merged.minted?.stamp == stamp(500))
    #expect(store.values(a) == ["now"])
  }

  /// A join names what this replica holds and the incoming record does not cover.
  static func reportsWhatStandsBeside(_ store: StoreUnderTest) {
    let a = key("a")
    store.merge(a, mint(1, "mine"))
    let theirs = Record(context: VersionVector(), versions: [version(3, "x", of: Actor(node: NodeID(2), epoch: 1))])
    guard case .merged(let merged) = store.merge(a, .join(theirs)) else {
      Issue.record("refused")
      return
    }
    #expect(merged.beside?.history.covers(dot(1)) == true)
    #expect(merged.beside?.stamp == stamp(3) || merged.beside?.stamp == stamp(1))
  }

  /// A write that would be one sibling too many is refused, and nothing changed.
  static func refusesTooManySiblings(_ store: StoreUnderTest) {
    let a = key("a")
    for counter in 1...UInt64(Limits.siblingsMax) {
      store.merge(
        a, mint(counter, "v", basis: .context(VersionVector()), actor: Actor(node: NodeID(counter), epoch: 1)))
    }
    let before = store.snapshot()
    let late = Actor(node: NodeID(999), epoch: 1)
    let id = store.turn(.merge(a, mint(1, "v", basis: .context(VersionVector()), actor: late)))
    guard case .refused(let failure)? = store.wait(for: id).first else {
      Issue.record("not refused")
      return
    }
    #expect(failure.code == .tooManySiblings)
    store.reopen()
    #expect(store.snapshot() == before)
  }

  static func keepsLeases(_ store: StoreUnderTest) {
    #expect(store.recoveredLease == nil)
    let first = Lease(actor: testActor, sequence: 1_000, stamp: stamp(5))
    let second = Lease(actor: testActor, sequence: 2_000, stamp: stamp(9))
    #expect(store.wait(for: store.turn(.extendLease(first))) == [.leased])
    store.holdSyncs()
    let id = store.turn(.extendLease(second))
    store.waitForHeldSync()
    #expect(store.answers[id] == nil, "a lease is answered once it is synced")
    store.crash()
    #expect(store.recoveredLease == first)
    store.releaseSyncs()
    #expect(store.wait(for: store.turn(.extendLease(second))) == [.leased])
    store.reopen()
    #expect(store.recoveredLease == second)
  }

  /// HAZARDS.md row 44: an id is found in the record, and after its version was replaced.
  static func remembersRequests(_ store: StoreUnderTest) {
    let a = key("a")
    func seen(_ sequence: UInt64) -> [StorageResult] {
      store.wait(for: store.turn(.findRequest(RequestID(client: 9, sequence: sequence), a)))
    }
    store.merge(a, mint(1, "one"))
    #expect(seen(1) == [.request(seen: true)])
    store.merge(a, mint(2, "two"))
    store.merge(a, mint(3, "three", at: 60_000))
    #expect(seen(1) == [.request(seen: true)])
    #expect(seen(2) == [.request(seen: true)])
    #expect(seen(3) == [.request(seen: true)])
    #expect(seen(4) == [.request(seen: false)])
    store.merge(a, mint(5, "five", at: 500_000))
    #expect(seen(3) == [.request(seen: true)], "a stamp does not tell how old what was replaced is")
    store.reopen()
    #expect(seen(2) == [.request(seen: true)])
  }

  /// Promise 5 and HAZARDS.md row 13.
  static func keepsTreeExpiryAndDataTogether(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "one", expiry: WallTime(milliseconds: 5_000)))
    store.merge(key("b"), mint(2, "two"))
    #expect(store.snapshot().expiries == [.init(at: WallTime(milliseconds: 5_000), key: key("a").bytes)])
    store.merge(key("a"), mint(3, "three", expiry: WallTime(milliseconds: 9_000)))
    #expect(store.snapshot().expiries == [.init(at: WallTime(milliseconds: 9_000), key: key("a").bytes)])
    store.merge(key("a"), mint(4, nil))
    #expect(store.snapshot().expiries == [])
    let settled = store.snapshot()
    #expect(settled.leaves == settled.recomputedLeaves(testGeometry))
    store.holdSyncs()
    store.turn(.merge(key("a"), mint(5, "five", expiry: WallTime(milliseconds: 7_000))))
    store.waitForHeldSync()
    for leaf in settled.leaves { #expect(store.syncedLeaf(leaf.place) == leaf.digest, "unsynced leaves are not seen") }
    store.crash()
    #expect(store.snapshot() == settled)
    for leaf in settled.leaves { #expect(store.syncedLeaf(leaf.place) == leaf.digest) }
    store.releaseSyncs()
  }

  /// HAZARDS.md row 13: what owners compare is what is synced, and follows from the data.
  static func comparesWhatIsSynced(_ store: StoreUnderTest) {
    for counter in 1...40 as ClosedRange<UInt64> { store.turn(.merge(key("k\(counter)"), mint(counter, "v"))) }
    store.merge(key("last"), mint(51, "v"))
    let snapshot = store.snapshot()
    let place = LeafPlace(of: key("k7"), testGeometry)
    let here = snapshot.records.filter { entry in
      entry.key.withUnsafeBytes(Key.init(stored:)).map { LeafPlace(of: $0, testGeometry) == place } ?? false
    }
    func listed(after: Key?, limit: Int) -> LeafPage? {
      guard case .listed(let page)? = store.wait(for: store.turn(.listLeaf(place, after: after, limit: limit))).last
      else { return nil }
      return page
    }
    let all = listed(after: nil, limit: 100)
    #expect(all?.entries.map(\.key.bytes) == here.map(\.key) && all?.isLast == true)
    let sum = all?.entries.reduce(into: Digest.zero) { $0.combine($1.digest) }
    #expect(sum == store.syncedLeaf(place), "a leaf is the XOR of its records")
    // Page by page it is the same.
    var paged: [LeafPage.Entry] = []
    while let page = listed(after: paged.last?.key, limit: 1) {
      paged += page.entries
      if page.isLast { break }
    }
    #expect(paged == all?.entries)
    let root = store.wait(for: store.turn(.digests(place.partition, [.root]))).last
    let leaves = snapshot.leaves.filter { $0.place.partition == place.partition }
    #expect(root == .digests([leaves.reduce(into: Digest.zero) { $0.combine($1.digest) }]))
    let untouched = PartitionID(place.partition.index ^ 1)
    let none = snapshot.leaves.filter { $0.place.partition == untouched }
    let roots = store.wait(for: store.turn(.roots([untouched, place.partition]))).last
    #expect(
      roots == .digests([none, leaves].map { $0.reduce(into: Digest.zero) { $0.combine($1.digest) } }), "in this order")
    store.holdSyncs()
    let id = store.turn(.merge(key("k7"), mint(52, "w")))
    store.waitForHeldSync()
    #expect(listed(after: nil, limit: 100) == all, "what is not synced is not compared")
    store.releaseSyncs()
    store.wait(for: id, answers: 2)
    #expect(listed(after: nil, limit: 100) != all)
  }

  /// A version past its expiry is still what it was: filtering is the coordinator's.
  static func returnsExpiredVersionsUntouched(_ store: StoreUnderTest) {
    store.merge(key("a"), mint(1, "one", expiry: WallTime(milliseconds: 1)))
    #expect(store.values(key("a")) == ["one"])
  }

  static func answersEmptyForAnUnknownKey(_ store: StoreUnderTest) {
    #expect(store.read(key("nobody")) == .record(.empty))
  }

  /// Ring order: by token, whatever the keys are.
  static func keepsRingOrder(_ store: StoreUnderTest) {
    for counter in 1...50 as ClosedRange<UInt64> { store.turn(.merge(key("k\(counter)"), mint(counter, "v"))) }
    store.merge(key("last"), mint(51, "v"))
    let keys = store.snapshot().records.map(\.key)
    #expect(keys.count == 51)
    #expect(zip(keys, keys.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
    store.reopen()
    #expect(store.snapshot().records.map(\.key) == keys)
  }
}
