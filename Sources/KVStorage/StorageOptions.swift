import Glibc
import KVCore
import KVModel

/// When a write is acknowledged.
public enum Durability: String, Sendable, CaseIterable {
  /// After its sync: it survives power cuts.
  case sync
  /// After it reached the kernel: it survives the death of processes, not of power.
  case os
}

/// The settings of one shard's database. Each default states its reason; every one is a line of the configuration.
public struct StorageOptions: Sendable {
  public var durability: Durability = .sync
  /// Records, each as it is stored: an answer from here costs a tenth of one from the block cache. 0 = none are kept.
  public var recordCacheBytes = 128 << 20
  /// Uncompressed blocks, filters and indexes. What is here is answered on the loop; the rest goes to the IO pool.
  public var blockCacheBytes = 128 << 20
  /// One memtable of the `data` family, at most; two may exist. 64 MiB make table files of a useful size and are
  /// replayed in well under a second.
  public var writeBufferBytes = 64 << 20
  /// What the memtables of a shard have of their full size; see `staggered`.
  private(set) var memtableShare = 1.0
  /// Once the log is this long, the family that pins its oldest part is flushed: bounds the replay after a crash.
  public var walBytesMax = 256 << 20
  /// Threads that flush and compact. Two, so that a long compaction does not hold up a flush.
  public var backgroundJobs = 2
  /// Bits of the Bloom filter a key: 10 give one needless block read in a hundred.
  public var filterBits = 10.0
  /// Keep indexes and filters of table files in parts in the block cache, instead of whole beside it.
  ///
  /// Whole they take about 1 % of the data in memory, and a read from the cache 3.4 µs instead of 5.4. Turn it on
  /// where the data of a shard exceed its memory a hundred times. Files of both kinds can be read either way.
  public var partitionsIndexes = false
  /// Block of a table file: the unit of disk reads and of the cache. 4 KiB hold three or four records of 1 KiB.
  public var blockBytes = 4 << 10
  /// LZ4 costs less than the bytes that it saves.
  public var compression: Compression = .lz4
  /// Of the last level, which holds nine tenths of the data. ZSTD makes it smaller, at an eighth of a node's CPU under
  /// a load of writes.
  public var bottommostCompression: Compression = .lz4
  /// Flushes and compactions pass the page cache by, where the file system lets them.
  public var bypassesPageCache = true
  /// Bytes a second that flushes and compactions may write, so that they do not starve the log; 0 = no limit.
  public var backgroundBytesPerSecond = 128 << 20
  /// Table files held open; -1 = all. A file that is not open has to be opened by the IO pool first.
  public var openFilesMax: Int32 = -1
  /// Threads of the IO pool, a store. As many disk reads run at once; further ones queue.
  public var ioThreads = 4
  /// A batch is handed on at this size at the latest, and another one is begun.
  public var batchBytesMax = 4 << 20
  /// Bytes of joins that wait for their sync. Above it a merge is refused as `overloaded`.
  public var unsyncedBytesMax = 64 << 20
  /// Hints of keys; beyond it Merkle leaves are marked. Each costs some 30 bytes of memory, and its key on the disk.
  public var hintKeysMax = 1_000_000
  /// Reads the wall clock, for forgetting request ids.
  public var wallClock: @Sendable () -> WallTime = {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return WallTime(milliseconds: UInt64(now.tv_sec) &* 1_000 &+ UInt64(now.tv_nsec) / 1_000_000)
  }
  /// Whether anything is compacted unasked.
  var compacts = true
  /// Called by the writer before each batch is written: tests hold the sync back here.
  var beforeWrite: (@Sendable () -> Void)?

  public enum Compression: String, Sendable, CaseIterable {
    case none
    case lz4
    case zstd
  }

  public init() {}

  /// The settings of one shard: its memtables are up to a third smaller, by whose they are.
  ///
  /// Replicas take the same writes. With memtables of one size they would all flush at the same moment, on one machine
  /// they would even share its disk then, and no quorum could do without a slow one.
  func staggered(for identity: ShardIdentity) -> StorageOptions {
    var name: [UInt8] = []
    name.append(integer: identity.node.value)
    name.append(integer: UInt16(identity.shard))
    var result = self
    result.memtableShare = 1 - Double(Checksum.of(name) % 1_024) / (3 * 1_024)
    return result
  }

  /// A memtable of the `data` family.
  var dataMemtableBytes: Int { Int(Double(writeBufferBytes) * memtableShare) }

  /// A memtable of each other family: their entries are small.
  var indexMemtableBytes: Int { Int(Double(min(writeBufferBytes, 8 << 20)) * memtableShare) }
}
