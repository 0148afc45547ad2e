import FakeNodes
import KVModel

@testable import kvctl

/// What each verb answers in a document. In each scene the calls follow one another.
enum Documents {
  typealias Call = (words: [String], shape: String)

  enum Scene: CaseIterable {
    /// Three nodes, all well.
    case calm
    /// n3 is gone and has hints waiting at n1, which mends its own copy; reads fail.
    case ill
    /// n1 does not reach n2, and n3 does.
    case cut
    /// Nodes of no cluster.
    case unformed

    func cluster() async throws -> FakeCluster {
      guard self != .unformed else { return try await FakeCluster.unformed(1) }
      let cluster = try await FakeCluster.start(3)
      if self == .cut {
        for (place, health) in [(0, NodeDescription.Peer.Health.unreachable), (2, .up)] {
          cluster.nodes[place].with { $0.description.peers = [.init(node: NodeID(2), health: health, sinceMs: 5_000)] }
        }
      }
      guard self == .ill else { return cluster }
      cluster.nodes[0].with { state in
        state.description.measurements.hints = [.init(node: NodeID(3), keys: 7, marks: 1, ageMs: 9_000)]
        state.description.measurements.keysMissing = 2
        state.description.peers = [.init(node: NodeID(3), health: .unreachable, sinceMs: 5_000)]
      }
      for node in cluster.nodes { node.script(Scene.sick) }
      await cluster.nodes[2].stop()
      return cluster
    }

    private static let sick: FakeNode.Script = { request, _ in
      switch request {
      case .get: .failing(.unavailable)
      case .explain:
        .reply(.explained([.init(node: NodeID(1), state: .unreadable), .init(node: NodeID(3), state: .unreachable)]))
      case .write, .describe, .fetchLayout, .reserveCluster, .formCluster, .repair: nil
      }
    }
  }

  /// Lines of `words | shape`; a line that begins with a blank goes on with the shape.
  static func calls(_ scene: Scene) -> [Call] {
    let text =
      switch scene {
      case .calm: calm
      case .ill: ill
      case .cut: cut
      case .unformed: unformed
      }
    return text.replacing("\n ", with: " ").split(separator: "\n").map { line in
      let parts = line.split(separator: " | ", maxSplits: 1)
      return (
        parts[0].split(separator: " ").map(String.init), parts[1].split(separator: " ").joined(separator: " ")
      )
    }
  }

