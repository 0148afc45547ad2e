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

    private static func descriptors(of pid: pid_t) throws -> (highest: Int, count: Int) {
      guard let directory = opendir("/proc/\(pid)/fd") else { throw systemError("opendir") }
      defer { closedir(directory) }
      var numbers: [Int] = []
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if let number = Int(name) { numbers.append(number) }
      }
      return (numbers.max() ?? 0, numbers.count)
    }

    @Test func `under a low limit clients are told that there is no place, and the peers have theirs`() async throws {
      try await Cluster.run(Cluster.Options(descriptors: 200)) { cluster in
        #expect(cluster[1].logSinceStart.contains("fewer descriptors are allowed"), "\(cluster[1].logTail)")
        #expect(cluster[1].logSinceStart.contains("connections=75"), "\(cluster[1].logTail)")
        var connections: [RawConnection] = []
        for _ in 0..<300 { connections.append(try RawConnection.open(cluster[1].clientPort)) }
        try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 == 75 }
        // A burst may be accepted faster than it is told and closed; then descriptors run out for a moment.
        _ = try await eventually(within: .seconds(10), "the others are turned away") {
          let scrape = try await cluster[1].scrape()
          let told = scrape[#"kvnode_connections_refused_total{reason="connections"}"#] ?? 0
          return told >= 50 && told + (scrape[Self.refused] ?? 0) == 225 ? true : nil
        }
        // A peer that comes back finds a place, and quorums hold.
        try await cluster[2].kill()
        try cluster[2].launch()
        try await cluster[1].metric("kvnode_peers_up", within: .seconds(20)) { $0 == 2 }
        #expect(try await cluster[3].connect().put("key", "value", quorum: .all).isWritten)
        connections.removeAll()
        try await cluster[1].metric(#"kvnode_connections{kind="client"}"#) { $0 == 0 }
        #expect(try await cluster[1].connect().value("key") == "value")
      }
    }

    @Test func `without a descriptor left it closes newcomers, waits, and does not spin`() async throws {
      try await Cluster.run { cluster in
        let client = try await cluster[1].connect()
        #expect(try await client.put("key", "value", quorum: .all).isWritten)
        // No number is left above what is open; a few clients take those that are free below.
        let pid = try cluster[1].pid
        let (highest, count) = try Self.descriptors(of: pid)
        try await Files.run("/usr/bin/prlimit", "--pid", "\(pid)", "--nofile=\(highest + 1):4096")
        var fillers: [RawConnection] = []
        for _ in 0..<(highest + 1 - count + 10) { fillers.append(try RawConnection.open(cluster[1].clientPort)) }
        try await Task.sleep(for: .milliseconds(500))
        var turnedAway = 0
        for _ in 0..<5 {
          let newcomer = try RawConnection.open(cluster[1].clientPort)
          if let bytes = try await newcomer.readToEnd(within: .seconds(5)), bytes.isEmpty { turnedAway += 1 }
        }
        #expect(turnedAway == 5, "they see the end, not silence")
        let began = try Self.cpuSeconds(of: cluster[1])
        try await Task.sleep(for: .seconds(1))
        let used = try Self.cpuSeconds(of: cluster[1]) - began
        #expect(used < 0.7, "\(used) s of CPU in a second: does the listener spin?")
        // Who is connected, and the peers, are served.
        #expect(try await client.value("key") == "value")
        #expect(try await cluster[2].connect().put("key", "other", quorum: .all).isWritten)
        try await Files.run("/usr/bin/prlimit", "--pid", "\(cluster[1].pid)", "--nofile=4096:4096")
        try await cluster[1].metric(Self.refused) { $0 >= 5 }
        #expect(try await cluster[1].connect().value("key") == "other")
        withExtendedLifetime(fillers) {}
      }
    }
  }
}
