import KVModel

/// All that a run is made of, drawn from its seed. Swarm style: each run leaves out a random part of the faults and of
/// the operations (Groce et al., "Swarm Testing", ISSTA 2012).
public struct SimulationOptions: Equatable, Sendable {
  public var seed: UInt64

  // The cluster.
  public var nodes = 3
  /// S of each node.
  public var shards: [Int] = [1, 1, 1]
  public var copies = 3
  public var readQuorum = 2
  public var writeQuorum = 2
  public var partitionBits = 8
  /// A longer record is answered by its digest first.
  public var inlineBytesMax: UInt32 = 4_096
  /// How often each shard compares a partition with another owner, nanoseconds; 0 = never.
  public var exchangeInterval: UInt64 = 0
  /// Hints of keys that a shard keeps before it marks leaves; nil: owners that miss a write are not noted.
  public var hintKeysMax: Int? = 1_000_000
  /// How a shard drops the bytes of what has expired; an interval of 0 = never.
  public var sweeps = Sweeps()
  /// The walk for damage that nobody reads; 0 = none.
  public var scrubBytesPerSecond: UInt64 = 0
  /// What pulls into gaps may bring a second; 0 = no limit.
  public var pullBytesPerSecond: UInt64 = 0
  /// For how long a node whose data went back in time looks for another one of its id, nanoseconds.
  public var rivalSilence: UInt64 = 10_000_000_000

  public var workload = Workload()
  public var network = Network()
  public var disks = Disks()
  public var clocks = Clocks()
  /// Kinds of fault that happen, and the mean time between two faults, nanoseconds.
  public var faults: Set<Fault.Kind> = []
  public var faultInterval: UInt64 = 1_000_000_000
  /// Simulated time after which the faults end, whatever was completed by then, nanoseconds.
  public var faultsUntil: UInt64 = 60_000_000_000
  /// Part of the drawn faults that happen, by their place; nil: all. For shrinking.
  public var keptFaults: [Int]?

  public struct Workload: Equatable, Sendable {
    public var clients = 8
    /// Operations that are to be completed before the faults end.
    public var operations = 1_000
    public var keys = 20
    /// Of a hundred operations so many go to the first key.
    public var hotShare: UInt64 = 30
    public var valueBytesMax: UInt64 = 32
    /// Mean pause of a client between two operations, nanoseconds.
    public var think: UInt64 = 1_000_000
    /// The deadline of a request, milliseconds.
    public var deadlineMs: UInt64 = 1_000
    /// Times to live are drawn up to this.
    public var ttlMsMax: UInt64 = 2_000
    /// Weights of the operations; 0 leaves one out.
    public var weights: [Kind: UInt64] = [.get: 40, .put: 20, .putContext: 20]
    /// Chances in a hundred.
    public var staleContext: UInt64 = 0
    public var weakReads: UInt64 = 0
    public var allReads: UInt64 = 0
    public var retries: UInt64 = 0
    public var cancels: UInt64 = 0
    /// Chance that a request goes to a node that is no owner.
    public var strayRequests: UInt64 = 0
    /// The client's connection loses a request or its answer, in ten thousand.
    public var lost: UInt64 = 0

    public enum Kind: String, CaseIterable, Sendable {
      case get
      case put
      case putContext = "put-context"
      case delete
      case deleteContext = "delete-context"
      case putExpiring = "put-expiring"
      /// A read of a key at the moment when what was put there last expires.
      case getAtExpiry = "get-at-expiry"
      case readModifyWrite = "read-modify-write"
      case foreignContext = "foreign-context"
    }
  }

  public struct Network: Equatable, Sendable {
    /// Mean one-way delay, nanoseconds; exponential, so messages overtake each other.
    public var delay: UInt64 = 500_000
    /// Chances in ten thousand.
    public var loss: UInt64 = 0
    public var duplication: UInt64 = 0
    public var clogged: UInt64 = 0
    /// Mean time that a clogged message waits, nanoseconds.
    public var clogDelay: UInt64 = 0
    /// After so long without a way through, an end sees that its link is down, nanoseconds.
    public var detection: UInt64 = 3_000_000_000
  }

