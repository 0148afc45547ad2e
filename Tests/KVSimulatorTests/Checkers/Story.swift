import KVSimulator

/// A history told operation by operation. Times are nanoseconds; each operation is named by the number that is returned.
struct Story {
  var history: History

  init(copies: Int = 3, readQuorum: Int = 2, writeQuorum: Int = 2) {
    history = History(copies: copies, readQuorum: readQuorum, writeQuorum: writeQuorum, keys: ["k", "l"])
  }

  mutating func put(
    _ at: ClosedRange<UInt64>, context: Int? = nil, quorum: Int? = nil, key: Int = 0,
    _ change: (inout Operation) -> Void = { _ in }
  ) -> Int {
    tell(.put, at, quorum ?? history.writeQuorum, key) {
      $0.context = context
      change(&$0)
    }
  }

  mutating func delete(
    _ at: ClosedRange<UInt64>, context: Int? = nil, quorum: Int? = nil, _ change: (inout Operation) -> Void = { _ in }
  ) -> Int {
    tell(.delete, at, quorum ?? history.writeQuorum, 0) {
      $0.context = context
      change(&$0)
    }
  }

  @discardableResult
  mutating func get(_ at: ClosedRange<UInt64>, _ seen: [Int], quorum: Int? = nil, key: Int = 0) -> Int {
    tell(.get, at, quorum ?? history.readQuorum, key) { $0.seen = seen }
  }

  private mutating func tell(
    _ kind: Operation.Kind, _ at: ClosedRange<UInt64>, _ quorum: Int, _ key: Int, _ change: (inout Operation) -> Void
  ) -> Int {
    let number = history.operations.count + 1
    var operation = Operation(
      number: number, client: number % 5, kind: kind, key: key, quorum: quorum, invokedAt: at.lowerBound)
    operation.returnedAt = at.upperBound
    operation.outcome = .ok
    change(&operation)
    history.operations.append(operation)
    return number
  }

  /// What the checker says: codes and the operations they name.
  func verdict(_ bounds: HistoryChecker.Bounds = .init()) -> [String] {
    HistoryChecker.check(history, bounds: bounds).map { violation in
      "\(violation.invariant.rawValue) \(violation.operations)"
    }
  }
}

/// No answer came.
func unknown(_ operation: inout Operation) {
  operation.outcome = .unknown
  operation.returnedAt = nil
}

func rejected(_ operation: inout Operation) { operation.outcome = .rejected }
func expiring(_ operation: inout Operation) { operation.ttlMs = 1_000 }
func retried(_ operation: inout Operation) { operation.attempts = 2 }
