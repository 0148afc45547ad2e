import KVModel
import Testing

/// What members know of each other: killed, stopped, moved and copied nodes. DESIGN.md §7.
extension ProcessTests {
  @Suite struct GossipProcessTests {
    /// Generous: the machine that runs this runs much else.
    private static let bound = Duration.seconds(8)

    private static func id(_ node: NodeProcess) async throws -> NodeID {
      try await node.describe(within: .seconds(10)) { _ in true }.member.id
    }

    /// How long it took until a node says one of these of another one.
    @discardableResult
    private static func awaitHealth(
      _ healths: [NodeDescription.Peer.Health], of id: NodeID, at node: NodeProcess
    ) async throws -> Duration {
      let begin = ContinuousClock.now
      _ = try await node.describe(within: bound) { description in
        description.peers.contains { $0.node == id && healths.contains($0.health) }
      }
      return begin.duration(to: .now)
    }

    @Test func `a killed node is known to be dead by all, in the log and in the status, and alive when it is back`()
      async throws
    {
      try await Cluster.run(Cluster.Options(nodes: 5)) { cluster in
        let id = try await Self.id(cluster[4])
        // Nobody is accused while links are only coming up.
        try await Task.sleep(for: .seconds(3))
        try await cluster.kill([4])
        for number in [1, 2, 3, 5] { try await Self.awaitHealth([.dead], of: id, at: cluster[number]) }
        for number in [1, 2, 3, 5] {
          _ = try await eventually(within: .seconds(2), "n\(number) logs it") {
            cluster[number].logSinceStart.contains("a member is dead") ? true : nil
          }
        }
        let status = try await cluster.kvctl("status")
        #expect(status.text.split(separator: "\n").contains { $0.contains("n4") && $0.contains("down!") }, "\(status)")
        try await cluster.restart([4])
        for number in [1, 2, 3, 5] { try await Self.awaitHealth([.up], of: id, at: cluster[number]) }
      }
    }

    @Test func `a stopped node that nobody asks anything is not reported up`() async throws {
      try await Cluster.run { cluster in
        let id = try await Self.id(cluster[3])
        try await Task.sleep(for: .seconds(3))
        try await cluster[3].pause()
        for number in [1, 2] {
          try await Self.awaitHealth([.slow, .suspect, .dead], of: id, at: cluster[number])
          try await Self.awaitHealth([.dead], of: id, at: cluster[number])
        }
        let metrics = try await cluster[1].admin("/metrics").body
        #expect(metrics.contains("kvnode_members{state=\"dead\"} 1"), "\(metrics)")
        try cluster[3].resume()
        for number in [1, 2] { try await Self.awaitHealth([.up, .slow], of: id, at: cluster[number]) }
        #expect(try await cluster[3].connect().put("key", "value", quorum: .all).isWritten)
      }
    }

    @Test func `a node that starts at other addresses is followed, and clients are told where it is`() async throws {
      try await Cluster.run { cluster in
        let id = try await Self.id(cluster[3])
        #expect(try await cluster[3].terminate().end == .exited(0))
        let moved = try NodeProcess(number: 9, in: cluster.root)
        try moved.launch(data: cluster[3].data)
        do {
          for number in [1, 2] {
            try await Self.awaitHealth([.up], of: id, at: cluster[number])
            _ = try await eventually(within: Self.bound, "n\(number) tells clients where n3 is") {
              guard case .layout(let layout, _) = try await cluster[number].connect().ask(.fetchLayout) else {
                return nil as Bool?
              }
              return layout.member(id)?.clientAddress.port == moved.clientPort ? true : nil
            }
          }
          // Whoever has the lower id dials: it must find n3 where it is now.
          for number in [1, 2] { try await cluster.kill([number]) }
          for number in [1, 2] { try cluster[number].launch() }
          for number in [1, 2] { try await Self.awaitHealth([.up], of: id, at: cluster[number]) }
          #expect(try await cluster[1].connect().put("key", "value", quorum: .all).isWritten)
        } catch {
          await moved.end()
          throw error
        }
        await moved.end()
      }
    }

