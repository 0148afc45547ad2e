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
  private enum Form: Sendable {
    case load(next: UInt64, stride: UInt64, end: UInt64, again: [Operation])
    case workload(Generator)
  }

  /// How often a record is tried before its load is given up.
  static let loadAttempts = 20

  private var form: Form
  private var attempts: [UInt64: Int] = [:]

  /// The part of driver `lane` of `lanes`.
  init(_ stage: BenchStage, lane: Int, lanes: Int) {
    switch stage.work {
    case .load(let records): form = .load(next: UInt64(lane), stride: UInt64(lanes), end: records, again: [])
    case .workload(let mix, let distribution, let records):
      let inserts = InsertSequence(preloaded: records, lane: lane, lanes: lanes)
      let seed = stage.seed &+ UInt64(lane) &* 0x9e37_79b9_7f4a_7c15
      form = .workload(Generator(mix, distribution, inserts, seed: seed))
    }
  }

  /// nil when there are no more, for now.
  mutating func next() -> Operation? {
    switch form {
    case .load(let next, let stride, let end, var again):
      if let operation = again.popLast() {
        form = .load(next: next, stride: stride, end: end, again: again)
        return operation
      }
      guard next < end else { return nil }
      form = .load(next: next + stride, stride: stride, end: end, again: again)
      return Operation(kind: .insert, record: next)
    case .workload(var generator):
      defer { form = .workload(generator) }
      return generator.next()
    }
  }

  /// An operation has ended. True: it counts; false: it will be tried again.
  mutating func settle(_ operation: Operation, isDone: Bool) -> Bool {
    switch form {
    case .load(let next, let stride, let end, var again):
      if isDone { return true }
      attempts[operation.record, default: 0] += 1
      guard attempts[operation.record, default: 0] < OperationSource.loadAttempts else { return true }
      again.append(operation)
      form = .load(next: next, stride: stride, end: end, again: again)
      return false
    case .workload(var generator):
      generator.settle(operation)
      form = .workload(generator)
      return true
    }
  }
}
