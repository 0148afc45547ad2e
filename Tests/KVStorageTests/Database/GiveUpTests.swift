import KVCore
import KVModel
import Testing

@testable import KVStorage

/// Table files with a damaged block that is met by a compaction, or as the store opens, before a read comes by.
@Suite struct GiveUpTests {
  private static let keys = (1...300 as ClosedRange<UInt64>).map { key("k\($0)") }

  /// A store with records that expire, hints and leaves, all in table files.
  private static func filled(_ directory: TemporaryDirectory) -> StoreUnderTest {
    let store = StoreUnderTest(in: directory)
    var random = PRNG(seed: 7)
    for (index, key) in keys.enumerated() {
      let value = String((0..<200).map { _ in Character(Unicode.Scalar(UInt8(random.within(97...122)))) })
      let expiry = WallTime(milliseconds: UInt64(1_000 + index))
      store.turn(.merge(key, mint(UInt64(index + 1), value, expiry: expiry), hints: [NodeID(77)]))
    }
    store.merge(key("last"), mint(301, "v"))
    for family in [Family.data, .expiry, .hints, .merkle, .meta] {
      #expect(store.rocksDB.database.settle(family) == nil)
    }
    return store
  }

  /// Flips a bit in the first data block of the only table file of a family; its name.
  private static func damage(_ family: Family, _ store: StoreUnderTest) throws -> String {
    let directory = store.rocksDB.directory
    let files = TemporaryDirectory.names(in: directory).filter { $0.hasSuffix(".sst") }
      .filter { store.rocksDB.database.plan(toDrop: "/" + $0, of: family) != nil }
    let file = try #require(files.first)
    #expect(files.count == 1)
    var bytes = try FileSystem.read(directory + "/" + file, bytesMax: 1 << 24)
    bytes[20] ^= 1
    TemporaryDirectory.overwrite(directory + "/" + file, bytes)
    return file
  }

  private static func census(_ store: StoreUnderTest) -> GapCensus {
    guard case .gaps(let census)? = store.wait(for: store.turn(.listGaps)).last else { return GapCensus() }
    return census
  }

  private static func awaitReady(_ store: StoreUnderTest) {
    while !census(store).open.allSatisfy(\.isReady), store.rig.awaitResults() { store.pump() }
    // What was gathered with it is synced.
    store.wait(for: store.turn(.changeGaps([])))
  }

  /// What a compaction has to read: new keys, and expiries, among the old ones, which are not looked up in the file.
  private static func compact(_ family: Family, _ store: StoreUnderTest) {
    for counter in 1...40 as ClosedRange<UInt64> {
      let change = mint(1_000 + counter, "new", expiry: WallTime(milliseconds: 1_000 + 7 * counter))
      store.merge(key("new\(counter)"), change)
    }
    #expect(store.rocksDB.database.settle(family) == nil)
  }

  /// A store one of whose families a compaction found damaged, and the table file.
  private static func compacted(
    _ family: Family, _ directory: TemporaryDirectory
  ) throws -> (store: StoreUnderTest, file: String) {
    let store = filled(directory)
    let file = try damage(family, store)
    store.reopen()
    compact(family, store)
    return (store, file)
  }

  private static func noted(_ store: StoreUnderTest) -> [String] {
    (try? DamagedTables.noted(in: store.rocksDB.directory)) ?? ["unreadable"]
  }

  /// Everything works, and belongs together. `isWhole`: nothing of the records was lost.
  private static func expectSound(_ store: StoreUnderTest, without file: String, isWhole: Bool = false) {
    #expect(store.rocksDB.filesGivenUp >= 1 && noted(store) == [])
    #expect(!TemporaryDirectory.names(in: store.rocksDB.directory).contains(file))
    awaitReady(store)
    #expect(census(store).open.isEmpty == isWhole && census(store).open.allSatisfy(\.isReady))
    #expect(census(store).filesDropped >= 1)
    for counter in 1...20 as ClosedRange<UInt64> { store.merge(key("later\(counter)"), .join(theirs(counter))) }
    for family in [Family.data, .expiry, .hints, .merkle, .meta] {
      #expect(store.rocksDB.database.settle(family) == nil)
    }
    #expect(store.rocksDB.backgroundFault() == nil)
    let found = store.snapshot()
    #expect(found.leaves.filter { $0.digest != .zero } == found.recomputedLeaves(testGeometry))
    store.reopen()
    #expect(store.rocksDB.filesGivenUp == 0 && store.snapshot() == found)
  }

  private static func theirs(_ counter: UInt64) -> Record {
    let other = Actor(node: NodeID(2), epoch: 1)
    return Record(
      context: VersionVector([.init(actor: other, counter: counter)]), versions: [version(counter, "theirs", of: other)]
    )
  }

