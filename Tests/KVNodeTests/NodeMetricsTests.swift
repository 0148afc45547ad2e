import KVCore
import KVModel
import Testing

@testable import KVServer
@testable import KVStorage

extension NodeMetrics {
  /// A node that has one of everything, so that no family is left out.
  static func sample(shards: Int = 2) -> NodeMetrics {
    var metrics = NodeMetrics(name: "n\"1", zone: "a")
    let tallies = [Tally("one", 1), Tally("other", 0)]
    (metrics.refusals, metrics.overloads, metrics.failures) = (tallies, tallies, tallies)
    metrics.floodFrames = tallies
    metrics.shards = (0..<shards).map { index in
      var shard = ShardMetrics(counters: ShardCounters())
      shard.storage = StorageMetrics()
      shard.estimates = RocksDBStorage.Estimates(
        keys: 1_000, dataBytes: 64_000, recordCacheBytes: 1, blockCacheBytes: 1, blockCacheSizeBytes: 2,
        memtableBytes: 3,
        immutableMemtables: 1, tableReaderBytes: 4, levelZeroFiles: 5, compactionPendingBytes: 6, runningCompactions: 1,
        runningFlushes: 1, delayedWriteBytes: 0, isStopped: index == 0)
      shard.hints = HintCensus(targets: [.init(node: NodeID(7), keys: 3, marks: 1, marked: [])])
      shard.shareBytes = (0..<RingShares.count).map { $0 == 7 ? 3_000 : $0 == 9 ? 1_000 : 0 }
      return shard
    }
    return metrics
  }
}

@Suite struct NodeMetricsTests {
  @Test func `names follow the rules, and each family is told once`() {
    let families = NodeMetrics.sample().families
    #expect(Set(families.map(\.name)).count == families.count)
    for family in families {
      #expect(family.name.wholeMatch(of: /kvnode_[a-z_]+/) != nil)
      #expect((family.kind == .counter) == family.name.hasSuffix("_total"), "\(family.name)")
      #expect(family.help.hasSuffix("."), "\(family.name)")
      #expect(!family.samples.isEmpty, "\(family.name)")
    }
  }

  @Test(arguments: [1, 256]) func `there are fewer than 2,000 series, and none twice`(shards: Int) {
    let lines = PrometheusText.text(of: NodeMetrics.sample(shards: shards).families).split(separator: "\n")
    let series = lines.filter { !$0.hasPrefix("#") }.map { $0.prefix(upTo: $0.lastIndex(of: " ") ?? $0.endIndex) }
    #expect(series.count < 2_000 && Set(series).count == series.count)
    #expect(series.count > 300)
  }

  @Test func `a share's keys are the shard's, dealt out as its bytes are`() throws {
    let families = NodeMetrics.sample(shards: 2).families
    let keys = try #require(families.first { $0.name == "kvnode_share_keys" })
    let bytes = try #require(families.first { $0.name == "kvnode_share_size_bytes" })
    #expect(keys.samples.count == 64 && bytes.samples.count == 64)
    #expect(keys.samples[7] == .init(labels: [.init("share", "07")], number: .real(1_500)))
    #expect(keys.samples[9].number == .real(500) && keys.samples[8].number == .real(0))
    #expect(bytes.samples[7].number == .count(6_000))
  }

  @Test func `before anything was measured there are no shares, and nothing divides by zero`() {
    var metrics = NodeMetrics.sample(shards: 1)
    metrics.shards[0].shareBytes = []
    #expect(!metrics.families.contains { $0.name.contains("share_") })
    metrics.shards[0].shareBytes = Array(repeating: 0, count: RingShares.count)
    #expect(metrics.families.first { $0.name == "kvnode_share_keys" }?.samples[0].number == .real(0))
  }

  @Test func `every failure and every refusal has a label of its own`() {
    #expect(Set(Failure.Code.allCases.map(\.label)).count == Failure.Code.allCases.count)
    #expect(Set(Refusal.Reason.told.map(\.name)).count == Refusal.Reason.told.count)
    #expect(Set(Refusal.Reason.told.map(\.reason)).count == Refusal.Reason.told.count)
  }

  @Test func `an overload of a shard stands beside those of the limits`() throws {
    let family = try #require(
      NodeMetrics.sample().families.first { $0.name == "kvnode_requests_overloaded_total" })
    #expect(family.samples.map { $0.labels[0].value } == ["one", "other", "shard_operations", "disk"])
  }
}
