import KVModel
import KVServer
import KVStorage
import Logging

/// Every key, in the order of the shipped file. The defaults are those of the types that hold the values.
enum SettingTable {
  static let all: [Setting] =
    cluster + node + addresses + [seeds, durability] + limits + [exchanges] + rebuild + hints + expiry + storage + log

  /// The first of a setting's words, where it has more than one.
  static let sections: [String] = all.reduce(into: []) { sections, setting in
    let words = setting.path.split(separator: ".")
    if words.count > 1, sections.last != String(words[0]) { sections.append(String(words[0])) }
  }

  static func setting(_ path: String) -> Setting? { byPath[path] }

  private static let byPath = Dictionary(uniqueKeysWithValues: all.map { ($0.path, $0) })

  private static let cluster: [Setting] = [
    .text("cluster.name", \.node.cluster.name, .name(bytesMax: 64), "for people: shown by status, in logs and metrics"),
    .number(
      "cluster.replication", \.node.cluster.replication, .whole(Limits.replication),
      "copies of each key, N; with 3, one may be away and quorums still meet"),
    .number(
      "cluster.read_quorum", \.node.cluster.readQuorum, .whole(Limits.replication),
      "copies that a read asks, R; with R + W > N a read sees every acknowledged write"),
    .number(
      "cluster.write_quorum", \.node.cluster.writeQuorum, .whole(Limits.replication),
      "copies that are durable before a write is acknowledged, W"),
    .power(
      "cluster.partitions", \.node.cluster.partitionBits,
      (1 << Limits.partitionBits.lowerBound)...(1 << Limits.partitionBits.upperBound),
      "slices of the ring; at least 40 a node keep the load even"),
    .number(
      "cluster.virtual_nodes", \.node.cluster.virtualNodes, .whole(1...4_096),
      "tokens of a node of weight 1; 64 even out the shares"),
    .power(
      "cluster.merkle_leaves", \.node.cluster.leafBits, 1...65_536,
      "leaves of a partition's hash tree; 1024 × 64 of 256 keys serve 16 million keys"),
  ]

  private static let node: [Setting] = [
    .text(
      "node.name", \.node.name, .name(bytesMax: 64), "unique in the cluster", flag: "--name",
      emptyMeans: "the host's name"),
    .text(
      "node.zone", \.node.zone, .name(bytesMax: 64), "failure domain: copies go to distinct zones first", flag: "--zone"
    ),
    .optionalText(
      "node.host", \.node.host, .name(bytesMax: 255), "label of the machine: one label never holds two copies of a key",
      flag: "--host-label", emptyMeans: "the node's name"),
    .number(
      "node.weight", \.node.weight, .hundredths(1...10_000), "share of the ring against other nodes", flag: "--weight"),
    .text("node.data", \.node.dataDirectory, .path, "directory of all that this node keeps", flag: "--data"),
    .number(
      "node.shards", \.node.shards, .whole(1...256),
      "event loops with a database each; 1 is best on two cores; fixed when the directory is made", flag: "--shards"),
  ]

  private static let addresses: [Setting] = [
    .listen(
      "listen.client", \.node.clientListen, "clients and kvctl; loopback, since nothing is encrypted",
      flag: "--client-listen"),
    .listen("listen.peer", \.node.peerListen, "the other nodes", flag: "--peer-listen"),
    .listen("listen.admin", \.node.adminListen, "HTTP: /healthz, /readyz, /metrics", flag: "--admin-listen"),
    .advertise(
      "advertise.client", \.node.clientAdvertise, "where clients reach this node from elsewhere",
      emptyMeans: "listen.client"),
    .advertise(
      "advertise.peer", \.node.peerAdvertise, "where nodes reach this node from elsewhere", emptyMeans: "listen.peer"),
  ]

  private static let seeds: Setting = .addresses(
    "seeds", \.node.seeds, most: 32,
    "peer addresses of other nodes, which tell a new one of their cluster; it never forms one of its own beside it",
    flag: "--seeds", emptyMeans: "none")

  private static let durability: Setting = .choice(
    "durability", \.node.storage.durability,
    "sync: a stored write survives a loss of power; os: the death of the process",
    flag: "--durability")

