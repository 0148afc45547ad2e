import Glibc
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
  /// Uncompressed blocks, filters and indexes. What is here is answered on the loop; the rest goes to the IO pool.
  public var blockCacheBytes = 128 << 20
  /// One memtable of the `data` family; two may exist. 64 MiB make table files of a useful size and are replayed in
  /// well under a second.
  public var writeBufferBytes = 64 << 20
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
  /// LZ4 costs less than the bytes that it saves; ZSTD in the last level, which holds nine tenths of the data.
  public var compression: Compression = .lz4
  public var bottommostCompression: Compression = .zstd
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
  /// Reads the wall clock, for forgetting request ids.
  public var wallClock: @Sendable () -> WallTime = {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return WallTime(milliseconds: UInt64(now.tv_sec) &* 1_000 &+ UInt64(now.tv_nsec) / 1_000_000)
  }
  /// Called by the writer before each batch is written: tests hold the sync back here.
  var beforeWrite: (@Sendable () -> Void)?

  public enum Compression: String, Sendable, CaseIterable {
    case none
    case lz4
    case zstd
  }

  public init() {}
}

/// Plain counters of one store, read on its loop.
public struct StorageMetrics: Equatable, Sendable {
  /// Batches written, and the operations and bytes in them.
  public var batches: UInt64 = 0
  public var operations: UInt64 = 0
  public var bytes: UInt64 = 0
  /// Nanoseconds that writes took, syncs included.
  public var writeNs: UInt64 = 0
  public var writeNsMax: UInt64 = 0
  /// Writes by duration: element i counts those of less than 2^i × 64 µs, the last one all others.
  public var writeBuckets: [UInt64] = Array(repeating: 0, count: 16)
  /// Reads and merges that memory answered, and those that had to go to the IO pool.
  public var servedFromMemory: UInt64 = 0
  public var servedFromDisk: UInt64 = 0
  /// Answers `.unreadable`: damaged records or blocks, and reads that the disk refused.
  public var unreadable: UInt64 = 0
  /// Merges refused because too much waited for its sync.
  public var overloaded: UInt64 = 0
  /// Bytes of joins that wait for their sync now.
  public var unsyncedBytes = 0

  mutating func count(batchOf operations: Int, bytes: Int, ns: UInt64) {
    batches += 1
    self.operations += UInt64(operations)
    self.bytes += UInt64(bytes)
    writeNs += ns
    writeNsMax = max(writeNsMax, ns)
    let bucket = UInt64.bitWidth - (ns >> 16).leadingZeroBitCount
    writeBuckets[min(bucket, writeBuckets.count - 1)] += 1
  }
}
