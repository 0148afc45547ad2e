/// What an update makes of the versions that it was shown.
public enum KVUpdate: Hashable, Sendable {
  /// The key has this value from now on.
  case put([UInt8], ttl: Duration? = nil)
  /// The key is absent from now on.
  case delete
  /// Everything stays as it is; nothing is written.
  case leave
}

extension KVStore {
  /// Reads a key, lets `merge` make one value of all its versions, writes that in place of exactly those, and sees from
  /// the receipt whether it is alone.
  ///
  /// When others wrote meanwhile, their versions lie beside the new one; then it reads, merges and writes again, until
  /// one version is left, or the deadline or 16 rounds are over. So `merge` may be called more than once, and is shown
  /// the result of its earlier call among the versions: it has to be a union, a maximum or the like, not a sum.
  ///
  /// Without a conflict it is one read and one write. Of two updates that meet at least one learns of the other, as
  /// ``KVReceipt/Siblings`` says, and goes on until its own write is alone; so one version is left when all have
  /// returned, if each of them asked a majority. With fewer (`.one`, or W ≤ N/2) the receipt cannot tell, and a second
  /// read looks instead: it finds what was acknowledged before it as far as R + W > N.
  ///
  /// ```swift
  /// try await kv.update("cart:7") { versions in
  ///   .put(versions.compactMap(\.value).reduce(into: Set<UInt8>()) { $0.formUnion($1) }.sorted())
  /// }
  /// ```
  ///
  /// - Parameters:
  ///   - key: The key to update.
  ///   - consistency: Of its reads and writes.
  ///   - deadline: The most that all of it takes.
  ///   - isolation: Where `merge` runs: where the caller does.
  ///   - merge: Is shown every concurrent version, newest first; none for a key that was never written.
  /// - Returns: The receipt of the write that left one version; nil when `merge` chose to leave the key as it is.
  /// - Throws: `conflict`, with outcome `applied`, when there was still another version beside it after 16 rounds;
  ///   `timedOut` when the deadline passed before that. An error of `merge` ends the update.
  @discardableResult
  public func update(
    _ key: some KVKeyConvertible, consistency: KVConsistency = .quorum, deadline: Duration = .seconds(5),
    isolation: isolated (any Swift.Actor)? = #isolation, _ merge: ([KVVersion]) throws(KVError) -> KVUpdate
  ) async throws(KVError) -> KVReceipt? {
    let key = key.kvKey
    let end = ContinuousClock.now.advanced(by: deadline)
    func left() -> Duration { max(.milliseconds(1), ContinuousClock.now.duration(to: end)) }
    var outcome = KVError.Outcome.notApplied
    do throws(KVError) {
      var state = try await perform(KVReadRequest(key, consistency: consistency, deadline: left()))
      for round in 1...updateRoundsMax {
        guard ContinuousClock.now < end else {
          throw KVError(.timedOut, "the deadline passed in round \(round) of the update")
        }
        guard let operation = try merge(state.versions).operation else { return nil }
        let receipt = try await perform(
          KVWriteRequest(key, operation, context: state.context, consistency: consistency, deadline: left()))
        outcome = .applied
        if receipt.siblings == .absent { return receipt }
        state = try await perform(KVReadRequest(key, consistency: consistency, deadline: left()))
        // What the receipt told of may not be acknowledged yet, and so not read: only a receipt ends what one began.
        // Nor does a read tell enough of a write that a retry found. Where no majority was asked it is all there is.
        if receipt.siblings == .unknown, !receipt.wasFound, state.versions.count <= 1 { return receipt }
        try await pause(after: round)
      }
    } catch { throw error.after(outcome) }
    throw KVError(.conflict, "others kept writing the key; their versions lie beside the merged one", outcome: outcome)
  }
}

/// Those who meet at a key come back at different times.
private func pause(after round: Int) async throws(KVError) {
  let most = Int64(1_000) << Int64(min(round, 6))
  do { try await Task.sleep(for: .microseconds(Int64.random(in: 0...most))) } catch {
    throw KVError(.cancelled, "the task was cancelled")
  }
}

/// Rounds of an update. Each needs another writer in between, so many of them mean a key that is written all the time.
private let updateRoundsMax = 16

extension KVUpdate {
  fileprivate var operation: KVWriteRequest.Operation? {
    switch self {
    case .put(let value, let ttl): .put(value, ttl: ttl)
    case .delete: .delete
    case .leave: nil
    }
  }
}

extension KVError {
  /// The same error of a later round: an earlier one was applied.
  fileprivate func after(_ earlier: Outcome) -> KVError {
    var error = self
    if error.outcome == .notApplied { error.outcome = earlier }
    return error
  }
}
