import Glibc
import KVModel
import Testing

/// Only the reserve of a node's disk is left (hazard 40).
extension ProcessTests {
  @Suite(.enabled(if: geteuid() == 0, "mounting a file system needs root")) struct FullDiskProcessTests {
    private static let series = "kvnode_disk_nearly_full"

    /// Leaves so many percent of the file system of n1's data.
    private static func fill(_ node: NodeProcess, toPercent percent: UInt64) throws {
      var found = statvfs()
      guard statvfs(node.data, &found) == 0 else { throw systemError("statvfs") }
      let free = UInt64(found.f_bavail) * UInt64(found.f_frsize)
      let wanted = UInt64(found.f_blocks) * UInt64(found.f_frsize) * (100 - percent) / 100
      let file = open(filler(node), O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
      guard file >= 0 else { throw systemError("open") }
      defer { close(file) }
      guard posix_fallocate(file, 0, off_t(free - min(free, wanted))) == 0 else { throw systemError("fallocate") }
    }

    private static func filler(_ node: NodeProcess) -> String { node.data + "/filler" }

    @Test func `a node whose disk is nearly full refuses new values, does all else, and takes them again`() async throws
    {
      try await Cluster.run(Cluster.Options(tmpfsBytes: 400 << 20)) { cluster in
        let node = cluster[1]
        let client = try await node.connect()
        #expect(try await client.put("key", "value", quorum: .all).isWritten)
        #expect(try await node.scrape()[Self.series] == 0)
        try Self.fill(node, toPercent: 97)
        try await node.metric(Self.series) { $0 == 1 }

        let refused = try #require(try await client.put("key", "other").failure)
        #expect(refused.code == .overloaded && refused.outcome == .rejected && refused.retryAfterMs > 0)
        #expect(refused.detail.contains("the disk of node") && refused.detail.contains("% full"), "\(refused)")
        #expect(try await node.scrape()[#"kvnode_requests_overloaded_total{limit="disk"}"#] == 1)
        // Reads, deletes, and its part in what others coordinate.
        #expect(try await client.value("key") == "value")
        #expect(try await cluster[2].connect().put("key", "through n2", quorum: .all).isWritten)
        #expect(try await client.value("key") == "through n2")
        let deletion = WriteRequest(
          key: try Key("key".utf8), quorum: .all, requestID: RequestID(client: 7, sequence: 1), context: nil,
          payload: .delete)
        guard case .written = try await client.ask(.write(deletion)) else {
          Issue.record("a deletion is refused")
          return
        }
        #expect(try await client.value("key") == nil)
        // A client of the library goes to another owner.
        #expect(try await cluster.kvctl("put", "key", "again").status == 0)
        try await Self.expectTold(node, cluster)

        try #require(unlink(Self.filler(node)) == 0)
        try await node.metric(Self.series) { $0 == 0 }
        #expect(try await client.put("key", "last", quorum: .all).isWritten)
        #expect(node.logSinceStart.contains("the disk has room again"))
      }
    }

    private static func expectTold(_ node: NodeProcess, _ cluster: Cluster) async throws {
      #expect(node.logSinceStart.contains("the disk is nearly full"), "\(node.logTail)")
      #expect(try await node.admin("/readyz").status == "200", "it still serves")
      let status = try await cluster.kvctl("status")
      #expect(status.status == 0 && status.text.contains("n1 refuses new values: its disk is 97 % full"), "\(status)")
      #expect(try await cluster.kvctl("health").status == 9)
      let doctor = try await cluster.kvctl("doctor")
      #expect(doctor.text.contains("it refuses new values, deletes go on"), "\(doctor)")
    }
  }
}
