extension NodeMetrics {
  var nodeFamilies: [MetricFamily] {
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
      .gauge("kvnode_disk_used_bytes", "Used on the file system of the data directory.", Double(disk.usedBytes)),
      .gauge("kvnode_disk_free_bytes", "That the node may still write there.", Double(disk.freeBytes)),
      .gauge("kvnode_disk_size_bytes", "Size of that file system.", Double(disk.totalBytes)),
      .gauge(
        "kvnode_disk_nearly_full", "1 while values of clients are refused because only the disk's reserve is left.",
        disk.isNearlyFull ? 1 : 0),
      .gauge(
        "kvnode_repair_age_seconds",
        "Since the partition that waits longest was compared with another owner, or since the start.",
        Double(min(repairAgeMs ?? .max, uptimeMs)) / 1_000),
      .gauge(
        "kvnode_sweep_lag_seconds", "How long the oldest expired bytes have been due to be dropped.",
        Double(shards.map(\.sweepLagMs).max() ?? 0) / 1_000),
    ]
  }

  var networkFamilies: [MetricFamily] {
    let rows: [(kind: MetricFamily.Kind, name: String, help: String, value: (Traffic) -> UInt64)] = [
      (.gauge, "connections", "Open connections.", { $0.connections }),
      (.gauge, "connections_greeting", "Of them, those whose HELLO has not come yet.", { $0.greeting }),
      (.counter, "connections_accepted_total", "Connections that were accepted.", { $0.accepted }),
      (.counter, "network_received_bytes_total", "Bytes that came in.", { $0.bytesIn }),
      (.counter, "network_sent_bytes_total", "Bytes that went out.", { $0.bytesOut }),
      (.gauge, "network_unfinished_bytes", "Of frames that are not there whole.", { $0.inputBytes }),
      (.gauge, "network_unsent_bytes", "That wait to be taken by the other side.", { $0.outputBytes }),
    ]
    let traffic = rows.map { row in
      var family = MetricFamily(row.kind, "kvnode_\(row.name)", row.help)
      family.add([.init("kind", "client")], row.value(clients))
      family.add([.init("kind", "peer")], row.value(peers))
      return family
    }
    let requestBytes = shards.reduce(0) { $0 + max(0, $1.requestBytesInFlight) }
    return traffic + [
      .tallies("kvnode_connections_refused_total", "Connections that this node turned away or ended.", refusals),
      .gauge("kvnode_requests_in_flight", "Requests under way.", Double(shards.reduce(0) { $0 + $1.requestsInFlight })),
      .gauge("kvnode_in_flight_bytes", "Bytes of requests under way.", Double(requestBytes)),
    ]
  }
}

extension MetricFamily {
  /// A counter by reason.
  static func tallies(
    _ name: String, _ help: String, label: String = "reason", _ tallies: [NodeMetrics.Tally]
  ) -> MetricFamily {
    var family = MetricFamily(.counter, name, help)
    for tally in tallies { family.add([.init(label, tally.reason)], tally.count) }
    return family
  }
}