  public struct Disks: Equatable, Sendable {
    /// Mean time of a sync, nanoseconds.
    public var sync: UInt64 = 250_000
    /// A read that must wait for the disk, millionths.
    public var slowRead: UInt64 = 0
    /// One of these that the disk does not answer, this time; millionths.
    public var readError: UInt64 = 0
  }

  public struct Clocks: Equatable, Sendable {
    /// Wall clocks are off by at most so much either way, milliseconds.
    public var offsetMs: UInt64 = 0
    /// Monotonic clocks run faster or slower by at most so much, millionths.
    public var driftMillionths: UInt64 = 0
  }

  public struct Sweeps: Equatable, Sendable {
    public var intervalMs: UInt64 = 0
    /// After the expiry, by the node's own clock.
    public var marginMs: UInt64 = 1_000
    public var keysPerSecond: UInt64 = 10_000
  }

  /// A cluster without faults, to be adjusted.
  public init(seed: UInt64) { self.seed = seed }

  /// The options of a seed.
  public static func drawn(from seed: UInt64) -> SimulationOptions {
    var options = SimulationOptions(seed: seed)
    var prng = PRNG(seed: seed)
    options.drawCluster(&prng)
    options.drawWorkload(&prng)
    options.drawNetwork(&prng)
    options.drawDisksAndClocks(&prng)
    options.drawFaults(&prng)
    options.exchangeInterval = [0, 0, 20_000_000, 100_000_000][prng.index(4)]
    options.drawHints(&prng)
    options.drawSweeps(&prng)
    options.drawRebuild(&prng)
    return options
  }

  /// In most runs; in some with hardly any room, and in some they alone have to heal, since nobody compares and nothing
  /// happens that hints do not promise to outlast.
  private mutating func drawHints(_ prng: inout PRNG) {
    hintKeysMax = [nil, 0, 2, 5, 1_000_000, 1_000_000, 1_000_000, 1_000_000][prng.index(8)]
    if prng.chance(1, of: 5) {
      hintKeysMax = 1_000_000
      exchangeInterval = 0
      faults.subtract(Fault.Kind.beyondHints)
      if prng.chance(1, of: 2) {
        disks.slowRead = 50_000
        disks.readError = 300_000
      }
      if prng.chance(2, of: 3) { writeWhatNobodyReads() }
    }
  }

  /// Two copies, one of them acknowledged, many keys and hardly a read: an owner that misses a write has one hint, and
  /// nothing else. With three copies another owner mostly has the same hint, and with reads they are repaired: a hint that
  /// is lost then goes unnoticed.
  private mutating func writeWhatNobodyReads() {
    (copies, readQuorum, writeQuorum) = (2, 2, 1)
    workload.weights = [.get: 1, .put: 40, .delete: 6]
    (workload.keys, workload.hotShare) = (200, 0)
    (workload.retries, workload.cancels) = (0, 0)
    faults.formUnion([.isolate, .pause])
    network.loss = max(network.loss, 100)
  }

  /// In most runs; often with many keys that expire, and reads at the moment
  /// when they do.
  private mutating func drawSweeps(_ prng: inout PRNG) {
    if prng.chance(3, of: 4) { sweeps.intervalMs = [20, 100, 1_000][prng.index(3)] }
    sweeps.marginMs = [0, 1_000, 3_000][prng.index(3)]
    sweeps.keysPerSecond = [20, 1_000, 10_000][prng.index(3)]
    if prng.chance(1, of: 3) {
      workload.weights[.putExpiring] = 30
      workload.weights[.getAtExpiry] = 20
      workload.ttlMsMax = [30, 300, 2_000][prng.index(3)]
    }
  }

