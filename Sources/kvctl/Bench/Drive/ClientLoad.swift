import KVClient
import KVModel
import Synchronization

/// The same load through KVClient's async API: what a program that uses the library pays and gets.
final class ClientLoad: BenchEngine {
  struct Options: Sendable {
    var users: Int
    var keySize: Int
    var values: ValuePool
    var consistency: KVConsistency
    var timeout: Duration
    var seed: UInt64
  }

  private struct State {
    var run: StageRun?
    var progress = BenchProgress()
    var isCancelled = false
  }

  /// What became of one operation.
  private enum Fate {
    case done(found: Bool?)
    case failed(BenchFault)
  }

  private let client: KVClient
  private let options: Options
  private let state = Mutex(State())

  init(_ client: KVClient, _ options: Options) {
    self.client = client
    self.options = options
  }

  /// The client connects as it needs to; that it can is shown by the layout.
  func connect() async -> BenchReach {
    do throws(KVError) { _ = try await client.admin.fetchLayout() } catch {
      return BenchReach(faults: ["cluster": BenchFault(error)])
    }
    return BenchReach(reached: ["cluster"])
  }

  func perform(_ stage: BenchStage) async -> BenchTally {
    state.withLock { $0 = State(run: StageRun(stage, number: 0, of: 1)) }
    let tasks = (0..<options.users).map { user in Task { await self.work(user) } }
    await withTaskCancellationHandler {
      for task in tasks { await task.value }
    } onCancel: {
      for task in tasks { task.cancel() }
    }
    return state.withLock { state in
      guard let run = state.run else { return BenchTally() }
      var tally = run.tally
      tally.onFailed(
        BenchFault("unfinished", "not done when the run ended"), count: run.pacer.backlog(at: BenchClock.now()))
      state.run = nil
      return tally
    }
  }

  func progress(resetting: Bool) async -> BenchProgress {
    state.withLock { state in
      var progress = state.progress
      progress.backlog = state.run?.pacer.backlog(at: BenchClock.now()) ?? 0
      if resetting { state.progress.latencies.reset() }
      return progress
    }
  }

  func cancel() { state.withLock { $0.isCancelled = true } }

  func stop() async {}

  // MARK: One user

  private func work(_ user: Int) async {
    var random = PRNG(seed: options.seed &+ UInt64(user))
    let keys = KeyMaker(size: options.keySize)
    while let begun = begin() {
      switch begun {
      case .begin(let operation, let intended):
        let key = KVKey(keys.key(of: operation.record))
        let fate = await perform(operation.kind, key, options.values.next(&random).bytes)
        await settle(operation, intended, fate)
      case .wait(let until):
        let wait = Duration.nanoseconds(Int64(clamping: until &- min(until, BenchClock.now())))
        do { try await Task.sleep(for: wait) } catch { return }
      case .done: return
      }
    }
  }

  /// nil: the stage is over.
  private func begin() -> StageRun.Begun? {
    let now = BenchClock.now()
    return state.withLock { state in
      guard !state.isCancelled, let until = state.run?.stage.drainUntil, now < until else { return nil }
      return state.run?.next(at: now)
    }
  }

  private func perform(_ kind: OperationKind, _ key: KVKey, _ value: [UInt8]) async -> Fate {
    do throws(KVError) {
      switch kind {
      case .read:
        let read = try await client.get(key, consistency: options.consistency, deadline: options.timeout)
        return .done(found: read != nil)
      case .update, .insert:
        try await client.put(key, value, consistency: options.consistency, deadline: options.timeout)
        return .done(found: nil)
      case .readModifyWrite:
        let read = try await client.read(key, consistency: options.consistency, deadline: options.timeout)
        try await client.put(
          key, value, context: read.context, consistency: options.consistency, deadline: options.timeout)
        return .done(found: read.value != nil)
      }
    } catch { return .failed(BenchFault(error)) }
  }

  private func settle(_ operation: Operation, _ start: UInt64, _ fate: Fate) async {
    let now = BenchClock.now()
    let mustPause = state.withLock { state -> Bool in
      state.progress.completed += 1
      let isDone = if case .done = fate { true } else { false }
      let counts = state.run?.source.settle(operation, isDone: isDone) == true && state.run?.counts(start) == true
      switch fate {
      case .done(let found):
        state.progress.latencies.record(now > start ? now - start : 0)
        if counts { state.run?.tally.onDone(operation.kind, start: start, end: now, found: found) }
        return false
      case .failed(let fault):
        state.progress.failed += 1
        if counts { state.run?.tally.onFailed(fault) }
        return state.run?.stage.rate == nil
      }
    }
    // Errors are no busy loop; whoever is cancelled meanwhile finds the stage over.
    if mustPause { try? await Task.sleep(for: .milliseconds(10)) }
  }
}

extension BenchFault {
  init(_ error: KVError) { self.init(error.code.description, error.message) }
}
