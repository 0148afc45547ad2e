import ArgumentParser
import Foundation
import KVCore
import KVSimulator

@main
struct KVSim: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kvsim",
    abstract: "Runs whole clusters in one thread and one seed, and checks what their clients saw.",
    discussion: """
      Examples:
        kvsim --seed 42 --verbose                    one run, with its trace
        kvsim --seeds 1..2000 --jobs 2               many, each in a child process
        kvsim --plant list                           the bugs that can be planted
        kvsim --plant dot-reused --seeds 1..2000     must fail (needs a build with --traits Planted)
        kvsim shrink 42                              a smaller run that fails the same way
        kvsim gossip --nodes 100 --kills 20          how soon a death is known, and at what cost
        kvsim check history.jsonl                    the history of a load on real nodes; see Scripts/chaos.sh

      Exit codes: 0 all held, 1 safety, 2 usage, 3 liveness, 4 crash.
      """,
    subcommands: [
      SimulateCommand.self, ShrinkCommand.self, LoadVerb.self, CheckVerb.self, ChaosVerb.self,
      GossipVerb.self,
    ],
    defaultSubcommand: SimulateCommand.self)

  /// ArgumentParser ends a wrong command line with 64.
  static func main() async {
    do {
      var command = try parseAsRoot()
      if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
    } catch {
      guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
      FileHandle.standardError.write(Data((fullMessage(for: error) + "\n").utf8))
      Foundation.exit(2)
    }
  }
}

/// What `kvsim` does without a verb. The options are here, not at the root, which would take them from every verb.
struct SimulateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate", abstract: "Runs simulations, of one seed or a range of them (default).")

  @Option(help: "Run one seed: prints every drawn option first.")
  var seed: UInt64?
  @Flag(help: "Print what happens, a line an event.")
  var verbose = false
  @Option(help: ArgumentHelp("Run a range of seeds, both ends included.", valueName: "a..b"))
  var seeds: SeedRange?
  @Option(help: "Child processes at a time.")
  var jobs = 1
  @Flag(help: "End at the first seed that fails.")
  var first = false
  @Option(help: ArgumentHelp("Write each seed of the range and the hash of its trace to a file.", valueName: "path"))
  var hashes: String?
  @OptionGroup var common: CommonOptions
  @Option(help: .private)
  var worker: SeedRange?

  func validate() throws {
    if common.plant == "list" { return }
    let chosen = [seed != nil, seeds != nil, worker != nil].filter { $0 }.count
    guard chosen == 1 else { throw ValidationError("give --seed N, --seeds A..B or --plant list") }
    guard hashes == nil || seeds != nil else { throw ValidationError("--hashes goes with --seeds A..B") }
    guard (1...64).contains(jobs) else { throw ValidationError("--jobs must be 1 to 64") }
    try common.check()
  }

  func run() async throws {
    if common.plant == "list" {
      for bug in PlantedBug.allCases { print(bug.rawValue) }
      return
    }
    common.plantBug()
    if let worker {
      Worker(common: common).run(worker)
    } else if let seed {
      throw try SingleRun(seed: seed, isVerbose: verbose, common: common).run().code
    } else if let seeds {
      throw try RangeRun(seeds: seeds, jobs: jobs, endsAtFirst: first, common: common).run(hashes: hashes).code
    }
  }
}

/// What every way of running takes.
struct CommonOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Plant a bug; 'list' prints their names.", valueName: "name"))
  var plant: String?
  @Option(
    name: .customLong("set"),
    help: ArgumentHelp(
      "Set an option instead of drawing it; may be repeated. Options: "
        + SimulationOptions.settable.map { "\($0.name) (\($0.takes))" }.joined(separator: ", ") + ".",
      valueName: "name=value"))
  var settings: [SettingArgument] = []
  @Flag(help: "Print JSON.")
  var json = false

  func check() throws {
    do { _ = try options(for: 1) } catch let fault as SimulationOptions.SetFault {
      throw ValidationError(fault.description)
    }
    guard let plant else { return }
    guard PlantedBug(rawValue: plant) != nil else {
      throw ValidationError("there is no bug \(plant) to plant; 'kvsim --plant list' prints their names")
    }
    #if !Planted
      throw ValidationError(
        "this kvsim was built without the bugs; build one that has them: swift build -c release --traits Planted "
          + "--scratch-path .build-planted --product kvsim")
    #endif
  }

  func plantBug() {
    #if Planted
      Planted.bug = plant.flatMap(PlantedBug.init(rawValue:))
    #endif
  }

  func options(for seed: UInt64) throws -> SimulationOptions {
    try Shrink.options(seed: seed, allSettings)
  }

  /// Those of a planted bug's search, then those that were given.
  var allSettings: [Shrink.Setting] {
    (plant.flatMap(PlantedBug.init(rawValue:))?.searchSettings ?? []) + settings.map(\.setting)
  }

  /// These options as they are typed.
  var arguments: [String] {
    (plant.map { ["--plant", $0] } ?? []) + allSettings.flatMap { ["--set", "\($0.name)=\($0.value)"] }
  }
}

/// `name=value`.
struct SettingArgument: ExpressibleByArgument {
  var setting: Shrink.Setting

  init(_ setting: Shrink.Setting) { self.setting = setting }

  init?(argument: String) {
    guard let equals = argument.firstIndex(of: "=") else { return nil }
    setting = Shrink.Setting(String(argument[..<equals]), String(argument[argument.index(after: equals)...]))
  }
}

/// `A..B`, both ends included, or one number.
struct SeedRange: ExpressibleByArgument {
  var range: ClosedRange<UInt64>

  init(_ range: ClosedRange<UInt64>) { self.range = range }

  init?(argument: String) {
    let ends = argument.split(separator: ".", omittingEmptySubsequences: true).map { UInt64($0) }
    guard let low = ends.first ?? nil, let high = ends.last ?? nil, ends.count <= 2, low <= high else { return nil }
    range = low...high
  }
}

/// How a run ended, and the exit code that says so.
enum Ending: String {
  case held
  case safety
  case liveness
  case crash

  init(of violations: [Violation]) {
    guard let first = violations.first else {
      self = .held
      return
    }
    self = first.invariant.isSafety ? .safety : .liveness
  }

  var code: ExitCode {
    switch self {
    case .held: .success
    case .safety: ExitCode(1)
    case .liveness: ExitCode(3)
    case .crash: ExitCode(4)
    }
  }
}
