import KVCore
import KVModel
import Testing

// What every store promises of hints.
extension StorageContract {
  private static let target = NodeID(2)

  private static func page(_ store: StoreUnderTest, from token: Token = Token(0), after: Key? = nil, limit: Int = 100)
    -> HintPage?
  {
    let list = StorageOperation.listHints(target, from: token, after: after, limit: limit)
    guard case .hints(let page)? = store.wait(for: store.turn(list)).last else { return nil }
    return page
  }

  private static func census(_ store: StoreUnderTest) -> HintCensus? {
    guard case .census(let census)? = store.wait(for: store.turn(.countHints)).last else { return nil }
    return census
  }

  private static func put(_ store: StoreUnderTest, _ text: String, _ counter: UInt64, for targets: [NodeID] = [target])
  {
    store.wait(for: store.turn(.merge(key(text), mint(counter, "v\(counter)"), hints: targets)), answers: 2)
  }

  /// Promise 5 and HAZARDS.md row 16: a hint is there exactly when its record is.
  static func writesHintsWithTheirRecord(_ store: StoreUnderTest, after crash: Crash) {
    put(store, "a", 1)
    store.holdSyncs()
    let id = store.submit(.merge(key("b"), mint(2, "two"), hints: [target]))
    store.endTurn()
    store.waitForHeldSync()
    #expect(page(store)?.entries.map(\.key) == [key("a")], "what is not synced is not handed over")
    store.crash(crash)
    #expect(store.judge()?.isHeld == true)
    let snapshot = store.snapshot()
    #expect(snapshot.hints.map(\.key).sorted { $0.lexicographicallyPrecedes($1) } == snapshot.records.map(\.key))
    #expect(store.answers[id]?.last != .synced)
    store.releaseSyncs()
  }

  /// A merge that changes nothing notes them all the same, and is synced with them.
  static func notesWhatAnUnchangedMergeMissed(_ store: StoreUnderTest) {
    put(store, "a", 1, for: [])
    #expect(census(store)?.keys == 0)
    guard case .record(let record) = store.read(key("a")), let decoded = try? record.decoded() else {
      Issue.record("no record")
      return
    }
    let id = store.turn(.merge(key("a"), .join(decoded), hints: [target, NodeID(3)]))
    #expect(store.wait(for: id, answers: 2).last == .synced)
    #expect(census(store)?.targets.map(\.node) == [target, NodeID(3)])
    #expect(store.wait(for: store.turn(.hint(key("b"), [target]))) == [.synced])
    #expect(census(store)?.keys == 3)
    store.crash()
    #expect(census(store)?.keys == 3)
  }

  /// In ring order, page by page, with what is stored now.
  static func listsHintsInRingOrder(_ store: StoreUnderTest) {
    for counter in 1...20 as ClosedRange<UInt64> { put(store, "k\(counter)", counter) }
    put(store, "k3", 30)
    let all = page(store)
    #expect(all?.entries.map(\.key) == (1...20).map { key("k\($0)") }.sorted() && all?.isLast == true)
    let digests = store.wait(for: store.turn(.keyDigests(all?.entries.map(\.key) ?? []))).last
    #expect(digests == .digests(all?.entries.map(\.digest) ?? []))
    #expect(all?.entries.allSatisfy { $0.digest != .zero && $0.bytes > 0 } == true)
    var paged: [HintOffer.Entry] = []
    while let next = page(store, after: paged.last?.key, limit: 3) {
      paged += next.entries
      if next.isLast { break }
    }
    #expect(paged == all?.entries)
    let middle = key("k7").token
    #expect(
      page(store, from: middle)?.entries.map(\.key) == all?.entries.map(\.key).filter { $0.token >= middle })
    #expect(store.wait(for: store.turn(.keyDigests([key("nobody")]))).last == .digests([.zero]))
  }

  /// HAZARDS.md row 2: what was written again after it was listed keeps its hint.
  static func forgetsNothingThatWasWrittenAgain(_ store: StoreUnderTest) {
    put(store, "a", 1)
    put(store, "b", 2)
    guard let listed = page(store) else {
      Issue.record("no page")
      return
    }
    put(store, "a", 3)
    let forget = StorageOperation.forgetHints(target, [key("a"), key("b")], upTo: listed.sequence)
    #expect(store.wait(for: store.turn(forget)) == [.synced])
    #expect(page(store)?.entries.map(\.key) == [key("a")] && census(store)?.keys == 1)
    // Also when what came before the list was not synced yet.
    store.holdSyncs()
    let id = store.turn(.merge(key("a"), mint(4, "four"), hints: [target]))
    store.waitForHeldSync()
    let early = page(store)
    store.releaseSyncs()
    store.wait(for: id, answers: 2)
    store.wait(for: store.turn(.forgetHints(target, [key("a")], upTo: early?.sequence ?? 0)))
    #expect(page(store)?.entries.map(\.key) == [key("a")])
    store.reopen()
    #expect(census(store)?.keys == 1)
    store.wait(for: store.turn(.forgetHints(target, [key("a")], upTo: page(store)?.sequence ?? 0)))
    #expect(census(store)?.targets == [] && store.snapshot().hints == [])
  }

  /// HAZARDS.md row 16: without room a hint becomes a mark of its leaf, in the same batch.
  static func marksLeavesBeyondTheBudget(_ store: StoreUnderTest) {
    put(store, "a", 1)
    put(store, "b", 2)
    put(store, "a", 3)
    #expect(census(store)?.keys == 2 && census(store)?.marks == 0)
    put(store, "c", 4)
    let place = LeafPlace(of: key("c"), testGeometry)
    let full = census(store)
    #expect(full?.keys == 2 && full?.overBudget == 1)
    #expect(full?.targets == [.init(node: target, keys: 2, marks: 1, marked: [place.partition])])
    #expect(store.snapshot().marks == [.init(target: target, place: place)])
    store.crash()
    #expect(census(store)?.marks == 1)
    // What was noted after an exchange began is not answered for by it.
    let began = census(store)?.sequence ?? 0
    put(store, "c", 5)
    store.wait(for: store.turn(.forgetMarks(target, place.partition, upTo: began)))
    #expect(store.snapshot().marks.count == 1)
    store.wait(for: store.turn(.forgetMarks(target, place.partition, upTo: census(store)?.sequence ?? 0)))
    #expect(store.snapshot().marks == [] && census(store)?.marks == 0)
  }
}
