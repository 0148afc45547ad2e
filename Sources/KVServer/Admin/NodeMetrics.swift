import KVCore

/// What the node shows of itself at one moment. The node fills it; `families` gives it the names that the world sees.
public struct NodeMetrics: Sendable {
  /// Connections of one kind and what went over them.
  public struct Traffic: Equatable, Sendable {
    public var connections: UInt64 = 0
    public var accepted: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0

    public init() {}
  }

  public var release = Release.version
  public var name: String
  public var zone: String
  public var layoutVersion: UInt32 = 0
  public var isReady = false
  public var uptimeMs: UInt64 = 0
  /// Whether a write is synced before it is acknowledged.
  public var syncs = true
  /// By shard index.
  public var shards: [ShardCounters] = []
  public var clients = Traffic()
  public var peers = Traffic()
  public var requestsInFlight: UInt64 = 0
  public var bytesInFlight: UInt64 = 0
  /// Connections that were closed or refused by this node, by reason: "limit", "hello_timeout", "malformed", …
  public var refusals: [(reason: String, count: UInt64)] = []
  public var peersUp: UInt64 = 0
  public var peersKnown: UInt64 = 0
  public var diskUsedBytes: UInt64 = 0
  public var diskTotalBytes: UInt64 = 0
  /// What else there is to show, storage's above all, under its full names.
  public var further: [MetricFamily] = []

  public init(name: String, zone: String) {
    self.name = name
    self.zone = zone
  }
}

extension NodeMetrics {
  /// At most some 200 series, and one for each shard; none for a key, a partition or a client.
  public var families: [MetricFamily] { nodeFamilies + requestFamilies + eventFamilies + networkFamilies + further }

  private var nodeFamilies: [MetricFamily] {
    var build = MetricFamily(.gauge, "kvnode_build_info", "Always 1; the labels say what runs.")
    let labels: [MetricFamily.Label] = [
      .init("version", release), .init("node", name), .init("zone", zone), .init("durability", syncs ? "sync" : "os"),
    ]
    build.add(labels, UInt64(1))
    return [
      build,
      .gauge("kvnode_uptime_seconds", "Since the process started.", Double(uptimeMs) / 1_000),
      .gauge("kvnode_ready", "1 while the node serves its partitions.", isReady ? 1 : 0),
      .gauge("kvnode_layout_version", "Version of the layout in force; 0 without a cluster.", Double(layoutVersion)),
      .gauge("kvnode_peers_up", "Other members of the layout that are reachable.", Double(peersUp)),
      .gauge("kvnode_peers_known", "Other members of the layout.", Double(peersKnown)),
      .gauge("kvnode_disk_used_bytes", "Used on the file system of the data directory.", Double(diskUsedBytes)),
      .gauge("kvnode_disk_size_bytes", "Size of the file system of the data directory.", Double(diskTotalBytes)),
    ]
  }

  private var requestFamilies: [MetricFamily] {
    var requests = MetricFamily(
      .counter, "kvnode_requests_total", "Requests that this node coordinated, by how they ended.")
    var duration = MetricFamily(
      .histogram, "kvnode_request_duration_seconds", "From a request's arrival at its coordinator to its answer.")
    for kind in ShardCounters.Kind.allCases {
      var latency = LatencyHistogram()
      for shard in shards { latency.add(shard.latency[kind.rawValue]) }
      duration.add([.init("kind", "\(kind)")], MetricFamily.Histogram(latency))
      for ending in ShardCounters.Ending.allCases {
        let count = shards.reduce(0) { $0 &+ $1.count(kind, ending) }
        requests.add([.init("kind", "\(kind)"), .init("outcome", "\(ending)")], count)
      }
    }
    var load = MetricFamily(
      .counter, "kvnode_shard_requests_total", "Requests that ended, by shard: its share of the load.")
    for (index, shard) in shards.enumerated() {
      load.add([.init("shard", "\(index)")], shard.requests.reduce(0) { $0 &+ $1.reduce(0, &+) })
    }
    return [requests, duration, load]
  }

  private var eventFamilies: [MetricFamily] {
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
      ("requests_overloaded", "Requests refused because too many were under way.", { $0.overloads }),
      ("damaged_records", "Stored records that could not be read.", { $0.damagedRecords }),
      ("malformed_records", "Records of peers that could not be read.", { $0.malformedRecords }),
      ("clock_refusals", "Writes refused for a stamp too far ahead.", { $0.clockRefusals }),
    ]
    return events.map { event in
      .counter("kvnode_\(event.name)_total", event.help, shards.reduce(0) { $0 &+ event.value($1) })
    }
  }

  private var networkFamilies: [MetricFamily] {
    var connections = MetricFamily(.gauge, "kvnode_connections", "Open connections.")
    var accepted = MetricFamily(.counter, "kvnode_connections_accepted_total", "Connections that were accepted.")
    var received = MetricFamily(.counter, "kvnode_network_received_bytes_total", "Bytes that came in.")
    var sent = MetricFamily(.counter, "kvnode_network_sent_bytes_total", "Bytes that went out.")
    for (kind, traffic) in [("client", clients), ("peer", peers)] {
      connections.add([.init("kind", kind)], traffic.connections)
      accepted.add([.init("kind", kind)], traffic.accepted)
      received.add([.init("kind", kind)], traffic.bytesIn)
      sent.add([.init("kind", kind)], traffic.bytesOut)
    }
    var refused = MetricFamily(
      .counter, "kvnode_connections_refused_total", "Connections that this node refused or closed.")
    for refusal in refusals { refused.add([.init("reason", refusal.reason)], refusal.count) }
    return [
      connections, accepted, received, sent, refused,
      .gauge("kvnode_requests_in_flight", "Requests under way.", Double(requestsInFlight)),
      .gauge("kvnode_in_flight_bytes", "Bytes of requests under way.", Double(bytesInFlight)),
    ]
  }
}
