/// What one operation of a benchmark does.
enum OperationKind: Int, CaseIterable, Sendable {
  case read = 0
  /// Replaces the value of a record that is there, whatever it is.
  case update = 1
  /// Writes a record that was not there.
  case insert = 2
  /// Reads a record and writes it under the context of that read.
  case readModifyWrite = 3

  /// Its name in reports.
  var name: String {
    switch self {
    case .read: "read"
    case .update: "update"
    case .insert: "insert"
    case .readModifyWrite: "read-modify-write"
    }
  }
}

/// How records are chosen.
enum Distribution: String, CaseIterable, Sendable {
  /// Every record alike.
  case uniform
  /// A few records are much more popular than the rest, θ = 0.99; which ones are spread over all of them.
  case zipfian
  /// The records that were written last are the popular ones.
  case latest
}

/// What share of the operations each kind has, in parts of 100.
///
/// Invariant: the parts add up to 100.
struct Mix: Equatable, Sendable {
  let read: UInt64
  let update: UInt64
  let insert: UInt64
  let readModifyWrite: UInt64

  init(read: UInt64 = 0, update: UInt64 = 0, insert: UInt64 = 0, readModifyWrite: UInt64 = 0) {
    guard read + update + insert + readModifyWrite == 100 else { fatalError("a mix is not of 100 parts") }
    self.read = read
    self.update = update
    self.insert = insert
    self.readModifyWrite = readModifyWrite
  }

  /// The kind that a draw from 0..<100 stands for.
  func kind(of draw: UInt64) -> OperationKind {
    if draw < read { return .read }
    if draw < read + update { return .update }
    if draw < read + update + insert { return .insert }
    return .readModifyWrite
  }
}

/// The core workloads of YCSB that need no scan (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC
/// 2010), and the two pure ones.
enum Workload: String, CaseIterable, Sendable {
  case a
  case b
  case c
  case d
  case f
  case get
  case put

  var mix: Mix {
    switch self {
    case .a: Mix(read: 50, update: 50)
    case .b: Mix(read: 95, update: 5)
    case .c, .get: Mix(read: 100)
    case .d: Mix(read: 95, insert: 5)
    case .f: Mix(read: 50, readModifyWrite: 50)
    case .put: Mix(update: 100)
    }
  }

  /// The distribution that belongs to it unless the user asks for another.
  var distribution: Distribution {
    switch self {
    case .a, .b, .c, .f: .zipfian
    case .d: .latest
    case .get, .put: .uniform
    }
  }
}
