import KVClient
import KVModel
import KVSimulator

/// One client of a load: a sequence of operations, one at a time.
struct LoadClient {
  let number: Int
  let store: KVClient
  let load: LoadPlan
  let journal: LoadJournal
  private let began = LoadJournal.now
  private var prng: PRNG
  private var memories: [Int: LoadMemory] = [:]

  init(_ number: Int, store: KVClient, _ load: LoadPlan, _ journal: LoadJournal, _ prng: PRNG) {
    self.number = number
    self.store = store
    self.load = load
    self.journal = journal
    self.prng = prng
  }

  /// Until `isOver`, at the load's pace.
  mutating func run(until isOver: () -> Bool) async {
    let clock = ContinuousClock()
    var next = clock.now + load.pause * Double(prng.below(1_000)) / 1_000
    while !isOver() {
      try? await clock.sleep(until: next)
      let isFine = await step()
      // A node that is down refuses at once: no need to ask it thousands of times a second.
      let pause = isFine ? .zero : Duration.milliseconds(Int64(prng.within(10...60)))
      next = max(next + load.pause, clock.now + pause)
    }
  }

  /// False when something failed.
  private mutating func step() async -> Bool {
    let ms = Int((LoadJournal.now - began) / 1_000_000)
    let key = min(load.mix.key(afterMs: ms, &prng), load.keys.count - 1)
    switch load.mix.action(&prng) {
    case .get: return await get(key, load.mix.readConsistency(&prng))
    case .readModifyWrite:
      guard await get(key, .quorum) else { return false }
      // What is absent is made anew.
      let isDeleted = !(memories[key]?.isAbsent ?? true) && prng.chance(1, of: 8)
      return await isDeleted ? delete(key, .last) : put(key, .last)
    case .put(let basis): return await put(key, basis)
    case .delete(let basis): return await delete(key, basis)
    }
  }

  private mutating func operation(_ kind: Operation.Kind, _ key: Int, _ consistency: KVConsistency) -> Operation {
    Operation(
      number: journal.nextNumber(), client: number, kind: kind, key: key,
      quorum: load.quorum(consistency, isWrite: kind != .get), invokedAt: LoadJournal.now)
  }

  mutating func get(_ key: Int, _ consistency: KVConsistency) async -> Bool {
    var operation = operation(.get, key, consistency)
    do throws(KVError) {
      let state = try await store.read(
        load.keys[key], consistency: consistency, deadline: load.mix.deadline(&prng))
      operation.returnedAt = LoadJournal.now
      operation.outcome = .ok
      operation.seen = state.versions.compactMap { $0.value.map(LoadValue.number) }
      memories[key, default: LoadMemory()].note(operation.number, state.context, &prng)
      memories[key]?.isAbsent = state.value == nil
    } catch {
      fail(&operation, error)
    }
    journal.end(operation)
    return operation.outcome == .ok
  }

  private mutating func put(_ key: Int, _ basis: LoadMix.Basis) async -> Bool {
    await write(.put, key, basis, bytes: load.mix.valueBytes(&prng))
  }

  private mutating func delete(_ key: Int, _ basis: LoadMix.Basis) async -> Bool {
    await write(.delete, key, basis, bytes: nil)
  }

  /// A put of so many bytes, or a delete.
  private mutating func write(_ kind: Operation.Kind, _ key: Int, _ basis: LoadMix.Basis, bytes: Int?) async -> Bool {
    let answer = memories[key]?.answer(for: basis)
    let consistency = load.mix.writeConsistency(&prng)
    let deadline = load.mix.deadline(&prng)
    var operation = operation(kind, key, consistency)
    operation.context = answer?.operation
    let value = bytes.map { LoadValue.make(operation.number, bytes: $0) }
    journal.begin(operation)
    do throws(KVError) {
      let receipt =
        if let value {
          try await store.put(
            load.keys[key], value, context: answer?.context, consistency: consistency, deadline: deadline)
        } else {
          try await store.delete(
            load.keys[key], context: answer?.context, consistency: consistency, deadline: deadline)
        }
      operation.returnedAt = LoadJournal.now
      operation.outcome = .ok
      if load.usesReceipts, let context = receipt.context {
        memories[key, default: LoadMemory()].note(operation.number, context, &prng)
      }
    } catch {
      fail(&operation, error)
    }
    journal.end(operation)
    return operation.outcome == .ok
  }

  private func fail(_ operation: inout Operation, _ error: KVError) {
    operation.returnedAt = LoadJournal.now
    operation.error = error.code.description
    switch error.outcome {
    case .notApplied: operation.outcome = .rejected
    case .applied: operation.outcome = .ok
    case .unknown: operation.outcome = operation.isWrite ? .unknown : .rejected
    }
  }
}
