import FakeNodes
import Foundation
import KVModel
import Synchronization
import Testing

@testable import kvctl

@Suite struct `Going on after an interruption` {
  private func path() -> String {
    FileManager.default.temporaryDirectory.appendingPathComponent("kvctl-\(UUID().uuidString).checkpoint").path
  }

  @Test func `only lines without a gap count`() {
    var watermark = LineWatermark(done: 2)
    watermark.settle(4)
    watermark.settle(5)
    #expect(watermark.done == 2)
    watermark.settle(3)
    #expect(watermark.done == 5)
  }

  @Test func `a checkpoint is read back, belongs to its input, and goes when all is done`() throws {
    let path = path()
    let checkpoint = Checkpoint(path: path, subject: "my keys.tsv")
    #expect(try checkpoint.linesDone() == 0)
    try checkpoint.finish(1_234, isWhole: false)
    #expect(try checkpoint.linesDone() == 1_234)
    #expect(throws: CommandFailure.self) { try Checkpoint(path: path, subject: "others.tsv").linesDone() }
    try checkpoint.finish(2_000, isWhole: true)
    #expect(!FileManager.default.fileExists(atPath: path))
    let other = try TemporaryFile(Array("kvctl-checkpoint 1 x y\n".utf8))
    defer { other.remove() }
    #expect(throws: CommandFailure.self) { try Checkpoint(path: other.path, subject: "y").linesDone() }
  }

  @Test func `the bar shows what is known`() {
    #expect(ProgressBar.line(45, of: 100, "x") == "[#############                 ]  45 %  x")
    #expect(ProgressBar.line(200, of: 100, "x") == "[##############################] 100 %  x")
    #expect(ProgressBar.line(7, of: 0, "x") == "x")
  }

  @Test func `an import that failed goes on where it was`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let file = try TemporaryFile(Array((1...500).map { "k\($0)\tv\n" }.joined().utf8))
    let checkpoint = path()
    defer { file.remove() }
    let importFile = ["import", file.path, "--format", "tsv", "--in-flight", "4", "--checkpoint", checkpoint]
    let puts = Atomic<Int>(0)
    node.script { request, _ in
      guard request.frameType == .put, puts.add(1, ordering: .relaxed).newValue > 200 else { return nil }
      return .reply(.failed(Failure(.unavailable, needed: 2, got: 1)))
    }
    let stopped = try await kvctl(importFile + ["--timeout", "2s"])
    #expect(stopped.status == 7)
    let done = try Checkpoint(path: checkpoint, subject: file.path).linesDone()
    #expect((1...200).contains(done))
    node.script(nil)
    let resumed = try await kvctl(importFile + ["--json"])
    #expect(resumed.status == 0, "\(resumed.errors)")
    #expect(resumed.text.contains(#""resumed_at": \#(done)"#))
    #expect(resumed.text.contains(#""written": \#(500 - done)"#))
    #expect(cluster.store.keys == 500)
    #expect(!FileManager.default.fileExists(atPath: checkpoint))
    await cluster.stop()
  }

  @Test func `an export that failed goes on where it was`() async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let lines = (1...100).map { "k\($0)\tv" }
    let file = try TemporaryFile(Array((lines.joined(separator: "\n") + "\n").utf8))
    let checkpoint = path()
    defer { file.remove() }
    #expect(try await kvctl("import", file.path, "--format", "tsv").status == 0)
    let gets = Atomic<Int>(0)
    node.script { request, _ in
      guard request.frameType == .get, gets.add(1, ordering: .relaxed).newValue > 50 else { return nil }
      return .reply(.failed(Failure(.unavailable, needed: 2, got: 1)))
    }
    let export = [
      "export", "--keys", file.path, "--format", "tsv", "--keys-format", "tsv", "--in-flight", "10", "--checkpoint",
      checkpoint,
    ]
    let first = try await kvctl(export)
    #expect(first.status == 7)
    #expect(try Checkpoint(path: checkpoint, subject: file.path).linesDone() == 50)
    node.script(nil)
    let second = try await kvctl(export)
    #expect(second.status == 0, "\(second.errors)")
    let exported = first.text.split(separator: "\n").prefix(50) + second.text.split(separator: "\n")
    #expect(exported.map(String.init) == lines)
    #expect(!FileManager.default.fileExists(atPath: checkpoint))
    await cluster.stop()
  }

  @Test(arguments: ["import", "export"])
  func `what was interrupted says so once, and where the same command goes on`(verb: String) async throws {
    let cluster = try await FakeCluster.start(1)
    let node = cluster.nodes[0]
    // Three are answered, the others wait for ever.
    let asked = Atomic<Int>(0)
    node.script { request, _ in
      guard request.key != nil, asked.add(1, ordering: .relaxed).newValue > 3 else { return nil }
      return .silence
    }
    let file = try TemporaryFile(Array((1...40).map { "k\($0)\tv\n" }.joined().utf8))
    let checkpoint = path()
    let (input, flag) = (verb == "import" ? [file.path] : ["--keys", file.path], ["--checkpoint", checkpoint])
    for (flags, advice) in [(flag, "the same command goes on there"), ([], "--checkpoint FILE")] {
      asked.store(0, ordering: .relaxed)
      let seen = node.keyed.count
      let call = [verb] + input + ["--in-flight", "8", "--timeout", "1h"] + flags
      let ended = try await KvctlProcess(endpoints: cluster.endpoints)(call) { node.keyed.count >= seen + 8 }
      #expect(ended.status == 130)
      let errors = ended.errors.split(separator: "\n").filter { $0.hasPrefix("kvctl: error:") }
      #expect(errors.count == 1 && errors[0].contains("interrupted behind line "), "\(ended.errors)")
      #expect(errors.first?.contains(advice) == true, "\(ended.errors)")
    }
    file.remove()
    try? FileManager.default.removeItem(atPath: checkpoint)
    await cluster.stop()
  }
}