  private static let limits: [Setting] = [
    .number(
      "limits.connections", \.node.limits.connections, .whole(1...1_000_000),
      "clients; each a descriptor and some 10 KiB"),
    .number(
      "limits.connections_before_hello", \.node.limits.connectionsBeforeHello, .whole(1...1_000_000),
      "of each port, not greeted yet: strangers cannot use up the rest"),
    .number(
      "limits.connections_per_address", \.node.limits.connectionsPerAddress, .whole(1...1_000_000, or: 0),
      "clients of one address; 0 = no limit, since a proxy or NAT has one address for many"),
    .number(
      "limits.peer_connections", \.node.limits.peerConnections, .whole(1...1_000_000),
      "of the peer port; a peer has one for each of its shards"),
    .number(
      "limits.connections_closing", \.node.limits.closingConnections, .whole(1...1_000_000),
      "of a shard, told why they end; beyond it the oldest is cut off"),
    .number(
      "limits.hello_timeout", \.node.limits.helloTimeoutMs, .milliseconds(10...600_000),
      "for a greeting; a slow link needs less than 1 s"),
    .number(
      "limits.frame_timeout", \.node.limits.frameTimeoutMs, .milliseconds(100...600_000),
      "from a frame's first byte to its last; 1 MiB over 1 Mbit/s takes 9 s"),
    .number(
      "limits.idle_probe", \.node.limits.idleProbeMs, .milliseconds(1_000...3_600_000),
      "of silence before a client is asked whether it is there; a dead one is gone 10 s later"),
    .number(
      "limits.frames_per_turn", \.node.limits.framesPerTurn, .whole(1...4_096),
      "of a loop, divided among its active clients: one that floods gets no more than its share"),
    .number(
      "limits.requests_in_flight_per_connection", \.node.limits.requestsPerConnection, .whole(1...1_000_000),
      "at 1 ms a request enough for a million a second"),
    .number(
      "limits.bytes_in_flight_per_connection", \.node.limits.bytesPerConnection,
      .bytes(Limits.requestBytesMax...(1 << 40)),
      "requests and unread replies; eight values of the largest size"),
    .number(
      "limits.bytes_in_flight_total", \.node.limits.bytesInFlight, .bytes(Limits.requestBytesMax...(1 << 40)),
      "of all connections: bounds the memory beside the storage's"),
    .number(
      "limits.peer_backlog", \.node.limits.peerBacklogBytes, .bytes(Limits.recordBytesMax...(1 << 40)),
      "unsent, for one peer; above it the link is made anew"),
    .number(
      "limits.admin_connections", \.node.limits.adminConnections, .whole(1...10_000),
      "of the admin port; a monitor or two and a person have one each"),
    .number(
      "limits.admin_timeout", \.node.limits.adminTimeoutMs, .milliseconds(100...600_000),
      "of one of them, from its first byte to our last"),
    .number(
      "limits.default_deadline", \.node.limits.defaultDeadlineMs, .milliseconds(1...Int(Limits.deadlineMsMax)),
      "of a request that names none; longer than any quorum that will still be met takes"),
    .number(
      "limits.disk_percent", \.node.limits.diskPercent, .whole(50...100),
      "of the disk in use; from there on clients' values are refused, the rest is for deletes, repair and compactions"),
    .number(
      "limits.drain_timeout", \.node.limits.drainMs, .milliseconds(0...4_500),
      "on SIGTERM, for what is under way; the process leaves within 5 s"),
  ]

  private static let exchanges: Setting = .number(
    "repair.exchange_interval", \.node.exchangeIntervalMs, .milliseconds(0...60_000),
    "between comparisons of a partition with another owner, by a shard; 100ms: all 1,024 every 3 to 4 minutes; 0 = never"
  )

  private static let rebuild: [Setting] = [
    .number(
      "rebuild.rate", \.node.pullBytesPerSecond, .bytes((64 << 10)...(1 << 40), or: 0),
      "a second that pulls into this node's own copies may bring, beside what clients need; 0 = no limit"),
    .number(
      "rebuild.scrub_rate", \.node.scrubBytesPerSecond, .bytes((4 << 10)...(1 << 40), or: 0),
      "a second that are read to find damage that nobody reads; 4MiB: 10 TB in a month; 0 = none"),
    .number(
      "rebuild.scrub_interval", \.node.scrubIntervalMs, .milliseconds(10_000...2_592_000_000),
      "from the start of a round of that to the next one's, at least; 1h: a small store is not read again and again"),
  ]

