import KVCore

extension NodeMetrics {
  var requestFamilies: [MetricFamily] {
    var requests = MetricFamily(
      .counter, "kvnode_requests_total", "Requests that this node coordinated, by how they ended.")
    var duration = MetricFamily(
      .histogram, "kvnode_request_duration_seconds", "From a request's arrival at its coordinator to its answer.")
    for kind in ShardCounters.Kind.allCases {
      var latency = LatencyHistogram()
      for shard in shards { latency.add(shard.counters.latency[kind.rawValue]) }
      duration.add([.init("kind", "\(kind)")], MetricFamily.Histogram(latency))
      for ending in ShardCounters.Ending.allCases {
        requests.add(
          [.init("kind", "\(kind)"), .init("outcome", "\(ending)")], sum { $0.counters.count(kind, ending) })
      }
    }
    let refusedByShards = Tally("shard_operations", sum { $0.counters.overloads })
    return [
      requests, duration,
      .tallies("kvnode_failures_total", "Answers to clients that were failures.", label: "code", failures),
      .tallies(
        "kvnode_requests_overloaded_total", "Requests refused as overloaded, by the limit that they met.",
        label: "limit", overloads + [refusedByShards, Tally("disk", sum { $0.counters.diskRefusals })]),
      .tallies(
        "kvnode_flood_frames_total", "Frames of clients that flood, by whether others had frames too.", label: "turn",
        floodFrames),
    ]
  }

  var eventFamilies: [MetricFamily] {
    let events: [(name: String, help: String, value: (ShardCounters) -> UInt64)] = [
      ("read_mismatches", "Reads whose replies differed.", { $0.mismatches }),
      ("read_repairs", "Records written back to owners that were behind.", { $0.repairs }),
      ("read_hedges", "Reads that asked one more owner because the first were late.", { $0.hedges }),
      ("write_second_rounds", "Overwrites that met versions at other owners and wrote once more.", { $0.secondRounds }),
      ("quorum_failures", "Requests that could not reach their quorum.", { $0.quorumFailures }),
      ("siblings_seen", "Reads that found more than one version.", { $0.siblingsSeen }),
      ("retries_seen", "Marked retries that came in.", { $0.retries }),
      ("retries_applied", "Marked retries that turned out to be applied already.", { $0.retriesApplied }),
      ("requests_forwarded", "Requests handed on to an owner.", { $0.forwarded }),
      ("expired_work", "Work dropped because nobody waits for it any more.", { $0.expiredWork }),
      ("exchanges", "Comparisons of a partition with another owner that began.", { $0.exchanges }),
      ("exchanges_failed", "Comparisons that ended incomplete.", { $0.exchangesFailed }),
      ("keys_mended", "Keys that differed between two owners and were made equal.", { $0.keysMended }),
      ("hints_written", "Owners that missed a write and were noted.", { $0.hintsWritten }),
      ("hints_delivered", "Hints that their node turned out to have, or got.", { $0.hintsDelivered }),
      ("hints_refused", "Hints that their node refused for now; they stay.", { $0.hintsRefused }),
      ("hint_offers_refused", "Offers of hints that were for nobody here.", { $0.offersRefused }),
      ("versions_swept", "Versions whose bytes were dropped after their expiry.", { $0.versionsSwept }),
      ("swept_bytes", "Bytes that were dropped with them.", { $0.bytesSwept }),
      ("damaged_records", "Stored records that were damaged and put aside.", { $0.damagedRecords }),
      ("malformed_records", "Records of peers that could not be read.", { $0.malformedRecords }),
      ("malformed_trees", "Lists of keys from peers that held what was not asked for.", { $0.malformedTrees }),
      ("clock_refusals", "Writes refused for a stamp too far ahead.", { $0.clockRefusals }),
    ]
    return events.map { event in
      .counter("kvnode_\(event.name)_total", event.help, sum { event.value($0.counters) })
    }
  }
}
