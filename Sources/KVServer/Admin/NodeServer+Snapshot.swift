import Glibc
import KVCore
import KVModel
import KVNet
import KVStorage

/// What one shard's loop says of itself at one moment.
struct ShardSnapshot: Sendable {
  var metrics: NodeMetrics.ShardMetrics
  var host: HostCounters
  var clients: NodeMetrics.Traffic
  var peers: NodeMetrics.Traffic
  var peersKnown: Int
  var peersUp: Int
  var layoutVersion: UInt32
  var standing: ClusterView.Standing
  var isOpen: Bool
  var isDiskNearlyFull: Bool
  /// nil: a partition was never compared since the start.
  var repairAge: Span64?
}

extension NodeServer {
  /// Asks each shard once, on its loop. Not after `stop`, when no loop answers any more.
  public func snapshot() async -> NodeMetrics {
    let shards = await shardSnapshots()
    let listeners = await control.loop.run { [control] in control!.listenerCounts }
    var metrics = NodeMetrics(name: configuration.name, zone: configuration.zone)
    metrics.syncs = configuration.storage.durability == .sync
    metrics.shards = shards.map(\.metrics)
    metrics.layoutVersion = shards.first?.layoutVersion ?? 0
    metrics.isReady = NodeServer.readiness(of: shards).isReady
    metrics.peersKnown = UInt64(shards.first?.peersKnown ?? 0)
    metrics.peersUp = UInt64(shards.first?.peersUp ?? 0)
    metrics.clients = NodeServer.traffic(of: shards.map(\.clients))
    metrics.peers = NodeServer.traffic(of: shards.map(\.peers))
    let admitted = clientAdmission.snapshot
    metrics.clients.connections = UInt64(max(0, admitted.all))
    metrics.clients.greeting = UInt64(max(0, admitted.greeting))
    metrics.peers.greeting = UInt64(max(0, peerAdmission.snapshot.greeting))
    metrics.refusals = refusals(of: shards.map(\.host), outOfDescriptors: listeners.refused)
    metrics.floodFrames = HostCounters.FloodTurn.allCases.map { turn in
      .init(turn.rawValue, shards.reduce(0) { $0 + ($1.host.floodFrames[turn] ?? 0) })
    }
    metrics.overloads = HostCounters.Limit.allCases.map { limit in
      .init(limit.rawValue, shards.reduce(0) { $0 + ($1.host.overloads[limit] ?? 0) })
    }
    metrics.failures = Failure.Code.allCases.map { code in
      .init(code.label, shards.reduce(0) { $0 + ($1.host.failures[code] ?? 0) })
    }
    metrics.disk = disk()
    let gossip = await control.loop.run { [control] in control!.gossip }
    metrics.gossip = gossip.counters
    metrics.members = Dictionary(grouping: gossip.members, by: \.state).mapValues { UInt64($0.count) }
    metrics.membersWithOtherLayout = UInt64(gossip.otherLayouts)
    metrics.disk.isNearlyFull = shards.contains { $0.isDiskNearlyFull }
    if shards.allSatisfy({ $0.repairAge != nil }) {
      metrics.repairAgeMs = shards.compactMap { $0.repairAge?.milliseconds }.max()
    }
    return metrics
  }

  /// Whether the node is a member of a cluster and all its shards are open. Not after `stop`.
  public func readiness() async -> Readiness { NodeServer.readiness(of: await shardSnapshots()) }

  /// What there is to say beside it: the node takes part, and hands on what it cannot read itself.
  static func remark(of shards: [ShardSnapshot]) -> String? {
    let owned = shards.reduce(0) { $0 + $1.metrics.partitions.owned }
    let whole = shards.reduce(0) { $0 + $1.metrics.partitions.whole }
    let keys = shards.reduce(0) { $0 + $1.metrics.gaps.keys }
    if whole == owned, keys == 0 { return nil }
    return "rebuilding: \(whole) of its \(owned) partitions are whole, \(keys) keys are missing beside"
  }

  private static func readiness(of shards: [ShardSnapshot]) -> Readiness {
    if shards.contains(where: { $0.layoutVersion == 0 }) {
      return .notReady("it belongs to no cluster yet; form one by: kvctl cluster init")
    }
    guard shards.allSatisfy(\.isOpen) else { return .notReady("its shards are being opened") }
    let standings = shards.map(\.standing)
    if standings.contains(.overtaken) { return .notReady("its data went back in time; see its log") }
    if standings.contains(.unconfirmed) {
      return .notReady("no majority has confirmed yet that its data are the latest")
    }
    return .ready(remark: remark(of: shards))
  }

