import KVModel
import KVSimulator
import Testing

#if DEBUG
  private let attempts = 200
#else
  private let attempts = 5_000
#endif

/// One answer of an atomic store's history is falsified; the checker must see it in at least the stated share of a
/// thousand cases: what was measured (865, 949, 969, 793) less a margin. What remains cannot be seen, for an unanswered
/// write, a delete or an overwrite at the same time explains it as well.
@Suite struct MutationTests {
  private typealias Truth = [UInt64?]

  @Test func `an acknowledged put taken out of an answer is missed`() {
    expectCaught(atLeast: 800) { history, _, get, random in
      let all = history.operations
      let known = all[get].seen.filter { isAnswered(all[$0], before: all[get]) && all[$0].ttlMs == nil }
      guard !known.isEmpty else { return false }
      let gone = random.pick(known)
      history.operations[get].seen.removeAll { $0 == gone }
      return true
    }
  }

  @Test func `a replaced put brought back into an answer is noticed`() {
    expectCaught(atLeast: 900) { history, truth, get, random in
      guard let old = replaced(history, truth, get, &random) else { return false }
      history.operations[get].seen.append(old)
      return true
    }
  }

  @Test func `a replaced put in place of what is there is noticed`() {
    expectCaught(atLeast: 920) { history, truth, get, random in
      guard let old = replaced(history, truth, get, &random) else { return false }
      history.operations[get].seen = [old]
      return true
    }
  }

  @Test func `an acknowledged put that no get shows any more is lost`() {
    expectCaught(atLeast: 730) { history, _, get, _ in
      let all = history.operations
      guard let gone = all[get].seen.first(where: { isAnswered(all[$0], before: all[get]) && all[$0].ttlMs == nil })
      else { return false }
      for place in all.indices where all[place].invokedAt >= all[get].invokedAt {
        history.operations[place].seen.removeAll { $0 == gone }
      }
      return true
    }
  }

  @Test func `a rejected put in an answer is always noticed`() {
    expectCaught(atLeast: 1_000) { history, _, get, random in
      let rejected = history.operations.filter {
        $0.outcome == .rejected && $0.kind == .put && $0.key == history.operations[get].key
      }
      guard !rejected.isEmpty else { return false }
      history.operations[get].seen.append(random.pick(rejected).number)
      return true
    }
  }

  @Test func `a put shown twice in an answer is always noticed`() {
    expectCaught(atLeast: 1_000) { history, _, get, _ in
      guard let put = history.operations[get].seen.last else { return false }
      history.operations[get].seen.append(put)
      return true
    }
  }

  // MARK: Mutating

  /// Falsifies an answer of each of many histories, where `mutate` finds something to falsify.
  private func expectCaught(
    atLeast share: Int, _ mutate: (inout History, Truth, _ get: Int, inout PRNG) -> Bool
  ) {
    var random = PRNG(seed: 3)
    var caught = 0
    var mutated = 0
    for _ in 0..<attempts {
      var workload = Workload()
      workload.rejected = 10
      var (history, truth) = AtomicStore.history(workload, &random)
      let gets = history.operations.indices.filter {
        history.operations[$0].kind == .get && history.operations[$0].outcome == .ok
      }
      guard !gets.isEmpty, mutate(&history, truth, random.pick(gets), &random) else { continue }
      mutated += 1
      if !HistoryChecker.check(history).isEmpty { caught += 1 }
    }
    #expect(mutated > attempts / 3)
    #expect(caught * 1_000 >= mutated * share, "caught \(caught) of \(mutated)")
  }

  /// A put of the get's key that had been replaced, not just expired, when the get was invoked.
  private func replaced(_ history: History, _ truth: Truth, _ get: Int, _ random: inout PRNG) -> Int? {
    let subject = history.operations[get]
    let old = history.operations.filter { put in
      put.key == subject.key && put.kind == .put && truth[put.number].map { $0 < subject.invokedAt } ?? false
    }
    return old.isEmpty ? nil : random.pick(old).number
  }

  private func isAnswered(_ write: KVSimulator.Operation, before get: KVSimulator.Operation) -> Bool {
    write.outcome == .ok && write.returnedAt.map { $0 <= get.invokedAt } ?? false
  }
}