    @Test func `hazard 34: a process with a copy of the data directory gets no links, and says so`() async throws {
      try await Cluster.run { cluster in
        let id = try await Self.id(cluster[1])
        let copy = cluster.root + "/copy"
        try await Files.run("/bin/cp", "-a", cluster[1].data, copy)
        let clone = try NodeProcess(number: 9, in: cluster.root)
        try clone.launch(data: copy)
        do {
          _ = try await eventually(within: Self.bound, "the copy says so") {
            clone.log.contains("another process runs with this node's id") ? true : nil
          }
          let description = try await clone.describe(within: .seconds(5)) { _ in true }
          #expect(description.state == .unconfirmed, "\(description)")
          for number in [2, 3] {
            try await Self.awaitHealth([.up], of: id, at: cluster[number])
            #expect(!cluster[number].logSinceStart.contains("a peer is unreachable"), "\(cluster[number].logTail)")
          }
          #expect(try await cluster[1].connect().put("key", "value", quorum: .all).isWritten)
        } catch {
          await clone.end()
          throw error
        }
        await clone.end()
      }
    }
  }

  @Suite struct SeedProcessTests {
    private static func started(
      _ number: Int, in root: String, seeds: String, data: String? = nil, _ body: (NodeProcess) async throws -> Void
    ) async throws {
      let node = try NodeProcess(number: number, in: root, .init(flags: ["--seeds", seeds]))
      try node.launch(data: data)
      do { try await body(node) } catch {
        await node.end()
        throw HarnessError("\(error)\n\(node.logTail)")
      }
      await node.end()
    }

    @Test func `hazard 31: a new node with seeds learns their cluster, and forms none of its own`() async throws {
      try await Cluster.run { cluster in
        let known = try await cluster[1].describe(within: .seconds(5)) { _ in true }
        let seeds = "127.0.0.1:\(cluster[1].peerPort),127.0.0.1:\(cluster[2].peerPort)"
        try await Self.started(8, in: cluster.root, seeds: seeds) { node in
          let description = try await node.describe(within: .seconds(10)) { $0.state == .outside }
          #expect(description.cluster == known.cluster && description.layoutVersion == known.layoutVersion)
          guard case .layout(let layout, _) = try await node.connect().ask(.fetchLayout) else {
            return #expect(Bool(false), "it knows the layout")
          }
          #expect(layout.members.count == 3)
          #expect(node.log.contains("a seed knows a cluster"))
          guard case .failed(let failure) = try await node.connect().ask(.reserveCluster(ClusterID(77))) else {
            return #expect(Bool(false), "it forms no other cluster")
          }
          #expect(failure.code == .otherCluster)
        }
      }
    }

    @Test
    func `hazard 35: a node whose seeds do not answer forms no cluster, and one with itself as seed does not start`()
      async throws
    {
      try await Cluster.run(Cluster.Options(nodes: 1, isFormed: false)) { cluster in
        // Nobody listens there.
        try await Self.started(8, in: cluster.root, seeds: "127.0.0.1:9") { node in
          _ = try await node.describe(within: .seconds(10)) { $0.state == .uninitialised }
          guard case .failed(let failure) = try await node.connect().ask(.reserveCluster(ClusterID(77))) else {
            return #expect(Bool(false), "it forms no cluster")
          }
          #expect(failure.code == .unavailable && failure.detail.contains("seeds"), "\(failure)")
        }
        let own = try NodeProcess(number: 7, in: cluster.root)
        let alone = try NodeProcess(
          number: 6, in: cluster.root,
          .init(flags: ["--peer-listen", "127.0.0.1:\(own.peerPort)", "--seeds", "127.0.0.1:\(own.peerPort)"]))
        try alone.launch()
        #expect(try await alone.ended(within: .seconds(10)) == .exited(2))
        #expect(alone.log.contains("they point only to this node itself"), "\(alone.logTail)")
      }
    }

    @Test func `hazard 36: a node whose seeds belong to another cluster is told, and goes on in its own`() async throws
    {
      try await Cluster.run { cluster in
        let known = try await cluster[1].describe(within: .seconds(5)) { _ in true }
        try await Cluster.run { other in
          #expect(try await other[1].terminate().end == .exited(0))
          let seeds = "127.0.0.1:\(cluster[1].peerPort)"
          try await Self.started(9, in: other.root, seeds: seeds, data: other[1].data) { node in
            _ = try await eventually(within: .seconds(15), "it is told") {
              node.log.contains("a seed refuses this node") && node.log.contains("otherCluster") ? true : nil
            }
            let description = try await node.describe(within: .seconds(10)) { $0.state == .serving }
            #expect(description.cluster != known.cluster)
          }
        }
      }
    }
  }
}