  private func shardSnapshots() async -> [ShardSnapshot] {
    var snapshots: [ShardSnapshot] = []
    for host in hosts { snapshots.append(await host.loop.run { host.snapshot() }) }
    return snapshots
  }

  private static func traffic(of parts: [NodeMetrics.Traffic]) -> NodeMetrics.Traffic {
    parts.reduce(into: NodeMetrics.Traffic()) { all, part in
      all.connections += part.connections
      all.accepted += part.accepted
      all.bytesIn += part.bytesIn
      all.bytesOut += part.bytesOut
      all.inputBytes += part.inputBytes
      all.outputBytes += part.outputBytes
    }
  }

  private func refusals(of shards: [HostCounters], outOfDescriptors: UInt64) -> [NodeMetrics.Tally] {
    let (clients, peers) = (clientAdmission.snapshot, peerAdmission.snapshot)
    let unheard: [NodeMetrics.Tally] = [
      .init("connections", clients.refused), .init("peer_connections", peers.refused),
      .init("connections_per_address", clients.refusedAddress),
      .init("connections_before_hello", clients.refusedGreeting + peers.refusedGreeting),
      .init("out_of_descriptors", outOfDescriptors),
    ]
    let slow = HostCounters.Slowness.allCases.map { reason in
      NodeMetrics.Tally(reason.rawValue, shards.reduce(0) { $0 + ($1.dropped[reason] ?? 0) })
    }
    let told = Refusal.Reason.told.map { name, reason in
      NodeMetrics.Tally(name, shards.reduce(0) { $0 + ($1.refused[reason] ?? 0) })
    }
    return unheard + slow + told
  }

  private func disk() -> NodeMetrics.Disk {
    var found = statvfs()
    var disk = NodeMetrics.Disk()
    guard statvfs(configuration.dataDirectory, &found) == 0 else { return disk }
    let block = UInt64(found.f_frsize)
    disk.usedBytes = UInt64(found.f_blocks - found.f_bfree) * block
    disk.freeBytes = UInt64(found.f_bavail) * block
    disk.totalBytes = UInt64(found.f_blocks) * block
    return disk
  }
}

extension ShardHost {
  fileprivate func snapshot() -> ShardSnapshot {
    let rocks = openStorage as? RocksDBStorage
    let members = shard.view.peers
    var metrics = NodeMetrics.ShardMetrics(counters: shard.counters)
    metrics.requestsInFlight = shard.inFlight
    metrics.requestBytesInFlight = clients.requestBytes
    metrics.busyNs = loop.busyNanoseconds
    metrics.storage = rocks?.metrics
    metrics.estimates = rocks?.estimates()
    metrics.hints = shard.hints
    metrics.lagging = shard.lagging
    metrics.sweepLagMs = shard.sweepLag.milliseconds
    metrics.gaps = shard.gaps
    metrics.partitions = shard.wholePartitions
    metrics.partsBeyondQuorum = shard.partsBeyondQuorum
    metrics.shareBytes = rocks?.shareBytes ?? []
    var peers = NodeMetrics.Traffic(links.account)
    peers.connections = UInt64(links.count)
    peers.accepted = counters.peersAccepted
    var own = NodeMetrics.Traffic(clients.account)
    own.accepted = counters.clientsAccepted
    return ShardSnapshot(
      metrics: metrics, host: counters, clients: own, peers: peers, peersKnown: members.count,
      peersUp: members.count { shard.reachability.standing(of: $0.id, at: now.instant) != .away },
      layoutVersion: shard.view.layoutVersion, standing: shard.view.standing, isOpen: openStorage != nil,
      isDiskNearlyFull: shard.view.disk != .enough, repairAge: shard.repairAge(at: now))
  }
}

extension NodeMetrics.Traffic {
  fileprivate init(_ account: ByteAccount) {
    self.init()
    bytesIn = account.bytesRead
    bytesOut = account.bytesWritten
    inputBytes = UInt64(max(0, account.inputBytes))
    outputBytes = UInt64(max(0, account.outputBytes))
  }
}
