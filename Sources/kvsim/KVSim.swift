import ArgumentParser
import KVSimulator

@main
struct KVSim: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kvsim", abstract: "Runs whole clusters in one thread and one seed, and checks what clients saw.")

  @Option var seed: UInt64?
  @Option var seeds: String?
  @Flag var verbose = false
  @Option var nodes: Int?

  func run() throws {
    if let seed { return one(seed) }
    guard let seeds, let low = UInt64(seeds.split(separator: ".")[0]), let high = UInt64(seeds.split(separator: ".")[1])
    else { return }
    let clock = ContinuousClock()
    var counts = SimulationCounts()
    var ops: UInt64 = 0, events: UInt64 = 0, sim: UInt64 = 0
    let start = clock.now
    for seed in low...high {
      let simulation = Simulation(options(seed))
      simulation.run()
      counts = simulation.counts
      ops += counts.completed; events += counts.events; sim += counts.simulatedNanoseconds
      if let first = simulation.violations.first { print("seed \(seed): \(first)") }
    }
    let span = clock.now - start
    let s = Double(span.components.seconds) + Double(span.components.attoseconds) / 1e18
    print("\(Double(events) / s) events/s \(Double(ops) / s) ops/s, \(Double(sim) / 1e9 / s) simulated s/s, \(s) s")
  }

  func options(_ seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions.drawn(from: seed)
    if let nodes {
      options.nodes = nodes; options.shards = Array(repeating: 1, count: nodes); options.workload.clients = 8;
      options.copies = 3; options.readQuorum = 2; options.writeQuorum = 2
    }
    return options
  }

  func one(_ seed: UInt64) {
    let options = options(seed)
    for line in options.lines { print(line) }
    let simulation = Simulation(options, trace: Trace(write: verbose ? { print($0) } : nil))
    for fault in simulation.faults.prefix(20) { print(fault.line) }
    simulation.run()
    print(simulation.counts, simulation.trace.hash)
    for violation in simulation.violations { print(violation) }
  }
}
