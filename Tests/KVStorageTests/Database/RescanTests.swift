import Dispatch
import KVCore
import KVModel
import Testing

@testable import KVStorage

@Suite struct `Reading leaves again` {
  /// The memtable of leaves is sorted anew for each reader. After twenty minutes of writes a verification that read each leaf
  /// by itself took five minutes, half a core of each node (chaos, seed 20).
  @Test func `the memtable of leaves is written out before they are read, when it holds many`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    var options = StorageOptions()
    options.durability = .os
    let answers = DispatchSemaphore(value: 0)
    let store = try RocksDBStorage.open(
      directory: directory.path, identity: testIdentity, geometry: testGeometry, generation: 1, options: options,
      onResults: { answers.signal() })
    var results: [StorageCompletion] = []
    func write(_ range: ClosedRange<UInt64>) {
      for counter in range {
        store.submit(.merge(key("k\(counter)"), mint(counter, "v")), id: StorageID(raw: counter), results: &results)
        if counter % 100 == 0 { store.endTurn(results: &results) }
      }
      store.endTurn(results: &results)
    }
    func leavesInMemory() -> UInt64 { store.database.property("rocksdb.num-entries-active-mem-table", of: .merkle) }
    func rescan() -> Rescan? {
      results = []
      let place = LeafPlace(of: key("k1"), testGeometry)
      store.submit(.rescan(place.partition, from: 0, bytesMax: 8 << 20), id: StorageID(raw: 9), results: &results)
      while results.isEmpty {
        answers.wait()
        store.collect(results: &results)
      }
      guard case .rescanned(let found)? = results.last?.result else { return nil }
      return found
    }
    write(1...100)
    #expect(rescan()?.differingLeaves == 0 && leavesInMemory() > 0, "a few stay where they are")
    write(101...6_000)
    #expect(leavesInMemory() > 4_096)
    let found = rescan()
    #expect(found?.differingLeaves == 0 && found.map { $0.keys > 100 } == true && leavesInMemory() == 0)
    #expect(store.close() == nil)
  }
}
