import ArgumentParser
import Foundation
import KVSimulator

struct ShrinkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shrink", abstract: "Makes a failing run smaller while it fails the same way.",
    discussion: "Example:\n  kvsim shrink 42\n\nDrops faults, then nodes, clients and operations.")

  @Argument(help: "The seed that fails.")
  var seed: UInt64
  @OptionGroup var common: CommonOptions

  func validate() throws { try common.check() }

  func run() throws {
    let settings = common.allSettings
    guard let report = failure(settings) else {
      throw ValidationError("seed \(seed) holds: there is nothing to shrink")
    }
    if !common.json { print("seed \(seed) fails: \(report.text)") }
    var shrink = Shrink(seed: seed, settings: settings) {
      guard let other = failure($0) else { return false }
      return other.ending == report.ending && other.invariant == report.invariant
    }
    shrink.run()
    let sets = shrink.settings.flatMap { ["--set", "\($0.name)=\($0.value)"] }
    let plant = common.plant.map { ["--plant", $0] } ?? []
    let command = (["kvsim", "--seed", "\(seed)"] + plant + sets + ["--verbose"]).joined(separator: " ")
    if common.json {
      let result = ["schema": "kvsim/1", "command": command, "violation": (failure(shrink.settings) ?? report).text]
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      print(String(decoding: try encoder.encode(result), as: UTF8.self))
    } else {
      print("after \(shrink.tries) runs: \((failure(shrink.settings) ?? report).text)\n\(command)")
    }
  }

  /// Runs the seed in a child process, so that a trap can be shrunk too.
  private func failure(_ settings: [Shrink.Setting]) -> SeedReport? {
    var common = common
    common.settings = settings.map { SettingArgument($0) }
    let run = RangeRun(seeds: SeedRange(seed...seed), jobs: 1, endsAtFirst: false, common: common)
    return run.collect().first { $0.ending != Ending.held.rawValue }
  }
}