  @Test func `hazard 42: a compaction that meets a damaged block of records costs its file at the next start`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let (store, file) = try Self.compacted(.data, directory)
    let fault = store.rocksDB.backgroundFault()
    #expect(fault?.kind == .corruption && fault?.path == store.rocksDB.directory + "/" + file)
    #expect(fault?.detail.contains("the next start gives this file up") == true)
    #expect(Self.noted(store) == [file])
    store.crash()
    // What was in it is a gap from the first moment; what came after it is there.
    #expect(Self.keys.allSatisfy { store.read($0) == .incomplete(.empty) })
    guard case .incomplete(let new) = store.read(key("new7")) else {
      Issue.record("a key beside them was lost too, or is answered as if its partition were whole")
      return
    }
    #expect(new.values == ["new"])
    Self.expectSound(store, without: file)
  }

  @Test func `a write that finds the database stopped by a damaged block notes the file`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let (store, file) = try Self.compacted(.data, directory)
    let answers = store.wait(for: store.turn(.merge(key("z"), mint(2_000, "z"))), answers: 2)
    guard case .failed(let fault)? = answers.last else {
      Issue.record("\(answers)")
      return
    }
    #expect(fault.kind == .corruption && Self.noted(store) == [file])
    store.crash()
    Self.expectSound(store, without: file)
  }

  @Test func `a start that ends between the note and the loss of the file begins again`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = Self.filled(directory)
    let file = try Self.damage(.data, store)
    store.reopen()
    try DamagedTables.note(file, in: store.rocksDB.directory)
    store.crash()
    Self.awaitReady(store)
    // The file has gone, and the note came back with a crash; a file that was never there does no harm either.
    try DamagedTables.note(file, in: store.rocksDB.directory)
    try DamagedTables.note("999999.sst", in: store.rocksDB.directory)
    store.crash()
    #expect(store.rocksDB.filesGivenUp == 0 && Self.noted(store) == [])
    #expect(Self.keys.allSatisfy { store.read($0) == .incomplete(.empty) })
  }

  /// Leaves and hints are read as the store opens; leaves follow from the records again, hints are left to comparisons.
  @Test(arguments: [Family.merkle, .hints])
  func `a damaged block of leaves or hints costs its file as the store opens, and no record`(family: Family) throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = Self.filled(directory)
    let before = store.snapshot()
    let file = try Self.damage(family, store)
    store.reopen()
    #expect(store.rocksDB.filesGivenUp == 1)
    Self.awaitReady(store)
    let after = store.snapshot()
    #expect(after.records == before.records && after.expiries == before.expiries)
    #expect(after.leaves.filter { $0.digest != .zero } == before.leaves.filter { $0.digest != .zero })
    #expect(after.hints.isEmpty == (family == .hints))
    #expect(Self.keys.allSatisfy { if case .record = store.read($0) { true } else { false } })
    Self.expectSound(store, without: file, isWhole: true)
  }

  @Test func `a compaction that meets a damaged block of expiry entries costs its file, and they are made anew`() throws
  {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let (store, file) = try Self.compacted(.expiry, directory)
    #expect(store.rocksDB.backgroundFault()?.kind == .corruption && Self.noted(store) == [file])
    store.crash()
    Self.awaitReady(store)
    let found = store.snapshot()
    #expect(found.records.count == 341 && found.expiries.count == 340)
    #expect(Self.keys.allSatisfy { if case .record = store.read($0) { true } else { false } })
    Self.expectSound(store, without: file, isWhole: true)
  }

  /// Identity, lease, gaps: what the shard cannot be without.
  @Test func `a damaged block of what the shard knows of itself is refused by name, every time alike`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let file: String
    do { file = try Self.damage(.meta, Self.filled(directory)) }
    for _ in 0..<2 {
      let error = #expect(throws: StorageOpenError.self) {
        try RocksDBStorage.open(
          directory: directory.path, identity: testIdentity, geometry: testGeometry, generation: 9,
          options: StorageOptions(), onResults: {})
      }
      guard case .damaged(let path, _)? = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(path == directory.path + "/" + file)
    }
    #expect(TemporaryDirectory.names(in: directory.path).contains(file))
  }

  @Test func `a partition that is first written to while a file is on its way out is a gap too`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    // A key of the first partition, one of the last, and one of some partition between.
    let all = (1...1_000).map { key("k\($0)") }.sorted()
    let last = PartitionID(UInt16(1 << testGeometry.partitionBits) - 1)
    let ends = [all[0], all[all.count - 1]]
    #expect(ends.map { LeafPlace(of: $0, testGeometry).partition } == [PartitionID(0), last])
    let late = all[all.count / 2]
    let store = StoreUnderTest(in: directory)
    for (index, key) in ends.enumerated() { store.merge(key, mint(UInt64(index + 1), "v")) }
    #expect(store.rocksDB.database.settle(.data) == nil)
    _ = try Self.damage(.data, store)
    store.reopen()
    // The note of the two partitions is held back, and the third one is written to meanwhile.
    store.holdSyncs()
    store.submit(.read(ends[0]))
    while store.rocksDB.gaps.isEmpty, store.rig.awaitResults() { store.pump() }
    store.waitForHeldSync()
    store.turn(.merge(late, mint(9, "late")))
    store.releaseSyncs()
    while Self.census(store).filesDropped == 0, store.rig.awaitResults() { store.pump() }
    Self.awaitReady(store)
    let parts = [ends[0], late, ends[1]].map { Gap.Part.partition(LeafPlace(of: $0, testGeometry).partition) }
    #expect(Self.census(store).open.map(\.gap.part) == parts)
    guard case .incomplete(let record) = store.read(late) else {
      Issue.record("it is answered for as if it were whole")
      return
    }
    #expect(record.values == ["late"])
    let found = store.snapshot()
    #expect(found.leaves.filter { $0.digest != .zero } == found.recomputedLeaves(testGeometry))
  }

  @Test func `records that are put aside by the hundred do not sort the leaves in memory anew for each`() {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = StoreUnderTest(in: directory)
    let keys = (1...6_000 as ClosedRange<UInt64>).map { key("k\($0)") }
    for (index, key) in keys.enumerated() { store.submit(.merge(key, mint(UInt64(index + 1), "v"))) }
    store.endTurn()
    store.merge(key("last"), mint(7_000, "v"))
    let database = store.rocksDB.database
    #expect(database.property("rocksdb.num-entries-active-mem-table", of: .merkle) > 4_096)
    store.damage(keys[0])
    _ = store.read(keys[0])
    Self.awaitReady(store)
    #expect(store.read(keys[0]) == .incomplete(.empty))
    #expect(database.property("rocksdb.num-entries-active-mem-table", of: .merkle) < 4_096)
  }
}
