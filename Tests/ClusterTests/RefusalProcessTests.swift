import KVModel
import Testing

/// Data directories that a node must not use: it ends with an exit code and says what to do.
extension ProcessTests {
  @Suite struct RefusalProcessTests {
    private static func expectRefused(
      _ node: NodeProcess, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      try node.launch()
      #expect(try await node.ended(within: .seconds(10)) == .exited(1), sourceLocation: sourceLocation)
      for word in words {
        #expect(
          node.logSinceStart.contains(word), "no \"\(word)\" in:\n\(node.logTail)", sourceLocation: sourceLocation)
      }
    }

    @Test func `a data directory of a running process is refused, and that process goes on`() async throws {
      try await Cluster.run { cluster in
        let second = try NodeProcess(number: 9, in: cluster.root)
        try second.launch(data: cluster[1].data)
        #expect(try await second.ended(within: .seconds(10)) == .exited(1))
        #expect(second.log.contains("is in use by process"), "\(second.logTail)")
        #expect(second.log.contains("stop it first"), "\(second.logTail)")
        #expect(try await cluster[1].connect().put("key", "value").isWritten)
      }
    }

    @Test func `a shard of another node is refused`() async throws {
      try await Cluster.run { cluster in
        try await cluster.kill([1, 2])
        try await Files.run("/bin/rm", "-rf", cluster[1].data + "/shard-0")
        try await Files.run("/bin/cp", "-a", cluster[2].data + "/shard-0", cluster[1].data + "/shard-0")
        try await Self.expectRefused(cluster[1], "belongs to node", "give each node its own data directory")
      }
    }

    /// An old node.state, from before `cluster init`, beside the shard; then another cluster is formed.
    @Test func `a shard of another cluster is refused`() async throws {
      try await Cluster.run(Cluster.Options(isFormed: false)) { cluster in
        for node in cluster.nodes { #expect(try await node.terminate().end == .exited(0)) }
        for node in cluster.nodes {
          try await Files.run("/bin/cp", node.data + "/node.state", node.directory + "/node.state.old")
          try node.launch()
        }
        try await cluster.awaitListening()
        try await cluster.form()
        #expect(try await cluster.kvctl("put", "key", "value").status == 0)
        try await cluster.kill(cluster.everyNumber)
        for node in cluster.nodes {
          try await Files.run("/bin/cp", node.directory + "/node.state.old", node.data + "/node.state")
          try node.launch()
        }
        try await cluster.awaitListening()
        // The nodes get the layout one after the other; whoever has it opens its shard, and ends. The first to do so
        // may break the forming off, so that the others stay without a cluster.
        _ = try await cluster.kvctl("cluster", "init", "--yes", "--timeout", "2s")
        _ = try await eventually(within: .seconds(10), "a node refuses its shard") {
          cluster.nodes.contains { !$0.isRunning } ? true : nil
        }
        for node in cluster.nodes where !node.isRunning {
          #expect(try await node.ended(within: .zero) == .exited(1))
          #expect(node.logSinceStart.contains("holds data of cluster"), "\(node.logTail)")
        }
      }
    }

    @Test func `state of a newer format, damaged state and damaged logs are refused`() async throws {
      try await Cluster.run { cluster in
        // On all owners: one that is killed may miss what two others have acknowledged.
        for key in 0..<200 {
          #expect(try await cluster[1].connect().put("key-\(key)", "value", quorum: .all).isWritten)
        }
        try await cluster[1].kill()
        let path = cluster[1].data + "/node.state"
        let state = try Files.read(path)

        try Files.write([state[0] + 1] + state.dropFirst(), to: path)
        try await Self.expectRefused(
          cluster[1], path, "format revision \(state[0] + 1)", "start the release that wrote it, or a later one")
        for damaged in [
          Array(state.dropLast()), state.dropLast(5) + [state[state.count - 5] ^ 1] + state.suffix(4), [],
        ] {
          try Files.write(damaged, to: path)
          try await Self.expectRefused(cluster[1], path, "is damaged", "restore it")
        }
        try Files.write(state, to: path)

        let shard = cluster[1].data + "/shard-0"
        let logs = Files.names(in: shard).filter { $0.hasSuffix(".log") }.map { shard + "/" + $0 }
        let log = try #require(try logs.max { try Files.read($0).count < Files.read($1).count })
        let bytes = try Files.read(log)
        var damaged = bytes
        damaged[bytes.count / 2] ^= 0xff
        try Files.write(damaged, to: log)
        try await Self.expectRefused(cluster[1], log, "is damaged", "nothing was skipped")

        // With the old bytes back it starts, and has all: no refused start has changed anything.
        try Files.write(bytes, to: log)
        try await cluster.restart([1])
        let one = try await cluster[1].connect()
        for key in 0..<200 { #expect(try await one.value("key-\(key)", .owners(1)) == "value") }
      }
    }

    @Test func `data without the state that it belongs to is refused`() async throws {
      try await Cluster.run { cluster in
        try await cluster[1].kill()
        try await Files.run("/bin/rm", cluster[1].data + "/node.state")
        try await Self.expectRefused(cluster[1], "node.state is missing beside data", "restore it")
      }
    }
  }
}
