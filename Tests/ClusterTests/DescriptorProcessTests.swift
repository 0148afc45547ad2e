import Glibc
import KVModel
import Testing

/// Too few descriptors (hazard 51).
extension ProcessTests {
  @Suite struct DescriptorProcessTests {
    private static let refused = #"kvnode_connections_refused_total{reason="out_of_descriptors"}"#

    /// Seconds of CPU that the process has used.
    private static func cpuSeconds(of node: NodeProcess) throws -> Double {
      let fields = try Files.text("/proc/\(node.pid)/stat").split(separator: ")").last?.split(separator: " ") ?? []
      guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else {
        throw HarnessError("/proc/\(try node.pid)/stat cannot be read")
      }
      return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    @Test func `under a low limit clients are told that there is no place, and the peers have theirs`() async throws {
      try await Cluster.run(Cluster.Options(descriptors: 200)) { cluster in
        #expect(cluster[1].logSinceStart.contains("fewer descriptors are allowed"), "\(cluster[1].logTail)")
        #expect(cluster[1].logSinceStart.contains("connections=100"), "\(cluster[1].logTail)")
        var connections: [RawConnection] = []
        for _ in 0..<300 { connections.append(try RawConnection.open(cluster[1].clientPort)) }
        try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 == 100 }
        try await cluster[1].metric(#"kvnode_connections_refused_total{reason="connections"}"#) { $0 >= 200 }
        // A peer that comes back finds a place, and quorums hold.
        try await cluster[2].kill()
        try cluster[2].launch()
        try await cluster[1].metric("kvnode_peers_up", within: .seconds(20)) { $0 == 2 }
        #expect(try await cluster[3].connect().put("key", "value", quorum: .all).isWritten)
        #expect(try await cluster[1].scrape()[Self.refused] == 0)
        connections.removeAll()
        try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 == 0 }
        #expect(try await cluster[1].connect().value("key") == "value")
      }
    }

    @Test func `without a descriptor left it closes newcomers, waits, and does not spin`() async throws {
      try await Cluster.run { cluster in
        let client = try await cluster[1].connect()
        #expect(try await client.put("key", "value", quorum: .all).isWritten)
        // Below what is open: every accept fails from now on.
        try await Files.run("/usr/bin/prlimit", "--pid", "\(cluster[1].pid)", "--nofile=10:4096")
        let began = try Self.cpuSeconds(of: cluster[1])
        var turnedAway = 0
        for _ in 0..<20 {
          let newcomer = try RawConnection.open(cluster[1].clientPort)
          if let bytes = try await newcomer.readToEnd(within: .seconds(5)), bytes.isEmpty { turnedAway += 1 }
        }
        #expect(turnedAway == 20, "they see the end, not silence")
        try await Task.sleep(for: .seconds(1))
        let used = try Self.cpuSeconds(of: cluster[1]) - began
        #expect(used < 0.8, "\(used) s of CPU in a second and more: does the listener spin?")
        // Who is connected, and the peers, are served.
        #expect(try await client.value("key") == "value")
        #expect(try await cluster[2].connect().put("key", "other", quorum: .all).isWritten)
        try await Files.run("/usr/bin/prlimit", "--pid", "\(cluster[1].pid)", "--nofile=4096:4096")
        try await cluster[1].metric(Self.refused) { $0 >= 20 }
        #expect(try await cluster[1].connect().value("key") == "other")
      }
    }
  }
}
