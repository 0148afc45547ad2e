import FakeNodes
import Foundation
import KVModel
import Synchronization
import Testing

@testable import kvctl

/// `kvctl repair` and `kvctl tombstones`, as processes against fake nodes that answer as the test wants.
@Suite struct `Verbs about copies` {
  private func data(_ ended: KvctlProcess.Ended) throws -> Any {
    let document = try JSONSerialization.jsonObject(with: Data(ended.output)) as? [String: Any]
    return try #require(document?["data"])
  }

  @Test func `the status has a row for each node and peer, and says what was never compared`() async throws {
    let cluster = try await FakeCluster.start(3)
    cluster.nodes[1].with {
      $0.script = { request, _ in
        guard case .repair(.status(let shard)) = request else { return nil }
        var peer = RepairStatus.Peer(node: NodeID(1))
        (peer.pairs, peer.never, peer.oldestMs, peer.urgent, peer.running) = (32, shard == 0 ? 2 : 0, 5_000, 1, 1)
        (peer.mended, peer.failed, peer.marks) = (10, 2, 4)
        return .reply(.repaired(.status(RepairStatus(shards: 2, peers: [peer]))))
      }
    }
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let ended = try await kvctl("repair", "status")
    #expect(ended.status == 0, "\(ended.errors)")
    let rows = ended.text.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true) }
    #expect(rows.first?.first == "NODE" && rows.count == 1 + 2 + 1 + 2)
    #expect(
      rows.contains { $0 == ["n2", "n1", "64", "never", "2", "2", "20", "4", "8"] }, "both shards: \(ended.text)")
    #expect(rows.contains { $0 == ["n1", "n3", "64", "1m30s", "0", "0", "3", "0", "0"] }, "\(ended.text)")
    let json = try #require(try data(try await kvctl("repair", "status", "--json")) as? [[String: Any]])
    let row = try #require(json.first { $0["node"] as? String == "n2" })
    #expect(row["never_compared"] as? Int == 2 && row["oldest_ms"] is NSNull && row["leaves_marked"] as? Int == 8)
    await cluster.nodes[2].stop()
    let ill = try await kvctl("repair", "status")
    #expect(ill.status == 9 && ill.text.contains("n2"))
    await cluster.stop()
    #expect(try await kvctl("repair", "status").status == 3)
  }

  @Test func `a run asks every owner for every partition, or those that are named, and waits until none is due`()
    async throws
  {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    func asked() -> Int {
      cluster.nodes.reduce(0) {
        $0 + $1.requests.count { if case .repair(.compare) = $0.request { true } else { false } }
      }
    }
    let ended = try await kvctl("repair", "run")
    #expect(ended.status == 0 && ended.text == "384 comparisons made; what differed is mended\n", "\(ended.text)")
    #expect(asked() == 3 * 64)
    let one = try await kvctl("repair", "run", "--node", "n2", "--partition", "7", "--no-wait", "--json")
    let document = try #require(try data(one) as? [String: Any])
    #expect(asked() == 3 * 64 + 1 && document["comparisons"] as? Int == 2 && document["completed"] is NSNull)
    #expect(try await kvctl("repair", "run", "--node", "nobody").status == 2)
    #expect(try await kvctl("repair", "run", "--partition", "64").status == 2)
    cluster.nodes[0].with {
      $0.script = { request, _ in
        guard case .repair(.compare) = request else { return nil }
        return .reply(.failed(Failure(.invalidRequest, detail: "this node compares nothing")))
      }
    }
    let refused = try await kvctl("repair", "run")
    #expect(refused.status == 9 && refused.errors.contains("this node compares nothing"))
    await cluster.stop()
  }

  @Test func `what too many owners have lost is listed, and accepted where it was told`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let nothing = try await kvctl("repair", "accept-loss")
    #expect(nothing.status == 0 && nothing.text == "nothing is lost beyond what the other owners have\n")
    func accepted(_ place: Int) -> [UInt16] {
      cluster.nodes[place].requests.compactMap {
        if case .repair(.acceptLoss(let partition)) = $0.request { partition.index } else { nil }
      }
    }
    func lose(_ place: Int, keeps: Bool) {
      let left = Mutex([Losses.Entry(partition: PartitionID(7), keys: 0), .init(partition: PartitionID(9), keys: 2)])
      cluster.nodes[place].with {
        $0.script = { request, _ in
          switch request {
          case .repair(.losses(let shard)):
            let entries = shard == 1 ? left.withLock { $0 } : []
            return .reply(.repaired(.losses(Losses(shards: 2, entries: entries))))
          case .repair(.acceptLoss(let partition)):
            if !keeps { left.withLock { $0.removeAll { $0.partition == partition } } }
            return .reply(.repaired(.accepted(parts: 1)))
          default: return nil
          }
        }
      }
    }
    lose(0, keeps: false)
    lose(1, keeps: false)
    let one = try await kvctl("repair", "accept-loss", "--node", "n2", "--partition", "7", "--yes", "--json")
    let document = try #require(try data(one) as? [String: Any])
    #expect(one.status == 0 && document["accepted"] as? Int == 1 && document["left"] as? Int == 0, "\(one.errors)")
    #expect(accepted(0) == [] && accepted(1) == [7])
    let rest = try await kvctl("repair", "accept-loss", "--yes")
    #expect(rest.status == 0 && rest.text.contains("3 parts accepted") && rest.errors.contains("all of it"))
    #expect(rest.errors.contains("acknowledged may be missing") && accepted(0) == [7, 9] && accepted(1) == [7, 9])
    lose(2, keeps: true)
    let kept = try await kvctl("repair", "accept-loss", "--yes", "--timeout", "1s")
    #expect(kept.status == 9 && kept.text.contains("2 losses left") && accepted(2) == [7, 9])
    #expect(try await kvctl("repair", "accept-loss", "--node", "nobody").status == 2)
    await cluster.stop()
  }

  @Test func `a verification that finds all equal is 0, and says what it read`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let ended = try await kvctl("repair", "verify", "--rate", "1GiB")
    #expect(ended.status == 0, "\(ended.text)\(ended.errors)")
    #expect(ended.text.contains("64 partitions read on 3 nodes, 1,920 records"))
    #expect(ended.text.contains("all owners agree, and their trees with their data"))
    let one = try #require(
      try data(try await kvctl("repair", "verify", "--partition", "3", "--json")) as? [String: Any])
    #expect(one["equal"] as? Bool == true && one["partitions"] as? Int == 1 && one["records"] as? Int == 30)
    #expect(try await kvctl("repair", "verify", "--rate", "fast").status == 2)
    #expect(try await kvctl("repair", "verify", "--partition", "-1").status == 2)
    for node in cluster.nodes {
      node.with {
        $0.script = { request, _ in
          guard case .repair(.rescan(let partition, _, _)) = request, partition.index >= 15 else { return nil }
          return .reply(.failed(Failure(.invalidRequest, detail: "this node reads no further")))
        }
      }
    }
    let cut = try await kvctl("repair", "verify")
    #expect(cut.status == 9 && cut.errors.contains("this node reads no further"))
    #expect(cut.text.contains("15 of 64 partitions read on 3 nodes"), "\(cut.text)")
    #expect(cut.text.contains("what was read agrees") && !cut.text.contains("all owners agree"))
    await cluster.stop()
  }

  @Test func `a copy that differs, a tree that has drifted, a damaged record and a silent owner are 9, by name`()
    async throws
  {
    let cluster = try await FakeCluster.start(3)
    cluster.nodes[2].with {
      $0.script = { request, _ in
        guard case .repair(.rescan(let partition, _, let bytesMax)) = request else { return nil }
        var rescan = Rescan(root: Digest(low: partition.index == 5 ? 99 : 1, high: 2))
        if bytesMax > 0 {
          if partition.index == 6 { rescan.differingLeaves = 1 }
          if partition.index == 7 { rescan.damaged = 2 }
        }
        return .reply(.repaired(.rescanned(rescan)))
      }
    }
    let verifying = Task { await KvctlInside(endpoints: cluster.endpoints)("repair", "verify", "--json") }
    // All is read when roots alone are asked for again; what differs then would be looked at for ten seconds.
    while !cluster.nodes[2].requests.contains(where: { $0.request.isRootAgain }) {
      try await Task.sleep(for: .milliseconds(5))
    }
    verifying.cancel()
    let inside = await verifying.value
    #expect(inside.status == .degraded)
    #expect(
      Shape.of(inside.report.data).hasSuffix(
        "differing: [{partition: integer, owners: [{node: text, node_id: text, root: text, records: integer, "
          + "leaves_drifted: integer, damaged_records: integer}]}], drifted: [{partition: integer, "
          + "owners: [{node: text, node_id: text, root: text, records: integer, leaves_drifted: integer, "
          + "damaged_records: integer}]}]}"))
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let lines = inside.report.lines
    #expect(lines.contains { $0.hasPrefix("partition 5: its owners differ: ") }, "\(lines)")
    #expect(lines.contains { $0 == "partition 6: the tree of n3 is not that of its data, in 1 leaf" })
    #expect(lines.contains { $0 == "partition 7: n3 has 2 damaged records" })
    await cluster.nodes[1].stop()
    let silent = try await kvctl("repair", "verify", "--partition", "1")
    #expect(silent.status == 9 && silent.errors.contains("127.0.0.1"))
    await cluster.stop()
  }

  @Test func `tombstones are counted from a sample of the partitions, or from all`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let sample = try #require(
      try data(try await kvctl("tombstones", "stats", "--sample", "16", "--rate", "1GiB", "--json")) as? [[String: Any]]
    )
    let row = try #require(sample.first { $0["node"] as? String == "n1" })
    #expect(row["is_estimate"] as? Bool == true && row["partitions_read"] as? Int == 16)
    #expect(row["tombstones"] as? Int == 128 && row["swept"] as? Int == 64 && row["records"] as? Int == 640)
    let all = try await kvctl("tombstones", "stats", "--all")
    #expect(all.status == 0 && all.text.contains("64 of 64") && !all.text.contains("~"), "\(all.text)")
    #expect(all.text.contains("128") && all.text.hasPrefix("NODE  TOMBSTONES"))
    #expect(try await kvctl("tombstones", "stats", "--sample", "0").status == 2)
    await cluster.stop()
  }

  @Test func `a sample is spread over all partitions, each once`() {
    let partitions = (0..<1_000).map { PartitionID($0) }
    let sample = DeadCount.sample(of: partitions, most: 64)
    #expect(sample.count == 64 && Set(sample).count == 64 && sample.first == PartitionID(0))
    #expect(zip(sample, sample.dropFirst()).allSatisfy { $1.index - $0.index >= 15 })
    #expect(DeadCount.sample(of: partitions, most: 5_000) == partitions)
  }

  @Test func `progress is a bar that fills`() {
    #expect(
      SharedProgress.text("things", 0, of: 2_000) == "[" + String(repeating: ".", count: 30) + "] 0 of 2,000 things")
    #expect(SharedProgress.text("things", 2_000, of: 2_000).hasPrefix("[" + String(repeating: "#", count: 30) + "]"))
  }
}

extension ClientRequest {
  fileprivate var isRootAgain: Bool { if case .repair(.rescan(_, _, 0)) = self { true } else { false } }
}
