import Glibc
import KVCore
import KVModel
import Testing

@testable import KVStorage

/// What flushes and compactions leave to requests.
@Suite struct BackgroundTests {
  @Test func `memtables of replicas differ in size, by whose they are`() {
    var sizes: [Int] = []
    for number in 1...300 as ClosedRange<UInt64> {
      let identity = ShardIdentity(node: NodeID(number), shard: 0, shards: 1)
      let options = StorageOptions().staggered(for: identity)
      #expect(options.dataMemtableBytes == StorageOptions().staggered(for: identity).dataMemtableBytes)
      #expect((42 << 20...64 << 20).contains(options.dataMemtableBytes))
      #expect((5 << 20...8 << 20).contains(options.indexMemtableBytes))
      sizes.append(options.dataMemtableBytes)
    }
    #expect(Set(sizes).count > 200)
    #expect(sizes.max()! - sizes.min()! > 20 << 20)
  }

  @Test func `shards of one node differ too`() {
    let sizes = (0..<8).map {
      StorageOptions().staggered(for: ShardIdentity(node: NodeID(1), shard: $0, shards: 8)).dataMemtableBytes
    }
    #expect(Set(sizes).count == 8)
  }

  @Test func `the threads that flush and compact let all others go first`() throws {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let rig = RocksDBRig(in: directory)
    // A thread takes its priority when it is given work.
    let batch = WriteBatch(for: rig.store.database)
    batch.put(.data, key("one").bytes, [1])
    #expect(rig.store.database.write(batch, synced: true) == nil)
    #expect(rig.store.database.settle(.data) == nil)
    let priorities = try backgroundPriorities()
    #expect(!priorities.isEmpty && priorities.allSatisfy { $0 == 19 }, "nice values \(priorities)")
    #expect(getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0) < 19)
  }

  /// Nice values of this process's threads that RocksDB named.
  private func backgroundPriorities() throws -> [Int32] {
    let tasks = try #require(opendir("/proc/self/task"))
    defer { closedir(tasks) }
    var result: [Int32] = []
    while let entry = readdir(tasks) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard let thread = id_t(name) else { continue }
      let comm = try FileSystem.read("/proc/self/task/\(name)/comm", bytesMax: 64)
      guard String(decoding: comm, as: UTF8.self).hasPrefix("rocksdb:") else { continue }
      result.append(getpriority(__priority_which_t(PRIO_PROCESS.rawValue), thread))
    }
    return result
  }
}
