import FakeNodes
import Foundation
import KVModel
import Testing

@testable import kvctl

@Suite struct `The program` {
  @Test func `a value goes in and comes out untouched, through arguments, pipes and files`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let put = try await kvctl("put", "greeting", "hello")
    #expect(put.status == 0)
    #expect(put.output == [])
    #expect(put.errors.hasPrefix("written: durable on 2 owners"))
    #expect(try await kvctl("get", "greeting").output == Array("hello".utf8))
    let bytes = (0..<65_535).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(try await kvctl("put", "bytes", "-", input: bytes).status == 0)
    #expect(try await kvctl("get", "bytes").output == bytes)
    let file = try TemporaryFile(bytes)
    defer { file.remove() }
    #expect(try await kvctl("put", "file", "--file", file.path).status == 0)
    let copy = try TemporaryFile([])
    defer { copy.remove() }
    #expect(try await kvctl("get", "file", "--file", copy.path).output == [])
    #expect(copy.bytes == bytes)
    #expect(try await kvctl("put", "empty", input: []).status == 0)
    let empty = try await kvctl("get", "empty")
    #expect(empty.status == 0 && empty.output == [])
    await cluster.stop()
  }

  @Test func `an absent key exits with 5, in tables and in JSON`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let table = try await kvctl("get", "absent")
    #expect(table.status == 5)
    #expect(table.output == [])
    #expect(table.errors == "kvctl: error: there is no such key\n")
    let json = try await kvctl("get", "absent", "--json")
    #expect(json.status == 5)
    #expect(json.text.contains(#""schema": "kvctl/1""#))
    #expect(json.text.contains(#""code": "not_found""#))
    #expect(json.text.contains(#""found": false"#))
    #expect(json.text.contains(#""cluster": "000000000000feed""#))
    #expect(json.text.contains(#""layout": 1"#))
    await cluster.stop()
  }

  @Test func `siblings are told on stderr, shown by json, and merged with the context`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let before = try await kvctl("get", "cart", "--show-context")
    let token = try #require(before.errors.split(separator: "\n").first { $0.hasPrefix("context ") }?.dropFirst(8))
    #expect(try await kvctl("put", "cart", "a", "--context", String(token)).status == 0)
    #expect(try await kvctl("put", "cart", "b", "--context", String(token)).status == 0)
    let both = try await kvctl("get", "cart", "--show-context")
    #expect(both.text == "b")
    #expect(both.errors.contains("2 concurrent versions"))
    let joined = try #require(both.errors.split(separator: "\n").first { $0.hasPrefix("context ") }?.dropFirst(8))
    #expect(try await kvctl("put", "cart", "ab", "--context", String(joined)).status == 0)
    #expect(try await kvctl("get", "cart").errors == "")
    let other = try await kvctl("put", "other", "x", "--context", String(joined))
    #expect(other.status == 2)
    #expect(other.errors.contains("context"))
    await cluster.stop()
  }

  @Test func `usage errors are one line and 2`() async throws {
    let kvctl = KvctlProcess(endpoints: ["127.0.0.1:1"])
    let long = String(repeating: "k", count: 257)
    let calls: [[String]] = [
      ["get", ""], ["get", long], ["put", "k", "v", "--ttl", "0s"], ["get", "k", "--consistency", "some"],
      ["get", "k", "-r", "0"], ["get", "k", "--timeout", "0s"], ["get", "k", "--endpoints", "nowhere"],
      ["put", "k", "v", "--context", "nonsense"], ["put", "k", "xyz", "--hex"],
    ]
    for call in calls {
      let ended = try await kvctl(call)
      #expect(ended.status == 2, "\(call)")
      #expect(ended.errors.hasPrefix("kvctl: error: "), "\(call)")
      #expect(ended.errors.split(separator: "\n").count == 1, "\(call)")
    }
    for call in [["get"], ["get", "k", "--bogus"], ["get", "k", "--timeout", "5"], ["frobnicate"]] {
      let ended = try await kvctl(call)
      #expect(ended.status == 2, "\(call)")
      #expect(ended.errors.hasPrefix("kvctl: error: "), "\(call)")
    }
    let value = try await kvctl("put", "k", input: [UInt8](repeating: 0, count: Limits.valueBytesMax + 1))
    #expect(value.status == 2)
    #expect(value.errors.contains("more than 1048576 bytes"))
  }

  @Test func `nobody there is 3, within the timeout`() async throws {
    let cluster = try await FakeCluster.start(1)
    await cluster.stop()
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    for call in [["get", "k"], ["status"]] {
      let ended = try await kvctl(call)
      #expect(ended.status == 3, "\(call)")
      #expect(ended.errors.contains("Connection refused"), "\(call)")
    }
  }

  @Test func `no quorum is 7, an unknown outcome 8, a timeout 124`() async throws {
    let cluster = try await FakeCluster.start(1)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    cluster.nodes[0].script { request, _ in
      request.key == nil ? nil : .reply(.failed(Failure(.unavailable, needed: 2, got: 1)))
    }
    let read = try await kvctl("get", "k")
    #expect(read.status == 7)
    #expect(read.errors.contains("1 of 2 owners"))
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .silence }
    #expect(try await kvctl("put", "k", "v", "--timeout", "100ms").status == 8)
    #expect(try await kvctl("get", "k", "--timeout", "100ms").status == 124)
    await cluster.stop()
  }

  @Test func `a key with too many versions is 6, a damaged store 1`() async throws {
    let cluster = try await FakeCluster.start(1)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .failing(.tooManySiblings) }
    #expect(try await kvctl("put", "k", "v").status == 6)
    cluster.nodes[0].script { request, _ in request.key == nil ? nil : .failing(.storageFailed) }
    #expect(try await kvctl("put", "k", "v").status == 1)
    await cluster.stop()
  }

  @Test func `an interrupted write is 130 and says that its outcome is unknown`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    node.script { request, _ in request.key == nil ? nil : .silence }
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(["put", "k", "v"]) { !node.keyed.isEmpty }
    #expect(ended.status == 130)
    #expect(ended.errors.contains("interrupted; the outcome is unknown"))
    await cluster.stop()
  }

  @Test func `cluster init forms, repeats without harm, and status and health then agree`() async throws {
    let cluster = try await FakeCluster.unformed(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    #expect(try await kvctl("status").text.contains("WARN  no cluster is formed"))
    #expect(try await kvctl("health").status == 1)
    let formed = try await kvctl("cluster", "init", "--yes")
    #expect(formed.status == 0, "\(formed.errors)")
    #expect(formed.text.hasSuffix("of 3 nodes: formed\n"))
    #expect(try await kvctl("cluster", "init").text.contains("formed already"))
    let status = try await kvctl("status")
    #expect(status.status == 0)
    #expect(status.text.contains("OK    3 of 3 nodes up; 1,024 partitions, N=3 R=2 W=2, layout 1"))
    #expect(try await kvctl("health").text == "healthy: 3 of 3 nodes up; 0 partitions below quorum\n")
    #expect(try await kvctl("ring", "show").text.contains("n3"))
    #expect(try await kvctl("ring", "locate", "k", "--json").text.contains(#""partition":"#))
    await cluster.nodes[2].stop()
    #expect(try await kvctl("health").status == 9)
    await cluster.nodes[1].stop()
    #expect(try await kvctl("health").status == 7)
    await cluster.nodes[0].stop()
  }

  @Test func `nodes that disagree are refused with 10 and every reason`() async throws {
    let cluster = try await FakeCluster.unformed(3)
    cluster.nodes[1].with { $0.description.settings.readQuorum = 3 }
    cluster.nodes[2].with { $0.description.settings.leafBits = 3 }
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)("cluster", "init", "--yes")
    #expect(ended.status == 10)
    #expect(ended.errors.contains("disagree on read quorum"))
    #expect(ended.errors.contains("disagree on leaf bits"))
    await cluster.stop()
  }

  @Test func `import skips broken lines by number, and export gives back what it read`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    var lines = (1...2_000).map { #"{"key":"k\#($0)","value":"value \#($0)"}"# }
    lines[6] = "broken"
    lines[99] = #"{"key":"","value":""}"#
    let ended = try await kvctl("import", "-", input: Array(lines.joined(separator: "\n").utf8))
    #expect(ended.status == 1)
    #expect(ended.errors.contains("kvctl: error: line 7: it is not valid JSON\n"))
    #expect(ended.errors.contains("kvctl: error: line 100: the key is empty\n"))
    #expect(ended.text.hasPrefix("1,998 keys written from 2,000 lines"))
    #expect(ended.text.contains("2 broken lines skipped"))
    #expect(cluster.store.keys == 1_998)
    lines.remove(at: 99)
    lines.remove(at: 6)
    let file = lines.joined(separator: "\n") + "\n"
    let export = try await kvctl("export", "--keys", "-", input: Array(file.utf8))
    #expect(export.status == 0)
    #expect(export.text == file)
    #expect(export.errors == "1,998 keys exported\n")
    let tsv = try await kvctl("export", "--keys", "-", "--format", "tsv", input: Array("k1\nabsent\nk2\tx\n".utf8))
    #expect(tsv.text == "k1\tvalue 1\nk2\tvalue 2\n")
    #expect(tsv.errors == "2 keys exported, 1 absent\n")
    await cluster.stop()
  }

  @Test func `an import into a cluster without quorum stops and says so`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].script { request, _ in
      request.key == nil ? nil : .reply(.failed(Failure(.unavailable, needed: 2, got: 1)))
    }
    let lines = (1...5_000).map { "k\($0)\tv" }.joined(separator: "\n")
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(
      "import", "-", "--timeout", "3s", input: Array(lines.utf8))
    #expect(ended.status == 7)
    #expect(ended.text.contains("stopped after line"))
    await cluster.stop()
  }

  @Test func `explain shows each owner and repairs nothing`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    _ = try await kvctl("put", "k", "v")
    let ended = try await kvctl("explain", "k")
    #expect(ended.status == 0)
    #expect(ended.text.contains("OK    all 3 copies agree"))
    #expect(try await kvctl("explain", "k", "--json").text.contains(#""value_bytes": 1"#))
    await cluster.stop()
  }
}
