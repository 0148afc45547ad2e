import KVModel
import KVSimulator
import Testing

@testable import KVClient

/// The client library's own policies in the simulated cluster: what `KVClient` does when an attempt of a write fails,
/// over seeds. (Its other half, connections and timers, is tested on real sockets.)
@Suite struct `Simulated clients` {
  /// As `ClientEngine` puts the policies together.
  private static func plan(marks: Bool = true) -> RetryPlan {
    { situation in
      var progress = CallProgress()
      for attempt in situation.ended {
        progress.onBegun()
        progress.onEnded(attempt.failure?.outcome == .rejected ? .rejected : .unknown)
      }
      let error = situation.ended.last?.failure.map { KVError($0) } ?? KVError(.connectionLost, "no answer")
      let lastStart = (situation.age.nanoseconds + situation.left.nanoseconds) / 4 * 3
      let decision = KVClientConfiguration(endpoints: []).retryPolicy.decision(
        Retryability(error.code), attempts: progress.attempts, age: situation.age,
        left: Span64(nanoseconds: lastStart > situation.age.nanoseconds ? lastStart - situation.age.nanoseconds : 0),
        retryAfter: error.retryAfter.map { Span64($0) } ?? .zero, random: situation.random)
      switch decision {
      case .end: return .end(mayBeApplied: progress.mayBeApplied)
      case .retry(let wait): return .again(after: wait, isMarked: marks && progress.mayBeApplied)
      }
    }
  }

  private static func run(_ options: SimulationOptions, _ plan: @escaping RetryPlan) -> Simulation {
    let simulation = Simulation(options)
    simulation.retryPlan = plan
    simulation.run()
    return simulation
  }

  /// Requests and answers get lost and nodes die, so that many a write is sent again.
  private static func lossy(_ seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions(seed: seed)
    options.workload.lost = 400
    options.workload.operations = 300
    options.workload.deadlineMs = 100
    options.faults = [.crash]
    return options
  }

  private static func retried(_ simulation: Simulation) -> Int {
    simulation.history.operations.count { $0.attempts > 1 && $0.outcome == .ok }
  }

  @Test func `a write that the client retries through another coordinator is applied once`() {
    var retried = 0
    for seed: UInt64 in 1...10 {
      let simulation = Self.run(Self.lossy(seed), Self.plan())
      #expect(simulation.violations.isEmpty, "seed \(seed): \(simulation.violations)")
      retried += Self.retried(simulation)
    }
    #expect(retried > 50, "\(retried)")
  }

  @Test func `the same under every fault that there is`() {
    for seed: UInt64 in 3_001...3_008 {
      let simulation = Self.run(.drawn(from: seed), Self.plan())
      #expect(simulation.violations.isEmpty, "seed \(seed): \(simulation.violations)")
    }
  }

  @Test func `a client that does not mark its retries is found out`() {
    let isFound = (UInt64(1)...10).contains { seed in
      !Self.run(Self.lossy(seed), Self.plan(marks: false)).violations.isEmpty
    }
    #expect(isFound)
  }
}