  private static let calm = """
    put k v | {written_at_ms: integer, acknowledgements: integer, hints: integer, context: text, siblings: text,
      found_applied: bool}
    put bytes ff --hex | {written_at_ms: integer, acknowledgements: integer, hints: integer, context: text,
      siblings: text, found_applied: bool}
    put fleeting v --sort-key s --ttl 1h | {written_at_ms: integer, acknowledgements: integer, hints: integer,
      context: text, siblings: text, found_applied: bool}
    get k | {key: text, sort_key: null, found: bool, value: text,
      versions: [{value: text, written_at_ms: integer, expires_at_ms: null}], context: text}
    get bytes | {key: text, sort_key: null, found: bool, value: {base64: text},
      versions: [{value: {base64: text}, written_at_ms: integer, expires_at_ms: null}], context: text}
    get fleeting --sort-key s | {key: text, sort_key: text, found: bool, value: text,
      versions: [{value: text, written_at_ms: integer, expires_at_ms: integer}], context: text}
    get absent | {key: text, sort_key: null, found: bool, value: null, versions: [], context: text}
    explain fleeting --sort-key s | {key: text, sort_key: text,
      owners: [{node: text, node_id: text, state: text, stale: bool,
      versions: [{dot: {node_id: text, epoch: integer, counter: text}, kind: text, stamp: text,
      written_at_ms: integer, expires_at_ms: integer, value_bytes: integer, checksum: text, request_id: text}],
      context: [{node_id: text, epoch: integer, counter: text}]}]}
    delete k | {written_at_ms: integer, acknowledgements: integer, hints: integer, context: text, siblings: text,
      found_applied: bool}
    import {file} --format tsv | {lines: integer, resumed_at: integer, written: integer, broken: integer, failed: integer,
      unknown: integer, elapsed_ms: integer, stopped_early: bool}
    status | {nodes: [{node: text, node_id: text, state: text, intent: text, zone: text, host: text,
      client_address: text, weight: fraction, ring_share: fraction, release: text, shards: integer, syncs: bool,
      uptime_ms: integer, disk_used_bytes: integer, disk_total_bytes: integer, disk_nearly_full: bool,
      data_bytes: integer, keys: integer, reads: integer, writes: integer, read_p99_us: integer,
      write_p99_us: integer, hints_waiting: integer, rebuild: null, repair_age_ms: integer}], partitions: integer,
      partitions_below_quorum: integer, replication: integer, read_quorum: integer, write_quorum: integer,
      broken_links: [], verdict: text, warnings: []}
    health | {health: text, nodes: integer, nodes_up: integer, partitions_below_quorum: integer, warnings: []}
    doctor | {nodes: integer, findings: [], verdict: text}
    ring show | {name: text, partitions: integer, replication: integer, read_quorum: integer, write_quorum: integer,
      virtual_nodes: integer, members: [{node: text, node_id: text, zone: text, host: text, weight: fraction,
      client_address: text, peer_address: text, partitions: integer, first_of_partitions: integer}]}
    ring locate k | {token: text, partition: integer,
      owners: [{node: text, node_id: text, zone: text, state: text, client_address: text}]}
    cluster init --yes | {cluster: text, name: text, layout: integer, members: [text], result: text}
    hints list | {hints: [], keys_waiting: integer, leaves_waiting: integer}
    repair status | [{node: text, node_id: text, peer: text, peer_id: text, pairs: integer, never_compared: integer,
      oldest_ms: integer, urgent: integer, running: integer, asked_for: integer, keys_mended: integer,
      incomplete: integer, leaves_marked: integer}]
    repair run | {comparisons: integer, waited: bool, completed: integer}
    repair verify --rate 1GiB | {equal: bool, partitions: integer, records: integer, bytes: integer,
      damaged_records: integer, differing: [], drifted: []}
    repair accept-loss | {losses: [], accepted: integer, left: integer}
    tombstones stats --rate 1GiB | [{node: text, node_id: text, is_estimate: bool, tombstones: integer,
      tombstone_bytes: integer, swept: integer, swept_bytes: integer, records: integer, record_bytes: integer,
      partitions_read: integer, partitions: integer}]
    config show | {settings: {name: text, replication: integer, read_quorum: integer, write_quorum: integer,
      partitions: integer, virtual_nodes: integer, merkle_leaves: integer}, nodes: [{node: text, node_id: text,
      zone: text, host: text, weight: fraction, shards: integer, durability: text, release: text,
      client_address: text, peer_address: text}]}
    bench --load --workload put --rate 100 --duration 200ms --warmup 0s --records 9 --clients 3 | {target: text,
      through: text, workload: text, distribution: text, records: integer, key_bytes: integer, value_bytes: integer,
      clients: integer, pipeline: integer, loops: integer, rate_per_s: fraction, consistency: text,
      warmup_ms: integer, duration_ms: integer, seed: text,
      load: {records: integer, missing: integer, elapsed_ms: integer, failures: []}, run: {elapsed_ms: integer,
      operations: integer, operations_per_s: fraction, failed: integer, failures: [], found: integer,
      absent: integer, client_cpu_us_per_operation: fraction, kinds: [{kind: text, operations: integer,
      operations_per_s: fraction, mean_us: fraction, p50_us: fraction, p95_us: fraction, p99_us: fraction,
      p99_9_us: fraction, max_us: fraction}]}}
    """

