import FakeNodes
import Foundation
import KVModel
import Testing

@testable import kvctl

/// Flags that no other test uses, as a process against fake nodes.
@Suite struct `Flags of the program` {
  @Test func `a sort key is the second half of a key, for every verb about keys`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    #expect(try await kvctl("put", "user", "Ada", "--sort-key", "name").status == 0)
    #expect(try await kvctl("get", "user", "--sort-key", "name").text == "Ada")
    #expect(try await kvctl("get", "user").status == 5, "another key")
    let key = try Key(partitionKey: Array("user".utf8), sortKey: Array("name".utf8))
    #expect(cluster.store[key].versions.count == 1)
    let explained = try await kvctl("explain", "user", "--sort-key", "name", "--json")
    #expect(explained.text.contains(#""sort_key": "name""#) && explained.text.contains(#""value_bytes": 3"#))
    // Owners depend on the partition key alone.
    let located = try await kvctl("ring", "locate", "user", "--sort-key", "name", "--json")
    let other = try await kvctl("ring", "locate", "user", "--sort-key", "age", "--json")
    #expect(located.status == 0 && located.text.contains("\(NodeID(key.token.position))"))
    #expect(located.text.replacing("\"name\"", with: "\"age\"") == other.text)
    #expect(try await kvctl("delete", "user", "--sort-key", "name").status == 0)
    #expect(try await kvctl("get", "user", "--sort-key", "name").status == 5)
    await cluster.stop()
  }

  @Test func `the context of a deletion is for the next write`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    #expect(try await kvctl("put", "k", "v").status == 0)
    let deleted = try await kvctl("delete", "k", "--show-context")
    let token = try #require(deleted.errors.split(separator: "\n").first { $0.hasPrefix("context ") }?.dropFirst(8))
    #expect(try await kvctl("put", "k", "w", "--context", String(token)).status == 0)
    let read = try await kvctl("get", "k", "--json")
    #expect(read.text.contains(#""value": "w""#), "\(read.text)")
    await cluster.stop()
  }

  @Test func `bench takes its sizes, distribution, seed and warm-up, and says them in its document`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let ended = try await kvctl([
      "bench", "--load", "--workload", "get", "--records", "50", "--clients", "3", "--duration", "200ms", "--json",
      "--key-size", "32", "--distribution", "uniform", "--seed", "7", "--warmup", "50ms", "--consistency", "all",
    ])
    #expect(ended.status == 0, "\(ended.errors)")
    for field in [
      #""key_bytes": 32"#, #""distribution": "uniform""#, #""seed": "7""#, #""warmup_ms": 50"#,
      #""consistency": "all""#,
    ] { #expect(ended.text.contains(field), "\(field)") }
    #expect(cluster.nodes.flatMap(\.keyed).allSatisfy { $0.key?.partitionKey.count == 32 })
    await cluster.stop()
  }

  @Test func `top answers with a document, too`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(["top", "--json", "--watch", "100ms"]) {
      node.requests.count { $0.request == .describe } >= 3
    }
    #expect(ended.status == 130)
    #expect(ended.text.contains(#""schema": "kvctl/1""#) && ended.text.contains(#""writes_per_s""#), "\(ended.text)")
    await cluster.stop()
  }

  @Test func `the version, and a form of output that does not exist`() async throws {
    let kvctl = KvctlProcess(endpoints: ["127.0.0.1:1"])
    #expect(try await kvctl("--version").text == "kvctl 1\n")
    #expect(try await kvctl("status", "--output", "xml").status == 2)
    let cluster = try await FakeCluster.start(1)
    let lines = try await KvctlProcess(endpoints: cluster.endpoints)("status", "--output", "jsonl")
    #expect(lines.status == 0 && lines.text.hasPrefix("{"))
    await cluster.stop()
  }

  @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/script")))
  func `a terminal gets colours, unless it wants none`() async throws {
    let cluster = try await FakeCluster.start(1)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let coloured = try await kvctl.onTerminal("status")
    #expect(coloured.contains("n1") && coloured.contains("\u{1b}["), "\(coloured)")
    let plain = try await kvctl.onTerminal("status --no-color")
    #expect(plain.contains("n1") && !plain.contains("\u{1b}["), "\(plain)")
    await cluster.stop()
  }

  @Test func `a verb that is not there yet says so, and what there is`() async throws {
    let kvctl = KvctlProcess(endpoints: ["127.0.0.1:1"])
    for arguments in [["scan", "prefix"], ["--json", "scan"], ["scan"]] {
      let ended = try await kvctl(arguments)
      #expect(ended.status == 2 && ended.output.isEmpty, "\(arguments)")
      #expect(ended.errors.contains("there is no scan in this release"), "\(ended.errors)")
      #expect(ended.errors.contains("kvctl export --keys FILE"))
    }
  }
}

extension KvctlProcess {
  /// What a terminal shows: stdout and stderr of a process that has one.
  fileprivate func onTerminal(_ arguments: String) async throws -> String {
    let directory = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/script")
    process.arguments = ["-qec", "\(directory.path)/kvctl \(arguments)", "/dev/null"]
    var environment = ProcessInfo.processInfo.environment
    environment["KVCTL_ENDPOINTS"] = endpoints.joined(separator: ",")
    environment["TERM"] = "xterm"
    environment["NO_COLOR"] = nil
    process.environment = environment
    let output = try TemporaryFile([])
    defer { output.remove() }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle(forWritingAtPath: output.path)
    process.standardError = FileHandle.nullDevice
    try await process.runToEnd()
    return String(decoding: output.bytes, as: UTF8.self)
  }
}
