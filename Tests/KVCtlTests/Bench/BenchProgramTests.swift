import FakeNodes
import Foundation
import KVModel
import Synchronization
import Testing

@testable import kvctl

/// `kvctl bench` as a process, against fake nodes.
@Suite struct `The bench` {
  private func data(_ ended: KvctlProcess.Ended) throws -> [String: Any] {
    let document = try #require(try JSONSerialization.jsonObject(with: Data(ended.output)) as? [String: Any])
    return try #require(document["data"] as? [String: Any])
  }

  private let short = ["--records", "300", "--duration", "300ms", "--warmup", "0s", "--clients", "6", "--json"]

  @Test(arguments: ["a", "d", "f"], ["raw", "client"])
  func `loads, runs and reports`(workload: String, through: String) async throws {
    let cluster = try await FakeCluster.start(3)
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(
      ["bench", "--load", "--workload", workload, "--through", through, "--value-size", "64"] + short)
    #expect(ended.status == 0, "\(ended.errors)")
    let data = try data(ended)
    #expect((data["load"] as? [String: Any])?["records"] as? Int == 300)
    let run = try #require(data["run"] as? [String: Any])
    #expect((run["operations"] as? Int ?? 0) > 0)
    #expect(run["absent"] as? Int == 0)
    #expect(run["failed"] as? Int == 0)
    #expect(cluster.store.keys >= 300)
    let record = cluster.store[try Key(KeyMaker(size: 16).key(of: 299))]
    #expect(record.versions.count == 1)
    await cluster.stop()
  }

  @Test func `every node gets its share, and writes go to first owners`() async throws {
    let cluster = try await FakeCluster.start(3)
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(
      ["bench", "--load", "--workload", "get", "--pipeline", "4", "--loops", "2"] + short)
    #expect(ended.status == 0, "\(ended.errors)")
    for node in cluster.nodes {
      let (gets, writes) = (node.keyed.filter { $0.frameType == .get }, node.keyed.filter { $0.frameType == .put })
      #expect(!gets.isEmpty)
      for request in writes.prefix(100) {
        let key = String(decoding: try #require(request.key).partitionKey, as: UTF8.self)
        #expect(try cluster.owners(of: key).first === node)
      }
    }
    #expect(cluster.nodes.reduce(0) { $0 + $1.keyed.count { $0.frameType == .put } } == 300)
    await cluster.stop()
  }

  @Test func `an open loop keeps to its rate`() async throws {
    let cluster = try await FakeCluster.start(3)
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(
      ["bench", "--load", "--workload", "get", "--rate", "200"] + short + ["--duration", "500ms"])
    #expect(ended.status == 0, "\(ended.errors)")
    let run = try #require(try data(ended)["run"] as? [String: Any])
    // However busy this machine is: what was meant to begin in half a second, no more and no less.
    #expect(run["operations"] as? Int == 100)
    await cluster.stop()
  }

  @Test func `failures are counted by kind, and load what can be loaded`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    for node in cluster.nodes {
      node.script { request, _ in
        request.frameType == .get ? .reply(.failed(Failure(.unavailable, needed: 2, got: 1))) : nil
      }
    }
    let some = try await kvctl(["bench", "--load", "--workload", "a"] + short)
    #expect(some.status == 9, "\(some.errors)")
    let run = try #require(try data(some)["run"] as? [String: Any])
    let failures = try #require(run["failures"] as? [[String: Any]])
    #expect(failures.map { $0["code"] as? String } == ["unavailable"])
    #expect(failures.first?["message"] as? String == "unavailable (1 of 2 owners)")
    let none = try await kvctl(["bench", "--workload", "get"] + short)
    #expect(none.status == 1)
    #expect(none.errors.contains("no operation succeeded"))
    for node in cluster.nodes {
      node.script { request, _ in request.key == nil ? nil : .reply(.failed(Failure(.storageFailed))) }
    }
    let load = try await kvctl(["bench", "--load", "--duration", "0s", "--records", "20", "--clients", "10"])
    #expect(load.status == 1)
    #expect(load.errors.contains("20 records could not be written"))
    await cluster.stop()
  }

