import KVModel

/// A stage of a benchmark: what to do, from when to when. Times are nanoseconds of `BenchClock`.
struct BenchStage: Sendable {
  enum Work: Sendable {
    /// Writes every record once; ends when all are written.
    case load(records: UInt64)
    /// Runs a workload over records that are there, until `end`.
    case workload(Mix, Distribution, records: UInt64)
  }

  var work: Work
  var start: UInt64
  /// Operations that are meant to begin before this warm everything up and are not counted.
  var measureFrom: UInt64
  /// No operation is meant to begin at or after this.
  var end: UInt64
  /// What has begun may take until this.
  var drainUntil: UInt64
  /// Operations a second in all, over all drivers; nil: closed loop.
  var rate: Double?
  var seed: UInt64
}

/// The operations of one driver in one stage.
struct OperationSource: Sendable {
  /// How often a record is tried before its load is given up.
  static let loadAttempts = 20

  /// The records that this driver loads.
  fileprivate struct Load: Sendable {
    var next: UInt64
    let stride: UInt64
    let end: UInt64
    var again: [Operation] = []
    var attempts: [UInt64: Int] = [:]
  }

  // One of the two; no enum, whose payload would be taken out and put back for each operation.
  private var load: Load?
  private var generator: Generator?

  /// The part of driver `lane` of `lanes`.
  init(_ stage: BenchStage, lane: Int, lanes: Int) {
    switch stage.work {
    case .load(let records): load = Load(next: UInt64(lane), stride: UInt64(lanes), end: records)
    case .workload(let mix, let distribution, let records):
      let inserts = InsertSequence(preloaded: records, lane: lane, lanes: lanes)
      let seed = stage.seed &+ UInt64(lane) &* 0x9e37_79b9_7f4a_7c15
      generator = Generator(mix, distribution, inserts, seed: seed)
    }
  }

  /// nil when there are no more, for now.
  mutating func next() -> Operation? { generator?.next() ?? load?.take() }

  /// An operation has ended. True: it counts; false: it will be tried again.
  mutating func settle(_ operation: Operation, isDone: Bool) -> Bool {
    generator?.settle(operation)
    return isDone || load?.isGivenUp(operation) ?? true
  }
}

extension OperationSource.Load {
  fileprivate mutating func take() -> Operation? {
    if let operation = again.popLast() { return operation }
    guard next < end else { return nil }
    defer { next += stride }
    return Operation(kind: .insert, record: next)
  }

  /// False: it will be tried again.
  fileprivate mutating func isGivenUp(_ operation: Operation) -> Bool {
    attempts[operation.record, default: 0] += 1
    if attempts[operation.record, default: 0] >= OperationSource.loadAttempts { return true }
    again.append(operation)
    return false
  }
}
