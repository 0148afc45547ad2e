import KVNet

/// What runs the stages of a benchmark: drivers over a protocol, or tasks over KVClient.
protocol BenchEngine: Sendable {
  func connect() async -> BenchReach
  func perform(_ stage: BenchStage) async -> BenchTally
  /// `resetting`: the latencies of the next answer begin with this one.
  func progress(resetting: Bool) async -> BenchProgress
  /// Ends the stage that runs, with what it has come to.
  func cancel()
  func stop() async
}

/// Which nodes a benchmark reached, by name, and why not the others.
struct BenchReach: Equatable, Sendable {
  var reached: Set<String> = []
  var faults: [String: BenchFault] = [:]

  /// Joins what another driver found: a node is missing when nobody reached it.
  mutating func add(_ other: BenchReach) {
    reached.formUnion(other.reached)
    faults = faults.merging(other.faults) { first, _ in first }.filter { !reached.contains($0.key) }
  }
}

/// Several drivers, each with a loop of its own and its share of the work.
struct Fleet: BenchEngine {
  private let drivers: [Driver]

  /// `options` are those of the first driver; `lanes` is shared out.
  init(
    _ options: Driver.Options, drivers count: Int, makeWire: @escaping @Sendable () -> any BenchWire
  ) throws(SystemError) {
    var drivers: [Driver] = []
    for number in 0..<count {
      var share = options
      share.number = number
      share.drivers = count
      share.lanes = options.lanes / count + (number < options.lanes % count ? 1 : 0)
      drivers.append(try Driver(share, makeWire: makeWire))
    }
    self.drivers = drivers
  }

  func connect() async -> BenchReach {
    var reach = BenchReach()
    for part in await each({ await $0.connect() }) { reach.add(part) }
    return reach
  }

  func perform(_ stage: BenchStage) async -> BenchTally {
    var tally = BenchTally()
    for part in await each({ await $0.perform(stage) }) { tally.add(part) }
    return tally
  }

  func progress(resetting: Bool) async -> BenchProgress {
    var progress = BenchProgress()
    for part in await each({ await $0.progress(resetting: resetting) }) { progress.add(part) }
    return progress
  }

  func cancel() { for driver in drivers { driver.cancel() } }

  func stop() async { for driver in drivers { await driver.stop() } }

  /// All at once; the answers in the order of the drivers.
  private func each<Answer: Sendable>(_ ask: @escaping @Sendable (Driver) async -> Answer) async -> [Answer] {
    let tasks = drivers.map { driver in Task { await ask(driver) } }
    var answers: [Answer] = []
    for task in tasks { answers.append(await task.value) }
    return answers
  }
}