  /// Drawn last, so that it shifts nothing else. Where bits flip something must look for them.
  private mutating func drawRebuild(_ prng: inout PRNG) {
    let scrub: UInt64 = [40_000, 400_000][prng.index(2)]
    if faults.contains(.bitFlip) || prng.chance(1, of: 4) { scrubBytesPerSecond = scrub }
    pullBytesPerSecond = [0, 0, 2_000, 50_000][prng.index(4)]
    rivalSilence = [100_000_000, 300_000_000, 10_000_000_000][prng.index(3)]
  }

  private mutating func drawCluster(_ prng: inout PRNG) {
    nodes = [3, 3, 3, 4, 5, 5, 6, 7][prng.index(8)]
    shards = (0..<nodes).map { _ in 1 }
    if prng.chance(1, of: 3) { shards = shards.map { _ in [1, 2, 3][prng.index(3)] } }
    (copies, readQuorum, writeQuorum) = (3, 2, 2)
    if prng.chance(1, of: 4) {
      copies = 1 + prng.index(min(5, nodes))
      readQuorum = 1 + prng.index(copies)
      writeQuorum = max(copies - readQuorum + 1, 1 + prng.index(copies))
    }
    partitionBits = [8, 8, 9][prng.index(3)]
    inlineBytesMax = prng.chance(1, of: 3) ? 64 : 4_096
  }

  private mutating func drawWorkload(_ prng: inout PRNG) {
    workload.clients = [2, 4, 8, 8, 12][prng.index(5)]
    workload.operations = Int(prng.within(1_000...1_500))
    workload.keys = [1, 3, 10, 50, 200][prng.index(5)]
    workload.hotShare = [0, 20, 60][prng.index(3)]
    workload.valueBytesMax = [8, 32, 200, 6_000][prng.index(4)]
    workload.think = [0, 200_000, 2_000_000, 20_000_000][prng.index(4)]
    workload.deadlineMs = [100, 300, 1_000, 1_000, 5_000][prng.index(5)]
    workload.weights = [.get: 40]
    for (kind, weight) in [
      (Workload.Kind.put, 25), (.putContext, 25), (.delete, 8), (.deleteContext, 8), (.putExpiring, 5),
      (.readModifyWrite, 25), (.foreignContext, 1),
    ] where prng.chance(2, of: 3) { workload.weights[kind] = UInt64(weight) }
    if workload.weights.count == 1 { workload.weights[.put] = 25 }
    workload.staleContext = prng.chance(1, of: 2) ? 20 : 0
    workload.weakReads = prng.chance(1, of: 3) ? 20 : 0
    workload.allReads = prng.chance(1, of: 3) ? 5 : 0
    workload.retries = prng.chance(2, of: 3) ? 80 : 0
    workload.cancels = prng.chance(1, of: 3) ? 3 : 0
    workload.strayRequests = prng.chance(1, of: 2) ? 20 : 0
    workload.lost = prng.chance(1, of: 3) ? 100 : 0
  }

  private mutating func drawNetwork(_ prng: inout PRNG) {
    network.delay = [100_000, 500_000, 500_000, 2_000_000, 20_000_000][prng.index(5)]
    network.loss = prng.chance(1, of: 2) ? [10, 100, 1_000][prng.index(3)] : 0
    network.duplication = prng.chance(1, of: 2) ? [10, 100, 2_000][prng.index(3)] : 0
    network.clogged = prng.chance(1, of: 2) ? [10, 50, 200][prng.index(3)] : 0
    network.clogDelay = [10_000_000, 300_000_000, 3_000_000_000][prng.index(3)]
    network.detection = [500_000_000, 3_000_000_000, 10_000_000_000][prng.index(3)]
  }

