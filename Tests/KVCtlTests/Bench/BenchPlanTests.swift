import ArgumentParser
import KVClient
import KVModel
import Testing

@testable import kvctl

@Suite struct `What bench is asked for` {
  private func plan(_ arguments: String...) throws -> BenchPlan { try BenchPlan(BenchOptions.parse(arguments)) }

  @Test func `the defaults are workload a over 100,000 records of 1 KiB`() throws {
    let plan = try plan()
    #expect(plan.workload == .a)
    #expect(plan.distribution == .zipfian)
    #expect((plan.records, plan.keySize, plan.valueSize) == (100_000, 16, 1_024))
    #expect((plan.clients, plan.pipeline, plan.loops) == (64, 1, 1))
    #expect((plan.durationNs, plan.warmupNs) == (10_000_000_000, 2_000_000_000))
    #expect(plan.rate == nil)
    #expect(plan.target == .cluster)
    #expect(plan.through == .raw)
  }

  @Test func `amounts are read as people write them`() throws {
    let plan = try plan(
      "--workload", "d", "--value-size", "64KiB", "--duration", "1m30s", "--warmup", "0s", "--rate", "2500.5",
      "--distribution", "uniform", "--consistency", "one", "--key-size", "24")
    #expect((plan.valueSize, plan.keySize) == (65_536, 24))
    #expect((plan.durationNs, plan.warmupNs) == (90_000_000_000, 0))
    #expect(plan.rate == 2_500.5)
    #expect(plan.distribution == .uniform)
    #expect(plan.consistency == .one)
    #expect(try self.plan("--target", "resp://[::1]:6379").target == .resp(Address(host: "::1", port: 6_379)))
  }

  @Test(arguments: Workload.allCases) func `each workload has its own distribution`(workload: Workload) throws {
    let expected: Distribution =
      switch workload {
      case .a, .b, .c, .f: .zipfian
      case .d: .latest
      case .get, .put: .uniform
      }
    #expect(try plan("--workload", workload.rawValue).distribution == expected)
    #expect(try plan("--workload", workload.rawValue, "--distribution", "latest").distribution == .latest)
  }

  @Test(arguments: [
    ["--clients", "0"], ["--clients", "10001"], ["--pipeline", "0"], ["--pipeline", "1025"],
    ["--clients", "10000", "--pipeline", "1024"], ["--loops", "0"], ["--loops", "5", "--clients", "4"],
    ["--records", "0"], ["--records", "10001", "--key-size", "8"],
    ["--records", "5001", "--key-size", "8", "--workload", "d"], ["--key-size", "7"], ["--key-size", "257"],
    ["--value-size", "1025KiB"], ["--rate", "0"], ["--rate=-5"], ["--rate", "1e9"], ["--duration", "0s"],
    ["--duration", "8d"], ["--warmup", "169h"], ["--consistency", "some"], ["--target", "127.0.0.1:6379"],
    ["--target", "resp://nowhere"], ["--target", "resp://a:1", "--through", "client"],
    ["--target", "resp://a:1", "--consistency", "one"],
  ])
  func `what is out of range is refused`(arguments: [String]) throws {
    let options = try BenchOptions.parse(arguments)
    #expect { try BenchPlan(options) } throws: { ($0 as? CommandFailure)?.exit == .usage }
  }

  @Test(arguments: [
    ["--workload", "e"], ["--distribution", "hot"], ["--value-size", "big"], ["--duration", "10"],
    ["--through", "http"],
    ["--records", "many"], ["--rate", "fast"],
  ])
  func `what cannot be read is refused`(arguments: [String]) {
    #expect(throws: (any Error).self) { try BenchOptions.parse(arguments) }
  }

  @Test func `a load alone needs no duration`() throws {
    #expect(try plan("--load", "--duration", "0s").durationNs == 0)
  }
}
