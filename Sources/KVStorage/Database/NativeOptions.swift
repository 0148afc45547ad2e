private import CRocksDB

/// RocksDB's option objects for one open, and the cache that they share. Freed with this value's owner.
struct NativeOptions {
  let database: OpaquePointer
  /// One for each `Family`, in its order.
  let families: [OpaquePointer?]
  private let cache: OpaquePointer
  private let tables: [OpaquePointer]

  init(_ options: StorageOptions) {
    let cache = rocksdb_cache_create_lru(options.blockCacheBytes)!
    let database = NativeOptions.makeDatabase(options)
    var tables: [OpaquePointer] = []
    families = Family.allCases.map { family in
      let table = NativeOptions.makeTable(options, cache: cache)
      tables.append(table)
      return NativeOptions.makeFamily(family, options, base: database, table: table)
    }
    self.cache = cache
    self.database = database
    self.tables = tables
  }

  /// Bytes in the block cache.
  var cacheUsage: Int { rocksdb_cache_get_usage(cache) }

  func free() {
    for family in families { rocksdb_options_destroy(family) }
    for table in tables { rocksdb_block_based_options_destroy(table) }
    rocksdb_options_destroy(database)
    rocksdb_cache_destroy(cache)
  }

  private static func makeDatabase(_ options: StorageOptions) -> OpaquePointer {
    let base = rocksdb_options_create()!
    defer { rocksdb_options_destroy(base) }
    let result = rocksdb_options_create()!
    // Lengths of closed logs are kept in the manifest, so that a log cut short in the middle of the sequence is
    // refused: the recovery mode alone would take it for a torn tail (HAZARDS.md row 38). Not in the C interface.
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_get_options_from_string(base, "track_and_verify_wals_in_manifest=true", result, &error)
    if let error = RocksDBError(taking: error) { fatalError("invariant broken: \(error.text)") }
    rocksdb_options_set_create_if_missing(result, 1)
    rocksdb_options_set_create_missing_column_families(result, 1)
    rocksdb_options_set_paranoid_checks(result, 1)
    // 0 = kTolerateCorruptedTailRecords; recycled logs would blur where a log ends.
    rocksdb_options_set_wal_recovery_mode(result, 0)
    rocksdb_options_set_recycle_log_file_num(result, 0)
    rocksdb_options_set_max_total_wal_size(result, UInt64(options.walBytesMax))
    // One writer: no need for atomics in the memtable.
    rocksdb_options_set_allow_concurrent_memtable_write(result, 0)
    rocksdb_options_set_enable_pipelined_write(result, 0)
    rocksdb_options_set_unordered_write(result, 0)
    rocksdb_options_set_max_background_jobs(result, Int32(options.backgroundJobs))
    letRequestsGoFirst()
    rocksdb_options_set_max_open_files(result, options.openFilesMax)
    rocksdb_options_set_use_direct_io_for_flush_and_compaction(result, options.bypassesPageCache ? 1 : 0)
    // Table files reach the disk as they are written, not all at once at their end.
    rocksdb_options_set_bytes_per_sync(result, 1 << 20)
    // The log for people: warnings, a few small files; no threads for statistics.
    rocksdb_options_set_info_log_level(result, 2)
    rocksdb_options_set_keep_log_file_num(result, 4)
    rocksdb_options_set_max_log_file_size(result, 4 << 20)
    rocksdb_options_set_stats_dump_period_sec(result, 0)
    rocksdb_options_set_stats_persist_period_sec(result, 0)
    if options.backgroundBytesPerSecond > 0 {
      let limiter = rocksdb_ratelimiter_create(Int64(options.backgroundBytesPerSecond), 100_000, 10)
      rocksdb_options_set_ratelimiter(result, limiter)
      rocksdb_ratelimiter_destroy(limiter)
    }
    return result
  }

  /// The threads that flush and compact, which all databases of the process share, run at the lowest priority (nice 19,
  /// `ThreadPoolImpl`): when cores are short they take what requests leave. Flushes that fall behind hold writes up, and
  /// so get their time.
  private static func letRequestsGoFirst() {
    let environment = rocksdb_create_default_env()!
    defer { rocksdb_env_destroy(environment) }
    rocksdb_env_lower_thread_pool_cpu_priority(environment)
    rocksdb_env_lower_high_priority_thread_pool_cpu_priority(environment)
  }

  private static func makeTable(_ options: StorageOptions, cache: OpaquePointer) -> OpaquePointer {
    let table = rocksdb_block_based_options_create()!
    rocksdb_block_based_options_set_block_cache(table, cache)
    rocksdb_block_based_options_set_block_size(table, options.blockBytes)
    rocksdb_block_based_options_set_format_version(table, 5)
    // The table takes the filter over.
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(options.filterBits))
    // A hash inside each block saves the binary search of a point read.
    let hashed = Int32(rocksdb_block_based_table_data_block_index_type_binary_search_and_hash)
    rocksdb_block_based_options_set_data_block_index_type(table, hashed)
    rocksdb_block_based_options_set_data_block_hash_ratio(table, 0.75)
    if options.partitionsIndexes {
      // Indexes and filters in parts, so that a large file does not need all of its own in memory; their tops are pinned.
      let twoLevels = Int32(rocksdb_block_based_table_index_type_two_level_index_search)
      rocksdb_block_based_options_set_index_type(table, twoLevels)
      rocksdb_block_based_options_set_partition_filters(table, 1)
      rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1)
      rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1)
      rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1)
      rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1)
    }
    return table
  }

  private static func makeFamily(
    _ family: Family, _ options: StorageOptions, base: OpaquePointer, table: OpaquePointer
  ) -> OpaquePointer {
    let result = rocksdb_options_create_copy(base)!
    rocksdb_options_set_block_based_table_factory(result, table)
    rocksdb_options_set_level_compaction_dynamic_level_bytes(result, 1)
    if !options.compacts { rocksdb_options_set_disable_auto_compactions(result, 1) }
    rocksdb_options_set_compression(result, options.compression.native)
    rocksdb_options_set_bottommost_compression(result, options.bottommostCompression.native)
    switch family {
    case .data:
      rocksdb_options_set_write_buffer_size(result, options.dataMemtableBytes)
      // A filter over the memtable: most keys that a merge looks up are not in it.
      rocksdb_options_set_memtable_prefix_bloom_size_ratio(result, 0.02)
      rocksdb_options_set_memtable_whole_key_filtering(result, 1)
    case .merkle:
      rocksdb_options_set_write_buffer_size(result, options.indexMemtableBytes)
      // Every write adds a leaf, and only an open reads them: append, and sort once at the flush.
      rocksdb_options_set_memtable_vector_rep(result)
    case .unused, .hints, .expiry, .meta:
      rocksdb_options_set_write_buffer_size(result, options.indexMemtableBytes)
    }
    return result
  }
}

extension StorageOptions.Compression {
  fileprivate var native: Int32 {
    switch self {
    case .none: Int32(rocksdb_no_compression)
    case .lz4: Int32(rocksdb_lz4_compression)
    case .zstd: Int32(rocksdb_zstd_compression)
    }
  }
}