  @Test func `a record that fails at first is loaded in the end`() async throws {
    let cluster = try await FakeCluster.start(1)
    let failed = Mutex<Set<Key>>([])
    cluster.nodes[0].script { request, _ in
      guard let key = request.key else { return nil }
      return failed.withLock { $0.insert(key).inserted } ? .reply(.failed(Failure(.overloaded, retryAfterMs: 10))) : nil
    }
    let ended = try await KvctlProcess(endpoints: cluster.endpoints)(
      "bench", "--load", "--duration", "0s", "--records", "40", "--clients", "8")
    #expect(ended.status == 0, "\(ended.errors)")
    #expect(ended.text.contains("loaded 40 records"))
    #expect(cluster.store.keys == 40)
    await cluster.stop()
  }

  @Test func `a node that dies or says nothing costs its requests and no more`() async throws {
    let cluster = try await FakeCluster.start(3)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    let dropped = Atomic<Bool>(false)
    cluster.nodes[1].script { request, _ in
      request.frameType == .get && !dropped.exchange(true, ordering: .relaxed) ? .close : nil
    }
    let died = try await kvctl(["bench", "--load", "--workload", "get"] + short)
    #expect(died.status == 9)
    let run = try #require(try data(died)["run"] as? [String: Any])
    #expect((run["failures"] as? [[String: Any]])?.map { $0["code"] as? String } == ["connection_lost"])
    cluster.nodes[1].script { request, _ in request.frameType == .get ? .silence : nil }
    let silent = try await kvctl(["bench", "--workload", "get", "--timeout", "200ms"] + short)
    #expect(silent.status == 9)
    let codes = try #require(
      (try data(silent)["run"] as? [String: Any])?["failures"] as? [[String: Any]]
    ).compactMap { $0["code"] as? String }
    #expect(Set(codes).isSubset(of: ["timed_out", "unfinished"]) && !codes.isEmpty)
    await cluster.nodes[1].stop()
    let away = try await kvctl(["bench", "--workload", "get"] + short)
    #expect(away.status == 0, "\(away.errors)")
    #expect(away.errors.contains("n2 cannot be reached and gets no load"))
    await cluster.stop()
  }

  @Test func `nobody there is 3, a wrong flag 2, an interrupt 130`() async throws {
    let cluster = try await FakeCluster.start(1)
    let kvctl = KvctlProcess(endpoints: cluster.endpoints)
    #expect(try await kvctl("bench", "--clients", "0").status == 2)
    #expect(try await kvctl("bench", "--workload", "e").status == 2)
    let node = cluster.nodes[0]
    let ended = try await kvctl(["bench", "--workload", "get", "--duration", "1h"]) { node.keyed.count > 100 }
    #expect(ended.status == 130)
    await cluster.stop()
    #expect(try await kvctl("bench").status == 3)
    let redis = try await kvctl("bench", "--target", "resp://\(cluster.endpoints[0])", "--json")
    #expect(redis.status == 3)
    #expect(redis.text.contains(#""cluster": null"#))
  }

  @Test func `what is no redis is told`() async throws {
    let cluster = try await FakeCluster.start(1)
    cluster.nodes[0].with { $0.manners = .says(Array("hello\r\n".utf8)) }
    let ended = try await KvctlProcess(endpoints: ["127.0.0.1:1"])(
      "bench", "--target", "resp://\(cluster.endpoints[0])")
    #expect(ended.status == 3)
    #expect(ended.errors.contains("does not speak redis' protocol"))
    await cluster.stop()
  }

  @Test(.enabled(if: Redis.isInstalled)) func `redis is driven by the same generator`() async throws {
    let redis = try await Redis.start()
    defer { redis.stop() }
    for workload in ["a", "f", "get", "put"] {
      let ended = try await KvctlProcess(endpoints: ["127.0.0.1:1"])(
        ["bench", "--target", "resp://127.0.0.1:\(redis.port)", "--load", "--workload", workload, "--pipeline", "3"]
          + short)
      #expect(ended.status == 0, "\(ended.errors)")
      let run = try #require(try data(ended)["run"] as? [String: Any])
      #expect((run["operations"] as? Int ?? 0) > 0)
      #expect(run["absent"] as? Int == 0)
    }
  }
}
