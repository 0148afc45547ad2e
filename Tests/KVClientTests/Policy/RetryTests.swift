import KVModel
import Testing

@testable import KVClient

@Suite struct `What is tried again` {
  @Test func `every code that a node can send has a row in the table`() {
    for code in Failure.Code.allCases {
      #expect(Retryability.table[KVError(Failure(code)).code] != nil, "\(code)")
    }
  }

  @Test func `what the request itself is at fault for is never tried again`() {
    for code: KVError.Code in [.invalidKey, .valueTooLarge, .invalidTTL, .invalidQuorum, .invalidContext] {
      #expect(Retryability(code) == .never)
    }
    #expect(Retryability(.conflict) == .never, "a code without a row")
  }

  private let policy = RetryPolicy(attemptsMax: 4, base: .milliseconds(10), most: .milliseconds(25))

  private func decide(
    _ retryability: Retryability = .later, attempts: Int = 1, age: Span64 = .zero, left: Span64 = .seconds(1),
    retryAfter: Span64 = .zero, random: UInt64 = .max
  ) -> RetryPolicy.Decision {
    policy.decision(
      retryability, attempts: attempts, age: age, left: left, retryAfter: retryAfter, random: random)
  }

  @Test func `the most of the wait doubles up to its bound, and chance takes all of it or nothing`() {
    #expect(
      [1, 2, 3, 4, 100].map { policy.wait(before: $0, random: .max) } == [10, 20, 25, 25, 25].map(Span64.milliseconds))
    #expect(policy.wait(before: 3, random: 0) == .zero)
    #expect(policy.wait(before: 1, random: 1 << 63) == Span64(nanoseconds: 5_000_000))
  }

  @Test func `what passes is tried again, but no more often than allowed`() {
    #expect(decide() == .retry(after: .milliseconds(10)))
    #expect(decide(.elsewhere, attempts: 3) == .retry(after: .milliseconds(25)))
    #expect(decide(attempts: 4) == .end)
    #expect(decide(.never) == .end)
  }

  @Test func `a retry that would not fit into the deadline is not waited for`() {
    #expect(decide(left: .milliseconds(10)) == .end)
    #expect(decide(left: .milliseconds(11)) == .retry(after: .milliseconds(10)))
    #expect(decide(left: .zero, random: 0) == .end)
  }

  @Test func `what the node asks for comes before the backoff`() {
    #expect(decide(retryAfter: .milliseconds(250)) == .retry(after: .milliseconds(260)))
    #expect(decide(left: .milliseconds(200), retryAfter: .milliseconds(250)) == .end)
  }

  @Test func `no retry begins when the nodes may have forgotten the request id`() {
    #expect(decide(age: .seconds(44), left: .seconds(100)) != .end)
    #expect(decide(age: .seconds(45), left: .seconds(100)) == .end)
  }
}

@Suite struct `What may be believed of a write` {
  @Test func `rejected attempts leave it unmarked, the first other end marks it for good`() {
    var progress = CallProgress()
    progress.onEnded(.rejected)
    #expect(!progress.mayBeApplied)
    progress.onEnded(.unknown)
    #expect(progress.mayBeApplied)
    progress.onEnded(.rejected)
    #expect(progress.mayBeApplied)
  }
}

@Suite struct `Budgets of extra attempts` {
  /// How many tokens there are.
  private func drain(_ budget: inout TokenBudget) -> Int {
    var count = 0
    while count < 1_000, budget.spend() { count += 1 }
    return count
  }

  @Test func `in the long run they are a part of the calls`() {
    var budget = TokenBudget(percent: 10, burst: 5, saved: 0)
    var spent = 0
    for _ in 0..<1_000 {
      budget.earn()
      if budget.spend() { spent += 1 }
    }
    #expect(spent == 100)
  }

  @Test func `what was saved up is spent at once, and no more is saved than the burst`() {
    var budget = TokenBudget(percent: 20, burst: 3, saved: 100)
    #expect(drain(&budget) == 3)
    for _ in 0..<1_000 { budget.earn() }
    #expect(drain(&budget) == 3)
  }

  @Test func `a budget of nothing allows nothing`() {
    var budget = TokenBudget(percent: 0, burst: 0, saved: 0)
    budget.earn()
    #expect(drain(&budget) == 0)
  }
}
