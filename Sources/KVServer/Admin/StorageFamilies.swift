import KVStorage

/// The storage of all shards, summed, under the names that the world sees.
enum StorageFamilies {
  static func families(_ shards: [NodeMetrics.ShardMetrics]) -> [MetricFamily] {
    let stores = shards.compactMap(\.storage)
    if stores.isEmpty { return [] }
    return counters(stores) + histograms(stores) + gauges(stores, shards.compactMap(\.estimates))
  }

  private static func counters(_ stores: [StorageMetrics]) -> [MetricFamily] {
    let rows: [(name: String, help: String, value: (StorageMetrics) -> UInt64)] = [
      ("cached_reads", "Reads and merges that the record cache answered.", { $0.servedFromCache }),
      ("memory_reads", "Reads and merges that memtables and block cache answered.", { $0.servedFromMemory }),
      ("disk_reads", "Reads and merges that went to the disk.", { $0.servedFromDisk }),
      ("unreadable_records", "Reads that damage or the disk made impossible.", { $0.unreadable }),
      ("merges_refused", "Merges refused because too much waited for its sync.", { $0.overloaded }),
    ]
    return rows.map { row in
      .counter("kvnode_storage_\(row.name)_total", row.help, stores.reduce(0) { $0 &+ row.value($1) })
    }
  }

  private static func histograms(_ stores: [StorageMetrics]) -> [MetricFamily] {
    let nanosecond = 1e-9
    let rows: [(name: String, help: String, unit: Double, value: (StorageMetrics) -> PowerHistogram)] = [
      (
        "write_duration_seconds", "Of a batch: append and, where writes are synced, its sync.", nanosecond,
        { $0.writes }
      ),
      (
        "disk_read_duration_seconds", "Of a read that went to the disk, its queue included.", nanosecond,
        { $0.diskReads }
      ),
      ("batch_operations", "Operations in a batch.", 1, { $0.batchOperations }),
      ("batch_size_bytes", "Bytes in a batch.", 1, { $0.batchBytes }),
    ]
    return rows.map { row in
      var family = MetricFamily(.histogram, "kvnode_storage_\(row.name)", row.help)
      var all = row.value(stores[0])
      for store in stores.dropFirst() { all.add(row.value(store)) }
      family.add([], MetricFamily.Histogram(all, unit: row.unit))
      return family
    }
  }

  private static func gauges(_ stores: [StorageMetrics], _ estimates: [RocksDBStorage.Estimates]) -> [MetricFamily] {
    let rows: [(name: String, help: String, value: (RocksDBStorage.Estimates) -> UInt64)] = [
      ("keys", "Keys, as RocksDB estimates.", { $0.keys }),
      ("data_bytes", "Of table files and memtables.", { $0.dataBytes }),
      ("record_cache_bytes", "In use in the record caches.", { $0.recordCacheBytes }),
      ("block_cache_bytes", "In use in the block caches.", { $0.blockCacheBytes }),
      ("block_cache_size_bytes", "That the block caches may use.", { $0.blockCacheSizeBytes }),
      ("memtable_bytes", "In use by memtables.", { $0.memtableBytes }),
      ("immutable_memtables", "Memtables that wait for their flush.", { $0.immutableMemtables }),
      ("table_reader_bytes", "Of indexes and filters outside of the block caches.", { $0.tableReaderBytes }),
      ("level_zero_files", "Table files that no compaction has sorted in yet.", { $0.levelZeroFiles }),
      ("compaction_pending_bytes", "That compactions have still to rewrite.", { $0.compactionPendingBytes }),
      ("running_compactions", "Compactions under way.", { $0.runningCompactions }),
      ("running_flushes", "Flushes under way.", { $0.runningFlushes }),
      (
        "delayed_write_bytes", "A second, to which RocksDB slows writes down; 0: it does not.", { $0.delayedWriteBytes }
      ),
      ("stalled_shards", "Shards whose writes RocksDB slows down or holds up.", { $0.isStalled ? 1 : 0 }),
      ("stopped_shards", "Of them, those whose writes it holds up.", { $0.isStopped ? 1 : 0 }),
    ]
    let unsynced = stores.reduce(0) { $0 + $1.unsyncedBytes }
    return [.gauge("kvnode_storage_unsynced_bytes", "Of writes that wait for their sync.", Double(unsynced))]
      + rows.map { row in
        .gauge("kvnode_storage_\(row.name)", row.help, Double(estimates.reduce(0) { $0 &+ row.value($1) }))
      }
  }
}

extension MetricFamily.Histogram {
  /// `unit`: what one of the histogram's numbers is in the base unit.
  init(_ histogram: PowerHistogram, unit: Double) {
    var cumulative: [UInt64] = []
    for count in histogram.counts.dropLast() { cumulative.append((cumulative.last ?? 0) &+ count) }
    self.init(
      bounds: histogram.bounds.map { Double($0) * unit }, cumulative: cumulative, count: histogram.total,
      sum: Double(histogram.sum) * unit)
  }
}
