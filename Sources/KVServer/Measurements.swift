import KVCore
import KVModel
import KVNet
import KVStorage

// What a node measures of itself, gathered from its loops.
extension NodeServer {
  /// Completes `measurements` with what the shards know; answers on one of their loops.
  func measure(
    _ measurements: NodeDescription.Measurements,
    _ completion: @escaping @Sendable (NodeDescription.Measurements, [NodeID]) -> Void
  ) {
    gather(measurements, [], LatencyPair(), from: 0, completion)
  }

  private func gather(
    _ measurements: NodeDescription.Measurements, _ slow: [NodeID], _ latency: LatencyPair, from index: Int,
    _ completion: @escaping @Sendable (NodeDescription.Measurements, [NodeID]) -> Void
  ) {
    guard index < hosts.count else {
      var measurements = measurements
      measurements.readP99Us = latency.reads.quantile(perMille: 990).map { $0.nanoseconds / 1_000 } ?? 0
      measurements.writeP99Us = latency.writes.quantile(perMille: 990).map { $0.nanoseconds / 1_000 } ?? 0
      return completion(measurements, slow)
    }
    let host = hosts[index]
    host.loop.execute { [self] in
      var measurements = measurements
      var latency = latency
      host.measure(into: &measurements, &latency)
      gather(measurements, slow + host.slowPeers, latency, from: index + 1, completion)
    }
  }
}

/// Latencies of reads and writes over several shards.
struct LatencyPair: Sendable {
  var reads = LatencyHistogram()
  var writes = LatencyHistogram()
}

extension ShardHost {
  func measure(into measurements: inout NodeDescription.Measurements, _ latency: inout LatencyPair) {
    latency.reads.add(shard.counters.latency[ShardCounters.Kind.get.rawValue])
    latency.writes.add(shard.counters.latency[ShardCounters.Kind.put.rawValue])
    latency.writes.add(shard.counters.latency[ShardCounters.Kind.delete.rawValue])
    for kind in [ShardCounters.Kind.get, .put, .delete] {
      let ended = ShardCounters.Ending.allCases.reduce(0) { $0 + shard.counters.count(kind, $1) }
      if kind == .get { measurements.reads += ended } else { measurements.writes += ended }
    }
    let age = shard.repairAge(at: now)?.milliseconds ?? .max
    measurements.repairAgeMs = max(measurements.repairAgeMs, age)
    let partitions = shard.wholePartitions
    measurements.partitionsOwned += UInt32(partitions.owned)
    measurements.partitionsWhole += UInt32(partitions.whole)
    measurements.keysMissing += UInt64(shard.gaps.keys)
    for target in shard.hints.targets.prefix(Limits.membersMax) {
      let age = shard.hintAge(of: target.node, at: now)?.milliseconds ?? 0
      measurements.add(
        .init(node: target.node, keys: UInt64(target.keys), marks: UInt64(target.marks), ageMs: age))
    }
    guard let estimates = (openStorage as? RocksDBStorage)?.estimates() else { return }
    measurements.keys += estimates.keys
    measurements.dataBytes += estimates.dataBytes
  }

  var slowPeers: [NodeID] {
    shard.view.peers.map(\.id).filter { shard.reachability.standing(of: $0, at: now.instant) == .slow }
  }
}
