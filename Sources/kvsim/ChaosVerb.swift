import ArgumentParser

/// Prints the faults that Scripts/chaos.sh carries out.
struct ChaosVerb: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule", abstract: "Prints a schedule of faults for real processes, as Scripts/chaos.sh reads it.",
    discussion: "A line: milliseconds after the start, what to do, to whom. Equal arguments print equal schedules.")

  @Option(help: "What the faults are drawn from.") var seed: UInt64
  @Option(help: "How long; all is healed by then.") var seconds: UInt64 = 60
  @Option(help: "Nodes of the cluster.") var nodes = 3
  @Option(help: "Copies of a key, N.") var copies = 3
  @Option(help: "Copies that a write waits for, W.") var writeQuorum = 2
  @Flag(help: "No faults of links: the nodes share one network namespace.") var noLinks = false
  @Flag(help: "No power cuts, no faults of clocks: the nodes run without the fault shim.") var noPower = false

  func validate() throws {
    guard (2...64).contains(nodes) else { throw ValidationError("--nodes \(nodes): from 2 to 64") }
    guard (5...86_400).contains(seconds) else { throw ValidationError("--seconds \(seconds): from 5 to 86400") }
    guard writeQuorum >= 1, copies >= writeQuorum, nodes >= copies else {
      throw ValidationError("--copies \(copies) --write-quorum \(writeQuorum): at most --nodes \(nodes), W at most N")
    }
  }

  func run() {
    let setting = ChaosSchedule.Setting(
      nodes: nodes, expendable: copies - writeQuorum, milliseconds: seconds * 1_000, hasLinks: !noLinks,
      hasFaultShim: !noPower)
    for event in ChaosSchedule(seed: seed, setting).events { print(event) }
  }
}
