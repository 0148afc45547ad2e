extension KeyHistory {
  /// The history of each key, in the order of their first operations. Finds what breaks DF and DU on the way.
  static func all(
    of history: History, _ bounds: HistoryChecker.Bounds, _ findings: inout [Finding]
  ) -> [KeyHistory] {
    var resolver = Resolver(history)
    resolver.distribute(bounds)
    resolver.resolve()
    findings += resolver.findings
    return resolver.keys
  }

  /// Turns numbers of operations into places in the histories of their keys.
  private struct Resolver {
    let operations: [Operation]
    var keys: [KeyHistory] = []
    var findings: [Finding] = []
    /// Where each number stands in `operations`.
    private var positions: [Int: Int] = [:]
    /// For each operation its key's place in `keys`.
    private var slots: [Int] = []
    /// For each operation its place in its key's writes or gets; -1: it was left out.
    private var places: [Int] = []

    init(_ history: History) {
      let isOrdered = zip(history.operations, history.operations.dropFirst()).allSatisfy {
        $0.invokedAt <= $1.invokedAt
      }
      operations = isOrdered ? history.operations : history.operations.sortedByInvocation()
      positions.reserveCapacity(operations.count)
      slots.reserveCapacity(operations.count)
      places.reserveCapacity(operations.count)
    }

    mutating func distribute(_ bounds: HistoryChecker.Bounds) {
      var slotOfKey: [Int: Int] = [:]
      for (position, operation) in operations.enumerated() {
        positions[operation.number] = position
        let slot = slotOfKey[operation.key] ?? keys.count
        if slot == keys.count {
          slotOfKey[operation.key] = slot
          keys.append(KeyHistory())
        }
        slots.append(slot)
        let isAnswered = operation.outcome == .ok && operation.returnedAt != nil
        let tells = operation.isWrite ? operation.outcome != .rejected : isAnswered
        places.append(tells ? keys[slot].add(operation, end: bounds.end(of: operation)) : -1)
      }
    }

    mutating func resolve() {
      let told = operations.indices.filter { places[$0] >= 0 }
      for position in told where !operations[position].isWrite { resolveShown(position) }
      for position in told where operations[position].isWrite { resolveBasis(position) }
      for slot in keys.indices { keys[slot].order() }
    }

    private mutating func resolveBasis(_ position: Int) {
      let write = operations[position]
      let slot = slots[position]
      let place = places[position]
      guard let context = write.context else {
        keys[slot].writes[place].basis = .overwrite
        return
      }
      guard let origin = positions[context], slots[origin] == slot, places[origin] >= 0,
        operations[origin].outcome == .ok, let returned = operations[origin].returnedAt, returned <= write.invokedAt
      else { return }
      if operations[origin].isWrite {
        if origin < position { keys[slot].writes[place].basis = .receipt(places[origin]) }
      } else if keys[slot].gets[places[origin]].isBelieved {
        keys[slot].writes[place].basis = .get(places[origin])
      }
    }

    private mutating func resolveShown(_ position: Int) {
      let get = operations[position]
      let slot = slots[position]
      let begin = keys[slot].shown.count
      for number in get.seen {
        if let failure = definiteFailure(of: number, in: get) {
          findings.append(failure)
          keys[slot].gets[places[position]].isBelieved = false
        } else if let shown = positions[number].map({ places[$0] }) {
          if keys[slot].shown[begin...].contains(shown) {
            let message = "get \(get.number) returned put \(number) twice"
            findings.append(finding(.dotUnique, message, [number, get.number], get))
          } else {
            keys[slot].shown.append(shown)
          }
        }
      }
      keys[slot].gets[places[position]].shown = begin..<keys[slot].shown.count
    }

    private func definiteFailure(of number: Int, in get: Operation) -> Finding? {
      guard let position = positions[number] else {
        return finding(.definiteFailure, "get \(get.number) returned \(number), which nobody wrote", [get.number], get)
      }
      let write = operations[position]
      let what: String
      if write.kind != .put {
        what = "returned the number of \(write.kind.rawValue) \(number), which wrote no value"
      } else if write.key != get.key {
        what = "returned put \(number), which wrote another key"
      } else if write.outcome == .rejected {
        what = "returned put \(number), which was rejected" + (write.error.map { " (\($0))" } ?? "")
      } else if write.invokedAt > get.returnedAt ?? .max {
        what = "returned put \(number), which was invoked only afterwards"
      } else {
        return nil
      }
      return finding(.definiteFailure, "get \(get.number) \(what)", [number, get.number], get)
    }

    private func finding(_ code: Invariant, _ message: String, _ operations: [Int], _ get: Operation) -> Finding {
      Finding(
        at: get.returnedAt ?? .max, shownBy: get.number, violation: Violation(code, message, operations: operations))
    }
  }
}

extension [Operation] {
  /// The order of a history: by invocation, then by number.
  func sortedByInvocation() -> [Operation] { sorted { ($0.invokedAt, $0.number) < ($1.invokedAt, $1.number) } }
}
