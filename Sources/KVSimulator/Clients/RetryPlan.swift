import KVModel

/// How an attempt of a write ended that did not settle it.
public struct EndedAttempt: Equatable, Sendable {
  /// What the node said; nil: the connection broke, or nobody answered in time.
  public var failure: Failure?
}

/// Where a client stands when an attempt of a write has ended.
public struct RetrySituation: Sendable {
  /// In their order, at least one.
  public var ended: [EndedAttempt]
  /// Since the first of them began.
  public var age: Span64
  /// Until the operation's deadline, of which each attempt has a quarter.
  public var left: Span64
  /// 64 uniform bits.
  public var random: UInt64
}

/// What the client does then.
public enum RetryStep: Equatable, Sendable {
  case end(mayBeApplied: Bool)
  case again(after: Span64, isMarked: Bool)
}

/// Decides in the place of chance what clients do: so that the policies of a client library can be put into the simulated
/// world. It has to be pure.
public typealias RetryPlan = @Sendable (RetrySituation) -> RetryStep

extension Simulation {
  /// Follows `retryPlan`. False: there is none.
  func followPlan(_ failure: Failure?, at client: Int) -> Bool {
    guard let retryPlan, phase == .faulty, var attempt = clients[client].current,
      history.operations[attempt.operation].isWrite
    else { return false }
    attempt.ended.append(EndedAttempt(failure: failure))
    clients[client].current = attempt
    let limit = 4 * options.workload.deadlineMs * 1_000_000
    let age = time - history.operations[attempt.operation].invokedAt
    let situation = RetrySituation(
      ended: attempt.ended, age: Span64(nanoseconds: age), left: Span64(nanoseconds: limit > age ? limit - age : 0),
      random: clientDraws.next())
    switch retryPlan(situation) {
    case .end(let mayBeApplied): finish(client, mayBeApplied ? .unknown : .rejected, failure.map { "\($0.code)" })
    case .again(let wait, let isMarked): pause(client, for: wait, isMarked: isMarked)
    }
    return true
  }

  /// Under a frame number of its own, so that what comes for the attempt before finds nobody.
  private func pause(_ client: Int, for wait: Span64, isMarked: Bool) {
    guard case .write(var write) = clients[client].current?.request else { return }
    write.isRetry = isMarked
    clients[client].current?.request = .write(write)
    clients[client].lastRequest += 1
    let frame = clients[client].lastRequest
    clients[client].current?.frame = frame
    queue.push(.clientRetries(client: client, request: frame), at: time + wait.nanoseconds)
  }

  func onClientRetries(_ client: Int, _ request: UInt64) {
    guard let attempt = clients[client].current, attempt.frame == request else { return }
    history.operations[attempt.operation].attempts += 1
    transmitAgain(client)
  }
}