  private static let hints: [Setting] = [
    .number(
      "hints.keys_max", \.node.hintKeysMax, .whole(0...100_000_000),
      "writes that away nodes missed, noted by key; 30 bytes of memory each; beyond it by Merkle leaf"),
    .number(
      "hints.rate", \.node.handoffRate, .whole(1...1_000_000),
      "keys, or 4 KiB of them, a second that others may hand to this node when it is back; 240,000 in 20 s"),
  ]

  private static let expiry: [Setting] = [
    .number(
      "expiry.sweep_rate", \.node.sweepRate, .whole(0...1_000_000),
      "keys a second whose expired bytes are dropped; an eighth of it while the node is busy; 0 = never"),
    .number(
      "expiry.sweep_margin", \.node.sweepMarginMs, .milliseconds(1_000...3_600_000),
      "after the expiry, so that a clock that runs ahead does not drop what other nodes still serve"),
  ]

  private static let storage: [Setting] = [
    .number(
      "storage.record_cache", \.node.storage.recordCacheBytes, .bytes((1 << 20)...(1 << 40), or: 0),
      "records; an answer from here costs a tenth of one from the block cache; 0 = none"),
    .number(
      "storage.block_cache", \.node.storage.blockCacheBytes, .bytes((1 << 20)...(1 << 40)),
      "uncompressed blocks; what is here is answered without the disk"),
    .number(
      "storage.write_buffer", \.node.storage.writeBufferBytes, .bytes((1 << 20)...(4 << 30)),
      "of a memtable; larger: fewer flushes, longer recovery"),
    .number(
      "storage.wal_limit", \.node.storage.walBytesMax, .bytes((1 << 20)...(1 << 40)),
      "write-ahead log: bounds the replay after a crash"),
    .number(
      "storage.background_jobs", \.node.storage.backgroundJobs, .whole(1...256),
      "flushes and compactions; two, so that a long compaction does not hold up a flush"),
    .real(
      "storage.bloom_bits", \.node.storage.filterBits, .whole(0...20), "bits a key; 10: one needless read in a hundred"),
    .yesOrNo(
      "storage.partitioned_index", \.node.storage.partitionsIndexes,
      "yes where the data exceed memory a hundred times: whole indexes take 1 % of them"),
    .number(
      "storage.block_size", \.node.storage.blockBytes, .bytes(1_024...(1 << 20)), "unit of disk reads and of the cache"),
    .choice("storage.compression", \.node.storage.compression, "of the upper levels, rewritten often"),
    .choice(
      "storage.bottom_compression", \.node.storage.bottommostCompression,
      "of the last level, nine tenths of the data; zstd: smaller, for an eighth of the CPU of a load of writes"),
    .yesOrNo(
      "storage.direct_io", \.node.storage.bypassesPageCache,
      "flushes and compactions pass the page cache by, where the file system can"),
    .number(
      "storage.rate_limit", \.node.storage.backgroundBytesPerSecond, .bytes((1 << 20)...(1 << 40), or: 0),
      "a second, of flushes and compactions, so that they do not starve the log; 0 = none"),
    .number(
      "storage.max_open_files", \.node.storage.openFilesMax, .whole(64...1_000_000, or: -1),
      "table files; -1 = all, which is fastest"),
    .number("storage.io_threads", \.node.storage.ioThreads, .whole(1...256), "disk reads at once"),
    .number(
      "storage.batch_limit", \.node.storage.batchBytesMax, .bytes((64 << 10)...(256 << 20)),
      "of what is written and synced at once"),
    .number(
      "storage.unsynced_limit", \.node.storage.unsyncedBytesMax, .bytes(Limits.requestBytesMax...(1 << 40)),
      "of writes that wait for their sync; above it they are refused"),
  ]

  private static let log: [Setting] = [
    .choice("log.level", \.log.level, "the least that is written", flag: "--log-level"),
    .choice("log.format", \.log.format, "text for people, json for collectors", flag: "--log-format"),
  ]
}