  private static let ill = """
    get k | null
    explain k | {key: text, sort_key: null, owners: [{node: text, node_id: text, state: text, stale: bool}]}
    status | {nodes: [{node: text, node_id: text, state: text, intent: text, zone: text, host: text,
      client_address: text, weight: fraction, ring_share: fraction, release: text, shards: integer, syncs: bool,
      uptime_ms: integer, disk_used_bytes: integer, disk_total_bytes: integer, disk_nearly_full: bool,
      data_bytes: integer, keys: integer, reads: integer, writes: integer, read_p99_us: integer,
      write_p99_us: integer, hints_waiting: integer,
      rebuild: {partitions_whole: integer, partitions_owned: integer, keys_missing: integer},
      repair_age_ms: integer} | {node: text, node_id: text, state: text, intent: text, zone: text, host: text,
      client_address: text, weight: fraction, ring_share: fraction, release: text, shards: integer, syncs: bool,
      uptime_ms: integer, disk_used_bytes: integer, disk_total_bytes: integer, disk_nearly_full: bool,
      data_bytes: integer, keys: integer, reads: integer, writes: integer, read_p99_us: integer,
      write_p99_us: integer, hints_waiting: integer, rebuild: null, repair_age_ms: integer} | {node: text,
      node_id: text, state: text, intent: text, zone: text, host: text, client_address: text, weight: fraction,
      ring_share: fraction, since_ms: integer}], partitions: integer, partitions_below_quorum: integer,
      replication: integer, read_quorum: integer, write_quorum: integer, broken_links: [], verdict: text,
      warnings: [text]}
    health | {health: text, nodes: integer, nodes_up: integer, partitions_below_quorum: integer, warnings: [text]}
    doctor | {nodes: integer, findings: [{weight: text, code: text, subject: text, cause: text, remedy: text}],
      verdict: text}
    hints list | {hints: [{holder: text, holder_id: text, for: text, for_id: text, keys: integer, leaves: integer,
      oldest_ms: integer}], keys_waiting: integer, leaves_waiting: integer}
    repair run --node n1 --no-wait | {comparisons: integer, waited: bool, completed: null}
    top | [{node: text, state: text, read_p99_us: integer, write_p99_us: integer, keys: integer, keys_per_s: null,
      reads_per_s: null, writes_per_s: null, data_bytes: integer, disk_used_bytes: integer,
      disk_total_bytes: integer, uptime_ms: integer} | {node: text, state: text}]
    bench --workload get --rate 100 --duration 100ms --warmup 0s --records 9 --clients 3 | {target: text,
      through: text, workload: text, distribution: text, records: integer, key_bytes: integer, value_bytes: integer,
      clients: integer, pipeline: integer, loops: integer, rate_per_s: fraction, consistency: text,
      warmup_ms: integer, duration_ms: integer, seed: text, load: null, run: {elapsed_ms: integer,
      operations: integer, operations_per_s: fraction, failed: integer, failures: [{code: text, count: integer,
      message: text}], found: integer, absent: integer, client_cpu_us_per_operation: fraction, kinds: []}}
    """

  private static let cut = """
    status | {nodes: [{node: text, node_id: text, state: text, intent: text, zone: text, host: text,
      client_address: text, weight: fraction, ring_share: fraction, release: text, shards: integer, syncs: bool,
      uptime_ms: integer, disk_used_bytes: integer, disk_total_bytes: integer, disk_nearly_full: bool,
      data_bytes: integer, keys: integer, reads: integer, writes: integer, read_p99_us: integer,
      write_p99_us: integer, hints_waiting: integer, rebuild: null, repair_age_ms: integer}], partitions: integer,
      partitions_below_quorum: integer, replication: integer, read_quorum: integer, write_quorum: integer,
      broken_links: [{from: text, to: text, both_ways: bool, since_ms: integer}], verdict: text, warnings: [text]}
    """

  private static let unformed = """
    status | {nodes: [{node: text, node_id: text, state: text}], verdict: text, warnings: [text]}
    config show | {settings: null, nodes: [{node: text, node_id: text, zone: text, host: text, weight: fraction,
      shards: integer, durability: text, release: text, client_address: text, peer_address: text}]}
    health | null
    doctor | {nodes: integer, findings: [{weight: text, code: text, subject: null, cause: text, remedy: text}],
      verdict: text}
    """
}
