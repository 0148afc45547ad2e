import ArgumentParser
import KVClient
import KVModel

extension Workload: ExpressibleByArgument {}
extension Distribution: ExpressibleByArgument {}

/// A size as people write it.
struct SizeArgument: Equatable, CustomStringConvertible {
  var bytes: Int

  init(_ bytes: Int) { self.bytes = bytes }

  init(reading text: String) throws {
    guard let bytes = Amounts.bytes(text), let size = Int(exactly: bytes) else {
      throw ValidationError("a size is a number and its unit, such as 512, 1KiB or 1MiB")
    }
    self.bytes = size
  }

  var description: String { Units.size(bytes: UInt64(max(0, bytes))) }
}

/// By what way the load reaches the cluster.
enum BenchThrough: String, CaseIterable, ExpressibleByArgument {
  case raw
  case client
}

/// The flags of `kvctl bench`.
struct BenchOptions: ParsableArguments {
  @Option(
    name: .long,
    help: "a, b, c, d, f (YCSB), get or put.")
  var workload: Workload = .a
  @Option(name: .long, help: "uniform, zipfian or latest; else what belongs to the workload.")
  var distribution: Distribution?
  @Option(name: .long, help: ArgumentHelp("Records that are there, or that --load writes.", valueName: "count"))
  var records: UInt64 = 100_000
  @Option(name: .long, help: ArgumentHelp("Bytes of a key, 8 to 256.", valueName: "size"))
  var keySize = 16
  @Option(
    name: .long, help: ArgumentHelp("Bytes of a value, 0 to 1MiB.", valueName: "size"),
    transform: SizeArgument.init(reading:))
  var valueSize = SizeArgument(1_024)
  @Flag(name: .long, help: "Write every record first. With --duration 0s: nothing else.")
  var load = false
  @Option(name: .long, help: ArgumentHelp("Connections in all, over all nodes.", valueName: "count"))
  var clients = 64
  @Option(name: .long, help: ArgumentHelp("Requests in flight for each connection.", valueName: "count"))
  var pipeline = 1
  @Option(
    name: .long,
    help: ArgumentHelp("Open loop: so many operations a second, whatever the answers do.", valueName: "ops/s"))
  var rate: Double?
  @Option(
    name: .long, help: ArgumentHelp("How long to measure.", valueName: "duration"),
    transform: DurationArgument.init(reading:))
  var duration = DurationArgument(.seconds(10))
  @Option(
    name: .long, help: ArgumentHelp("How long to run before that.", valueName: "duration"),
    transform: DurationArgument.init(reading:))
  var warmup = DurationArgument(.seconds(2))
  @Option(name: .long, help: "one, quorum (default) or all owners must answer.")
  var consistency: String?
  @Option(name: .long, help: ArgumentHelp("Drive redis instead: GET and SET.", valueName: "resp://host:port"))
  var target: String?
  @Option(name: .long, help: "raw (default): the protocol itself; client: KVClient's async API.")
  var through: BenchThrough = .raw
  @Option(name: .long, help: ArgumentHelp("Event loops of the generator.", valueName: "count"))
  var loops = 1
  @Option(name: .long, help: "The same seed gives the same operations.")
  var seed: UInt64 = 1
}

/// What a benchmark does, checked.
struct BenchPlan: Equatable, Sendable {
  enum Target: Equatable, Sendable {
    case cluster
    case resp(Address)
  }

  var workload: Workload
  var distribution: Distribution
  var records: UInt64
  var keySize: Int
  var valueSize: Int
  var load: Bool
  var clients: Int
  var pipeline: Int
  var rate: Double?
  var durationNs: UInt64
  var warmupNs: UInt64
  var consistency: KVConsistency
  var target: Target
  var through: BenchThrough
  var loops: Int
  var seed: UInt64

  private static let usersMax = 1_000_000
  private static let longest = Duration.seconds(7 * 86_400)

  init(_ options: BenchOptions) throws(CommandFailure) {
    workload = options.workload
    distribution = options.distribution ?? options.workload.distribution
    records = options.records
    keySize = options.keySize
    valueSize = options.valueSize.bytes
    load = options.load
    clients = options.clients
    pipeline = options.pipeline
    rate = options.rate
    durationNs = try BenchPlan.nanoseconds(options.duration.duration, "--duration")
    warmupNs = try BenchPlan.nanoseconds(options.warmup.duration, "--warmup")
    consistency = try Consistency.of(options.consistency, count: nil, flag: "")
    target = try BenchPlan.target(options.target)
    through = options.through
    loops = options.loops
    seed = options.seed
    try check()
  }

  private func check() throws(CommandFailure) {
    try BenchPlan.within("--key-size", keySize, KeyMaker.sizes)
    try BenchPlan.within("--value-size", valueSize, 0...Limits.valueBytesMax)
    try BenchPlan.within("--clients", clients, 1...10_000)
    try BenchPlan.within("--pipeline", pipeline, 1...1_024)
    try BenchPlan.within("--loops", loops, 1...min(clients, 64))
    guard clients * pipeline <= BenchPlan.usersMax else {
      throw .usage("--clients times --pipeline is above \(BenchPlan.usersMax) requests in flight")
    }
    // Inserts need keys of their own behind those of the records.
    let room = KeyMaker(size: keySize).recordsMax / (workload.mix.insert > 0 ? 2 : 1)
    guard (1...room).contains(records) else {
      throw .usage("--records \(records): give 1 to \(room), which keys of \(keySize) bytes can name")
    }
    if let rate {
      guard rate >= 0.01, rate <= 10_000_000 else { throw .usage("--rate \(rate): give 0.01 to 10000000") }
    }
    guard durationNs > 0 || load else { throw .usage("--duration 0s measures nothing; give it with --load") }
    if case .resp = target {
      guard through == .raw else { throw .usage("--through client reaches RingKV alone, not --target") }
      guard consistency == .quorum else { throw .usage("--consistency is RingKV's, not --target's") }
    }
  }

  private static func within(_ flag: String, _ value: Int, _ range: ClosedRange<Int>) throws(CommandFailure) {
    guard range.contains(value) else {
      throw .usage("\(flag) \(value): give \(range.lowerBound) to \(range.upperBound)")
    }
  }

  private static func nanoseconds(_ duration: Duration, _ flag: String) throws(CommandFailure) -> UInt64 {
    guard duration >= .zero, duration <= longest else { throw .usage("\(flag): give 0s to 7d") }
    return UInt64(duration / .nanoseconds(1))
  }

  private static func target(_ text: String?) throws(CommandFailure) -> Target {
    guard let text else { return .cluster }
    let prefix = "resp://"
    guard text.hasPrefix(prefix), let address = Address(String(text.dropFirst(prefix.count))) else {
      throw .usage("--target \(text): give resp://host:port, such as resp://127.0.0.1:6379")
    }
    return .resp(address)
  }
}
