import Glibc
import KVCore
import KVModel
import KVNet
import KVStorage

/// What one shard's loop says of itself at one moment.
private struct ShardSnapshot: Sendable {
  var shard: ShardCounters
  var host: HostCounters
  var requestsInFlight: Int
  var bytesInFlight: Int
  var peersKnown: Int
  var peersUp: Int
  var layoutVersion: UInt32
  var standing: ClusterView.Standing
  var isOpen: Bool
  var storage: StorageMetrics?
  var estimates: RocksDBStorage.Estimates?
}

extension NodeServer {
  /// Asks each shard once, on its loop. Not after `stop`, when no loop answers any more.
  public func snapshot() async -> NodeMetrics {
    let shards = await shardSnapshots()
    let admission = admission.snapshot
    var metrics = NodeMetrics(name: configuration.name, zone: configuration.zone)
    metrics.syncs = configuration.storage.durability == .sync
    metrics.shards = shards.map(\.shard)
    metrics.layoutVersion = shards.first?.layoutVersion ?? 0
    metrics.isReady = NodeServer.readiness(of: shards) == .ready
    metrics.peersKnown = UInt64(shards.first?.peersKnown ?? 0)
    metrics.peersUp = UInt64(shards.first?.peersUp ?? 0)
    metrics.requestsInFlight = UInt64(shards.reduce(0) { $0 + $1.requestsInFlight })
    metrics.bytesInFlight = UInt64(shards.reduce(0) { $0 + max(0, $1.bytesInFlight) })
    metrics.clients.connections = UInt64(max(0, admission.all))
    metrics.clients.accepted = shards.reduce(0) { $0 + $1.host.connectionsAccepted }
    metrics.clients.bytesIn = shards.reduce(0) { $0 + $1.host.bytesRead }
    metrics.clients.bytesOut = shards.reduce(0) { $0 + $1.host.bytesWritten }
    metrics.refusals = NodeServer.refusals(of: shards, admissionRefused: admission.refused)
    (metrics.diskUsedBytes, metrics.diskTotalBytes) = diskUsage()
    metrics.further = StorageFamilies.families(shards.compactMap(\.storage), shards.compactMap(\.estimates))
    return metrics
  }

  /// Whether the node is a member of a cluster and all its shards are open. Not after `stop`.
  public func readiness() async -> Readiness { NodeServer.readiness(of: await shardSnapshots()) }

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
    return .ready
  }

  private func shardSnapshots() async -> [ShardSnapshot] {
    var snapshots: [ShardSnapshot] = []
    for host in hosts { snapshots.append(await host.loop.run { host.snapshot() }) }
    return snapshots
  }

  private static func refusals(of shards: [ShardSnapshot], admissionRefused: UInt64) -> [(String, UInt64)] {
    let reasons: [(String, Refusal.Reason)] = [
      ("not_hello", .notHello), ("unknown_revision", .unknownRevision), ("other_cluster", .otherCluster),
      ("other_node", .otherNode), ("not_member", .notMember), ("malformed_frame", .malformedFrame),
      ("frame_too_large", .frameTooLarge), ("shutting_down", .shuttingDown), ("duplicate_node", .duplicateNode),
      ("hello_timeout", .helloTimeout),
    ]
    let told = reasons.map { name, reason in (name, shards.reduce(0) { $0 + $1.host.refusals(reason) }) }
    return [("connection_limit", admissionRefused)] + told
  }

  private func diskUsage() -> (used: UInt64, total: UInt64) {
    var found = statvfs()
    guard statvfs(configuration.dataDirectory, &found) == 0 else { return (0, 0) }
    let block = UInt64(found.f_frsize)
    return (UInt64(found.f_blocks - found.f_bfree) * block, UInt64(found.f_blocks) * block)
  }
}

extension ShardHost {
  fileprivate func snapshot() -> ShardSnapshot {
    let rocks = openStorage as? RocksDBStorage
    let peers = shard.view.peers
    return ShardSnapshot(
      shard: shard.counters, host: counters, requestsInFlight: shard.inFlight, bytesInFlight: bytesInFlight,
      peersKnown: peers.count,
      peersUp: peers.count { shard.reachability.standing(of: $0.id, at: now.instant) != .away },
      layoutVersion: shard.view.layoutVersion, standing: shard.view.standing, isOpen: openStorage != nil,
      storage: rocks?.metrics,
      estimates: rocks?.estimates())
  }
}
