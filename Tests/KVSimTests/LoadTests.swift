import ArgumentParser
import FakeNodes
import Foundation
import KVClient
import KVModel
import KVSimulator
import Testing

@testable import kvsim

@Suite struct LoadTests {
  @Test func `a value names its operation in every byte`() {
    for (number, bytes) in [(1, 0), (7, 1), (42, 8), (123_456, 65_536)] {
      let value = LoadValue.make(number, bytes: bytes)
      #expect(value.count >= bytes && value.count < bytes + 20)
      #expect(LoadValue.number(of: value) == number)
    }
    #expect(String(decoding: LoadValue.make(42, bytes: 8), as: UTF8.self) == "42:42:42:")
  }

  @Test func `a value that is not wholly of one operation is nobody's`() {
    let good = LoadValue.make(42, bytes: 100)
    for place in [0, 50, good.count - 1] {
      var bad = good
      bad[place] ^= 1
      #expect(LoadValue.number(of: bad) == LoadValue.unreadable)
    }
    for text in ["", ":", "x:", "0:", "-3:", "42", "42:4", "42:43:"] {
      #expect(LoadValue.number(of: Array(text.utf8)) == LoadValue.unreadable)
    }
  }

  @Test func `the mix has every action and every basis of contexts`() {
    let mix = LoadMix(keysInUse: 40)
    var prng = PRNG(seed: 1)
    var actions: [String: Int] = [:]
    for _ in 0..<10_000 {
      actions["\(mix.action(&prng))", default: 0] += 1
      #expect(mix.valueBytes(&prng) <= 65_536)
    }
    #expect(actions.count == 8)
  }

  @Test func `new keys take the place of old ones, are hot at first, and never run out`() {
    let mix = LoadMix(keysInUse: 40)
    var prng = PRNG(seed: 1)
    for second in [0, 10, 20, 59] {
      var counts: [Int: Int] = [:]
      for _ in 0..<10_000 { counts[mix.key(afterMs: second * 1_000, &prng), default: 0] += 1 }
      let oldest = second * 2
      #expect(counts.keys.allSatisfy { (0..<oldest + 40).contains($0) && $0 < mix.keys(seconds: 60) })
      #expect((oldest..<oldest + 40).allSatisfy { counts[$0] != nil })
      #expect((oldest + 36..<oldest + 40).allSatisfy { counts[$0, default: 0] > 1_000 })
    }
  }

  @Test func `a load on an honest cluster leaves a history of all that it did`() async throws {
    let cluster = try await FakeCluster.start(3)
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("load-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    let verb = try LoadVerb.parse([
      "--endpoints", cluster.endpoints.joined(separator: ","), "--history", path, "--seconds", "1", "--clients", "6",
      "--keys", "5", "--rate", "400",
    ])
    let summary = try await LoadRun.perform(verb)
    #expect(summary.isComplete && summary.finalReads == 6)
    // How many there are, and whether each is in time, depends on what else this machine does.
    #expect(summary.counts.total(.ok) >= 6, "\(summary.counts.errors)")
    let history = try HistoryLines.read(try #require(FileManager.default.contents(atPath: path)))
    #expect(history.operations.count == summary.counts.total)
    #expect(history.operations.allSatisfy { !$0.seen.contains(LoadValue.unreadable) })
    #expect(HistoryChecker.check(history).isEmpty)
    await cluster.stop()
  }

  @Test func `arguments out of range are refused`() {
    let wrong = [["--clients", "0"], ["--keys", "0"], ["--seconds", "0"], ["--rate", "-1"], ["--endpoints", "x"]]
    for arguments in wrong {
      let all = ["--endpoints", "127.0.0.1:1", "--history", "/dev/null"] + arguments
      #expect(throws: (any Error).self) { try LoadVerb.parse(all) }
    }
  }
}
