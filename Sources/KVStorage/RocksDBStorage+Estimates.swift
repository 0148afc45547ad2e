import KVModel

extension RocksDBStorage {
  /// What RocksDB estimates and counts itself. Each takes its lock for a moment: ask about once a second.
  public struct Estimates: Equatable, Sendable {
    public var keys: UInt64
    /// Of live table files and memtables.
    public var dataBytes: UInt64
    public var recordCacheBytes: UInt64
    public var blockCacheBytes: UInt64
    public var blockCacheSizeBytes: UInt64
    public var memtableBytes: UInt64
    /// Memtables that wait for their flush.
    public var immutableMemtables: UInt64
    /// Indexes and filters held outside of the block cache.
    public var tableReaderBytes: UInt64
    /// Table files of the `data` family that no compaction has sorted in yet. Each makes a read dearer.
    public var levelZeroFiles: UInt64
    public var compactionPendingBytes: UInt64
    public var runningCompactions: UInt64
    public var runningFlushes: UInt64
    /// Bytes a second to which RocksDB slows writes down; 0: it does not.
    public var delayedWriteBytes: UInt64
    /// No write is taken until flushes or compactions have caught up.
    public var isStopped: Bool

    public var isStalled: Bool { isStopped || delayedWriteBytes > 0 }
  }

  public func estimates() -> Estimates {
    func sum(_ name: String) -> UInt64 { Family.allCases.reduce(0) { $0 &+ database.property(name, of: $1) } }
    return Estimates(
      keys: database.property("rocksdb.estimate-num-keys", of: .data),
      dataBytes: database.property("rocksdb.live-sst-files-size", of: .data)
        &+ database.property("rocksdb.cur-size-all-mem-tables", of: .data),
      recordCacheBytes: UInt64(records.bytes),
      blockCacheBytes: UInt64(database.cacheUsage),
      blockCacheSizeBytes: UInt64(options.blockCacheBytes),
      memtableBytes: sum("rocksdb.cur-size-all-mem-tables"),
      immutableMemtables: sum("rocksdb.num-immutable-mem-table"),
      tableReaderBytes: sum("rocksdb.estimate-table-readers-mem"),
      levelZeroFiles: database.textProperty("rocksdb.num-files-at-level0", of: .data).flatMap { UInt64($0) } ?? 0,
      compactionPendingBytes: sum("rocksdb.estimate-pending-compaction-bytes"),
      runningCompactions: database.property("rocksdb.num-running-compactions"),
      runningFlushes: database.property("rocksdb.num-running-flushes"),
      delayedWriteBytes: database.property("rocksdb.actual-delayed-write-rate"),
      isStopped: database.property("rocksdb.is-write-stopped") > 0)
  }
}

/// The ring in `RingShares.count` equal parts, of consecutive partitions each: fine enough to see a part that has grown
/// too large, coarse enough for a metric of each.
public enum RingShares {
  /// log2 of their number.
  static let bits = 6
  public static let count = 1 << bits

  /// Storage keys begin with the token, big-endian, so that a share is one range of them: its first key.
  static func start(of share: Int) -> [UInt8] { [UInt8(truncatingIfNeeded: share << (8 - bits))] }

  /// Above every key: tokens have eight bytes.
  static let end = [UInt8](repeating: .max, count: 9)

  /// Bounds of all shares: the end of each is the start of the next.
  static var bounds: [[UInt8]] { (0..<count).map(start) + [end] }
}

extension RocksDBStorage {
  /// Begins to estimate how the bytes of the table files lie on the ring, on a thread of the IO pool, since it may read
  /// index blocks. `shareBytes` has the result some time later. What is in memtables is not in it.
  public func measureShares() {
    guard !isMeasuringShares, fault == nil else { return }
    isMeasuringShares = true
    pool.submit { [database, mailbox] in
      mailbox.post(.measured(shareBytes: database.approximateBytes(between: RingShares.bounds, of: .data)))
    }
  }
}
