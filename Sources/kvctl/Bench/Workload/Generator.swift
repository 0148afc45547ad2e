import KVModel

/// One operation: what to do with which record.
struct Operation: Equatable, Sendable {
  var kind: OperationKind
  var record: UInt64
}

/// Chooses records by a distribution.
enum RecordChooser: Sendable {
  case uniform
  case zipfian(ScrambledZipfian)
  case latest(Zipfian)

  init(_ distribution: Distribution, records: UInt64) {
    switch distribution {
    case .uniform: self = .uniform
    case .zipfian: self = .zipfian(ScrambledZipfian(records: records))
    case .latest: self = .latest(Zipfian(items: records))
    }
  }

  /// A place among those that `inserts` has. Zipfian popularity stays with the records that were loaded, since another
  /// number of records would give every rank another record.
  mutating func place(_ inserts: InsertSequence, _ random: inout PRNG) -> UInt64 {
    switch self {
    case .uniform: return random.below(inserts.count)
    case .zipfian(var ranks):
      defer { self = .zipfian(ranks) }
      return ranks.next(&random)
    case .latest(var ranks):
      ranks.grow(to: inserts.count)
      defer { self = .latest(ranks) }
      return inserts.count - 1 - ranks.next(&random)
    }
  }
}

/// An endless stream of operations: a workload, a distribution and a seed. The same seed gives the same stream.
struct Generator: Sendable {
  private let mix: Mix
  private var chooser: RecordChooser
  private var inserts: InsertSequence
  private var random: PRNG

  init(_ mix: Mix, _ distribution: Distribution, _ inserts: InsertSequence, seed: UInt64) {
    self.mix = mix
    self.inserts = inserts
    chooser = RecordChooser(distribution, records: inserts.preloaded)
    random = PRNG(seed: seed)
  }

  mutating func next() -> Operation {
    let kind = mix.kind(of: random.below(100))
    if kind == .insert { return Operation(kind: kind, record: inserts.take()) }
    return Operation(kind: kind, record: inserts.record(at: chooser.place(inserts, &random)))
  }

  /// Hears that an operation has ended.
  mutating func settle(_ operation: Operation) {
    if operation.kind == .insert { inserts.settle(operation.record) }
  }
}
