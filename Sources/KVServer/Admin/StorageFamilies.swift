import KVStorage

/// The storage of all shards, summed, under the names that the world sees.
enum StorageFamilies {
  static func families(_ stores: [StorageMetrics], _ estimates: [RocksDBStorage.Estimates]) -> [MetricFamily] {
    if stores.isEmpty { return [] }
    return counters(stores) + [writeDuration(stores)] + gauges(stores, estimates)
  }

  private static func counters(_ stores: [StorageMetrics]) -> [MetricFamily] {
    let rows: [(name: String, help: String, value: (StorageMetrics) -> UInt64)] = [
      ("batches", "Batches written to the log.", { $0.batches }),
      ("batched_operations", "Operations in those batches.", { $0.operations }),
      ("batched_bytes", "Bytes in those batches.", { $0.bytes }),
      ("memory_reads", "Reads and merges that memory answered.", { $0.servedFromMemory }),
      ("disk_reads", "Reads and merges that went to the disk.", { $0.servedFromDisk }),
      ("unreadable_records", "Reads that damage or the disk made impossible.", { $0.unreadable }),
      ("merges_refused", "Merges refused because too much waited for its sync.", { $0.overloaded }),
    ]
    return rows.map { row in
      .counter("kvnode_storage_\(row.name)_total", row.help, stores.reduce(0) { $0 &+ row.value($1) })
    }
  }

  /// Element i of the store's buckets counts writes of less than 2^i × 65.536 µs, the last one all others.
  private static func writeDuration(_ stores: [StorageMetrics]) -> MetricFamily {
    let buckets = stores.map(\.writeBuckets)
    let width = buckets.map(\.count).min() ?? 0
    var counts: [UInt64] = []
    for index in 0..<width { counts.append(buckets.reduce(0) { $0 &+ $1[index] }) }
    var cumulative: [UInt64] = []
    for count in counts.dropLast() { cumulative.append((cumulative.last ?? 0) &+ count) }
    var family = MetricFamily(
      .histogram, "kvnode_storage_write_duration_seconds", "Of a batch: append and, where writes are synced, its sync.")
    family.add(
      [],
      MetricFamily.Histogram(
        bounds: cumulative.indices.map { Double(UInt64(1) << UInt64($0 + 16)) / 1e9 }, cumulative: cumulative,
        count: counts.reduce(0, &+), sum: Double(stores.reduce(0) { $0 &+ $1.writeNs }) / 1e9))
    return family
  }

  private static func gauges(_ stores: [StorageMetrics], _ estimates: [RocksDBStorage.Estimates]) -> [MetricFamily] {
    func sum(_ value: (RocksDBStorage.Estimates) -> UInt64) -> Double {
      Double(estimates.reduce(0) { $0 &+ value($1) })
    }
    let unsynced = stores.reduce(0) { $0 + $1.unsyncedBytes }
    return [
      .gauge("kvnode_storage_unsynced_bytes", "Of writes that wait for their sync.", Double(unsynced)),
      .gauge("kvnode_storage_keys", "Keys, as RocksDB estimates.", sum { $0.keys }),
      .gauge("kvnode_storage_data_bytes", "Of table files and memtables.", sum { $0.dataBytes }),
      .gauge("kvnode_storage_block_cache_bytes", "In use in the block caches.", sum { $0.blockCacheBytes }),
      .gauge("kvnode_storage_memtable_bytes", "In use by memtables.", sum { $0.memtableBytes }),
      .gauge(
        "kvnode_storage_compaction_pending_bytes", "That compactions have still to rewrite.",
        sum { $0.compactionPendingBytes }),
      .gauge("kvnode_storage_stalled_shards", "Shards whose writes RocksDB holds up.", sum { $0.isStalled ? 1 : 0 }),
    ]
  }
}
