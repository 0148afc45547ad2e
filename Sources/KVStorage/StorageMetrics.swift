/// Plain counters of one store, read and written on its loop.
public struct StorageMetrics: Equatable, Sendable {
  /// Nanoseconds of a batch: append and, where writes are synced, its sync. 33 µs to 17 s.
  public var writes = PowerHistogram(unitBits: 15, buckets: 21)
  /// Operations in a batch: 1 to 4,096.
  public var batchOperations = PowerHistogram(unitBits: 0, buckets: 14)
  /// Bytes of a batch: 256 B to 16 MiB.
  public var batchBytes = PowerHistogram(unitBits: 8, buckets: 18)
  /// Nanoseconds of a read in the IO pool, from its submission: queue and disk. 16 µs to 17 s.
  public var diskReads = PowerHistogram(unitBits: 14, buckets: 22)
  /// Reads and merges that the record cache answered.
  public var servedFromCache: UInt64 = 0
  /// Reads and merges that the rest of memory answered, and those that had to go to the IO pool.
  public var servedFromMemory: UInt64 = 0
  public var servedFromDisk: UInt64 = 0
  /// Answers `.unreadable`: damaged records or blocks, and reads that the disk refused.
  public var unreadable: UInt64 = 0
  /// Merges refused because too much waited for its sync.
  public var overloaded: UInt64 = 0
  /// Bytes of joins that wait for their sync now.
  public var unsyncedBytes = 0

  public init() {}

  mutating func count(batchOf operations: Int, bytes: Int, ns: UInt64) {
    writes.record(ns)
    batchOperations.record(UInt64(operations))
    batchBytes.record(UInt64(bytes))
  }
}
