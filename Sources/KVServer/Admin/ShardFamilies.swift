import KVCore
import KVStorage

extension NodeMetrics {
  /// How work and data lie on the shards of this node and on the ring.
  var shardFamilies: [MetricFamily] {
    var requests = MetricFamily(
      .counter, "kvnode_shard_requests_total", "Requests that ended, by shard: its share of the load.")
    var busy = MetricFamily(
      .counter, "kvnode_shard_busy_seconds_total",
      "That a shard's event loop worked: its rate is the loop's load, 0 to 1.")
    var size = MetricFamily(.gauge, "kvnode_shard_size_bytes", "Of a shard's records: table files and memtables.")
    var keys = MetricFamily(.gauge, "kvnode_shard_keys", "Keys of a shard, as RocksDB estimates.")
    for (index, shard) in shards.enumerated() {
      let label = MetricFamily.Label("shard", "\(index)")
      requests.add([label], shard.counters.requests.reduce(0) { $0 &+ $1.reduce(0, &+) })
      busy.add([label], Double(shard.busyNs) / 1e9)
      guard let estimates = shard.estimates else { continue }
      size.add([label], estimates.dataBytes)
      keys.add([label], estimates.keys)
    }
    return [requests, busy, size, keys] + shareFamilies
  }

  /// The ring in 64 equal parts. Keys are the shard's, dealt out as its bytes are.
  private var shareFamilies: [MetricFamily] {
    var size = MetricFamily(
      .gauge, "kvnode_share_size_bytes", "Of table files in one of 64 equal parts of the ring, measured once a minute.")
    var keys = MetricFamily(
      .gauge, "kvnode_share_keys", "Keys in one of 64 equal parts of the ring, estimated from its bytes.")
    let measured = shards.filter { $0.shareBytes.count == RingShares.count }
    guard !measured.isEmpty else { return [] }
    for share in 0..<RingShares.count {
      let label = MetricFamily.Label("share", share < 10 ? "0\(share)" : "\(share)")
      size.add([label], measured.reduce(0) { $0 &+ $1.shareBytes[share] })
      keys.add([label], measured.reduce(0.0) { $0 + $1.keys(inShare: share) }.rounded())
    }
    return [size, keys]
  }
}

extension NodeMetrics.ShardMetrics {
  /// Estimated: every byte holds as many keys as the others do.
  func keys(inShare share: Int) -> Double {
    let all = shareBytes.reduce(0, &+)
    guard all > 0, let estimates else { return 0 }
    return Double(estimates.keys) * Double(shareBytes[share]) / Double(all)
  }
}
