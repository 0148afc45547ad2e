/// Makes a failing run smaller, as long as it fails: faults first, then nodes, clients, operations.
///
/// Each step is a setting as `kvsim --set` takes it, so that what is left is a command.
public struct Shrink {
  /// Settings so far, in the order in which they are to be applied.
  public private(set) var settings: [Setting] = []
  /// Runs tried.
  public private(set) var tries = 0
  private let seed: UInt64
  private let fails: ([Setting]) -> Bool

  public struct Setting: Equatable, Sendable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  /// `fails` runs the seed with settings, and says whether the failure is still there.
  public init(seed: UInt64, settings: [Setting] = [], fails: @escaping ([Setting]) -> Bool) {
    self.seed = seed
    self.settings = settings
    self.fails = fails
  }

  /// The options that a seed and settings make.
  public static func options(seed: UInt64, _ settings: [Setting]) throws(SimulationOptions.SetFault)
    -> SimulationOptions
  {
    var options = SimulationOptions.drawn(from: seed)
    for setting in settings { try options.set(setting.name, setting.value) }
    return options
  }

  /// Shrinks to the end. The run must fail with the settings that it starts with.
  public mutating func run() {
    for name in ["loss", "duplicates", "clogged", "clock-offset", "slow-reads", "lost", "retries", "cancels", "strays"]
    {
      attempt(Setting(name, "0"))
    }
    attempt(Setting("shards", "1"))
    dropKinds()
    dropFaults()
    lower("nodes", from: current?.nodes ?? 1, to: max(1, current?.copies ?? 1))
    lower("clients", from: current?.workload.clients ?? 1, to: 1)
    lower("keys", from: current?.workload.keys ?? 1, to: 1)
    lower("operations", from: current?.workload.operations ?? 1, to: 1)
    dropFaults()
  }

  private var current: SimulationOptions? { try? Shrink.options(seed: seed, settings) }

  /// Keeps a setting if the run still fails with it.
  @discardableResult
  private mutating func attempt(_ setting: Setting) -> Bool {
    tries += 1
    let next = settings.filter { $0.name != setting.name } + [setting]
    guard fails(next) else { return false }
    settings = next
    return true
  }

  private mutating func dropKinds() {
    if attempt(Setting("faults", "none")) { return }
    for kind in Fault.Kind.allCases {
      guard let kinds = current?.faults, kinds.contains(kind), kinds.count > 1 else { continue }
      let rest = Fault.Kind.allCases.filter { kinds.contains($0) && $0 != kind }
      attempt(Setting("faults", rest.map(\.rawValue).joined(separator: ",")))
    }
  }

  /// Drops ever smaller parts of the faults (Zeller's delta debugging, from halves down to single ones).
  private mutating func dropFaults() {
    guard let options = current, !options.faults.isEmpty else { return }
    var all = options
    all.keptFaults = nil
    var kept = options.keptFaults ?? Array(Simulation(all).faults.indices)
    var part = max(1, kept.count / 2)
    while tries < 2_000 {
      var place = 0
      while place < kept.count {
        let rest = Array(kept[..<place] + kept[min(kept.count, place + part)...])
        let value = rest.isEmpty ? "none" : rest.map(String.init).joined(separator: ",")
        if attempt(Setting("keep", value)) { kept = rest } else { place += part }
      }
      if part == 1 { return }
      part = max(1, part / 2)
    }
  }

  private mutating func lower(_ name: String, from most: Int, to least: Int) {
    var (low, high) = (least, most)
    // The failure need not be monotonic in the number: this is a search for a smaller one, not for the smallest.
    while low < high {
      let middle = (low + high) / 2
      if attempt(Setting(name, "\(middle)")) { high = middle } else { low = middle + 1 }
    }
  }
}
