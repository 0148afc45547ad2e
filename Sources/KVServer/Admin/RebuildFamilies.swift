import KVCore
import KVModel

extension NodeMetrics {
  /// What this node's own copies lack, and what is done about it.
  var rebuildFamilies: [MetricFamily] {
    let owned = shards.reduce(0) { $0 + $1.partitions.owned }
    let whole = shards.reduce(0) { $0 + $1.partitions.whole }
    return [
      .gauge(
        "kvnode_rebuild_ratio", "Of the partitions that this node owns a copy of, those that lack nothing; 1 = all.",
        owned == 0 ? 1 : Double(whole) / Double(owned)),
      .gauge(
        "kvnode_rebuild_partitions", "Partitions whose copy here may lack anything: pulled, and not read from.",
        Double(owned - whole)),
      .gauge(
        "kvnode_rebuild_keys", "Single keys whose record here was damaged: pulled, and not read.",
        Double(shards.reduce(0) { $0 + $1.gaps.keys })),
      .gauge(
        "kvnode_rebuild_beyond_quorum",
        "Of these, partitions and keys that too many owners have lost: unread until the loss is accepted.",
        Double(shards.reduce(0) { $0 + $1.partsBeyondQuorum })),
      .counter(
        "kvnode_rebuild_losses_accepted_total", "Partitions and keys of which somebody has accepted that.",
        sum { $0.counters.lossesAccepted }),
      .counter(
        "kvnode_rebuild_pulls_total", "Pulls of a partition from another owner that began.", sum { $0.counters.pulls }),
      .counter("kvnode_rebuild_records_total", "Records that these pulls brought.", sum { $0.counters.pulledRecords }),
      .counter("kvnode_rebuild_received_bytes_total", "Bytes of these records.", sum { $0.counters.pulledBytes }),
      .counter(
        "kvnode_rebuild_files_dropped_total", "Table files with a damaged block that were given up, since the start.",
        sum { $0.gaps.filesDropped }),
      .counter(
        "kvnode_scrub_read_bytes_total", "Read in search of damage that nobody reads.",
        sum { $0.counters.scrubbedBytes }),
      .counter(
        "kvnode_scrub_rounds_total", "Times that this came round the ring, of all shards.",
        sum { $0.counters.scrubRounds }),
    ]
  }
}