  private mutating func drawDisksAndClocks(_ prng: inout PRNG) {
    disks.sync = [20_000, 250_000, 250_000, 5_000_000][prng.index(4)]
    disks.slowRead = prng.chance(1, of: 2) ? 50_000 : 0
    clocks.offsetMs = prng.chance(1, of: 2) ? [1, 100, 240][prng.index(3)] : 0
    clocks.driftMillionths = prng.chance(1, of: 2) ? 100 : 0
  }

  private mutating func drawFaults(_ prng: inout PRNG) {
    for kind in Fault.Kind.drawn where prng.chance(1, of: 2) { faults.insert(kind) }
    faultInterval = [30_000_000, 150_000_000, 700_000_000][prng.index(3)]
  }

  /// Each option on a line of its own, for people.
  public var lines: [String] {
    let weights = Workload.Kind.allCases.compactMap { kind in workload.weights[kind].map { "\(kind.rawValue) \($0)" } }
    let kinds = Fault.Kind.allCases.filter { faults.contains($0) }.map(\.rawValue)
    return [
      "seed \(seed)",
      "cluster: \(nodes) nodes, shards \(shards.map(String.init).joined(separator: " ")), N=\(copies) "
        + "R=\(readQuorum) W=\(writeQuorum), 2^\(partitionBits) partitions, records inline up to \(inlineBytesMax) bytes, "
        + (exchangeInterval == 0 ? "no exchanges" : "an exchange every \(milliseconds(exchangeInterval))") + ", "
        + (hintKeysMax.map { "up to \($0) hints" } ?? "no hints") + ", "
        + (scrubBytesPerSecond == 0 ? "no scrub" : "scrub \(scrubBytesPerSecond) bytes/s") + ", "
        + (pullBytesPerSecond == 0 ? "pulls unpaced" : "pulls \(pullBytesPerSecond) bytes/s"),
      "what expired is swept: "
        + (sweeps.intervalMs == 0
          ? "never"
          : "every \(sweeps.intervalMs) ms, \(sweeps.marginMs) ms late or more, \(sweeps.keysPerSecond) keys a second"),
      "clients: \(workload.clients), \(workload.operations) operations on \(workload.keys) keys (\(workload.hotShare) % "
        + "on the first), values up to \(workload.valueBytesMax) bytes, deadline \(workload.deadlineMs) ms, "
        + "think \(milliseconds(workload.think))",
      "operations: \(weights.joined(separator: ", ")); times to live up to \(workload.ttlMsMax) ms",
      "of a hundred: stale contexts \(workload.staleContext), reads of one \(workload.weakReads), of all "
        + "\(workload.allReads), retries \(workload.retries), cancels \(workload.cancels), strays "
        + "\(workload.strayRequests); lost on the way from or to a client \(percent(workload.lost))",
      "network: delay \(milliseconds(network.delay)), loss \(percent(network.loss)), duplicates "
        + "\(percent(network.duplication)), clogged \(percent(network.clogged)) for \(milliseconds(network.clogDelay)), "
        + "a dead link is noticed after \(milliseconds(network.detection))",
      "disks: sync \(milliseconds(disks.sync)), reads that wait \(percent(disks.slowRead / 100)), "
        + "of these \(percent(disks.readError / 100)) in vain",
      "clocks: off by up to \(clocks.offsetMs) ms, drift up to \(clocks.driftMillionths) millionths",
      "faults: \(kinds.isEmpty ? "none" : kinds.joined(separator: ", ")); one every \(milliseconds(faultInterval))"
        + (keptFaults.map { ", of these only \($0)" } ?? ""),
    ]
  }

  private func milliseconds(_ nanoseconds: UInt64) -> String {
    let micro = nanoseconds / 1_000
    return micro % 1_000 == 0 ? "\(micro / 1_000) ms" : "\(micro / 1_000).\(micro % 1_000 / 100) ms"
  }

  private func percent(_ tenThousandths: UInt64) -> String {
    "\(tenThousandths / 100).\(tenThousandths % 100 / 10)\(tenThousandths % 10) %"
  }
}
