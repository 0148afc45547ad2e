import ArgumentParser
import KVSimulator

@main
struct KVSim: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kvsim", abstract: "Runs whole clusters in one thread and one seed, and checks what clients saw.",
    subcommands: [LoadVerb.self, ChaosVerb.self])
}
