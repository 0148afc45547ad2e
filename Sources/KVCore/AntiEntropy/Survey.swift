import KVModel

/// The first step of many exchanges with one owner at once: the roots of up to 64 partitions in one message. Where they are
/// equal that was all; where they differ an exchange follows. 1,024 roots that are equal cost 20 KiB; one message each
/// they would cost 115.
struct Survey: Sendable {
  /// Ascending.
  let partitions: [PartitionID]
  let peer: NodeID
  /// They were urgent, and stay so when nothing comes of it.
  let isUrgent: Bool
  var deadline: Instant
  /// The number of the question; 0 until it is asked.
  var question: UInt32 = 0

  /// Leaves that are added up for one message: a tenth of a millisecond.
  private static let leavesMax = 1 << 16

  static func pairsMax(leafBits: Int) -> Int { max(1, min(TreeMessage.rootsMax, leavesMax >> leafBits)) }
}

// The side that asks.
extension Shard {
  mutating func startSurvey(
    _ partitions: [PartitionID], _ peer: NodeID, isUrgent: Bool, _ now: Now, _ effects: inout [Effect]
  ) {
    counters.exchanges += UInt64(partitions.count)
    let id = surveys.insert(
      Survey(
        partitions: partitions, peer: peer, isUrgent: isUrgent, deadline: now.instant.advanced(by: Exchange.patience)))
    effects.append(.store(.roots(partitions), StorageID(raw: id.raw)))
  }

  mutating func onSurveyStored(_ result: StorageResult, _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let survey = surveys[id] else { return }
    guard case .digests(let digests) = result else {
      return invariant(false, "a survey answered by \(result)")
    }
    treeQuestions &+= 1
    surveys[id]?.question = treeQuestions
    let roots = zip(survey.partitions, digests).map { RootDigest(partition: $0, digest: $1) }
    send(
      .tree(.roots(roots, question: treeQuestions)), to: survey.peer,
      Envelope(operation: id.raw, deadline: survey.deadline), now, &effects)
  }

  /// The peer's roots of these places are others. What is marked is compared by an exchange in any case: the marks go when
  /// it has ended well.
  mutating func onSurveyed(_ places: [UInt16], _ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let survey = surveys.remove(id) else { return }
    let differing = Set(places)
    for (place, partition) in survey.partitions.enumerated() {
      let differs = differing.contains(UInt16(place)) || handoff.census.isMarked(partition, for: survey.peer)
      schedule.onSurveyed(partition, survey.peer, differs: differs, at: now.instant)
    }
    goOn(now, &effects)
  }

  mutating func endSurvey(_ id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    guard let survey = surveys.remove(id) else { return }
    counters.exchangesFailed += UInt64(survey.partitions.count)
    for partition in survey.partitions {
      schedule.onEnded(partition, survey.peer, isComplete: false, isUrgent: survey.isUrgent, at: now.instant)
    }
    goOn(now, &effects)
  }

  mutating func onOwnerLost(_ peer: NodeID, ofSurvey id: OperationID, _ now: Now, _ effects: inout [Effect]) {
    if surveys[id]?.peer == peer { endSurvey(id, now, &effects) }
  }

  func isAwaited(_ question: UInt32, bySurvey id: OperationID, from peer: NodeID) -> Bool {
    guard id.kind == .survey, let survey = surveys[id] else { return false }
    return survey.peer == peer && survey.question == question
  }
}

// The side that is asked.
extension Shard {
  /// Partitions of which nothing can be said here count as different, so that each is asked about by itself: no copy of it
  /// is here, it may lack something, or another shard has it, since this node has more or fewer of them.
  mutating func onRoots(
    _ roots: [RootDigest], _ asker: TreeQuery.Asker, _ now: Now, _ effects: inout [Effect]
  ) {
    guard let bits = answersTrees(asker.envelope, now), roots.count <= Survey.pairsMax(leafBits: bits),
      roots.allSatisfy({ exists($0.partition) })
    else { return decline(asker, now, &effects) }
    let untold = roots.indices.filter { !tells(roots[$0].partition, to: asker.node) }
    look(
      .compare(roots.map(\.digest), untold: Set(untold), for: asker), by: asker.envelope.deadline,
      .roots(roots.map(\.partition)), &effects)
  }

  private func tells(_ partition: PartitionID, to peer: NodeID) -> Bool {
    partition.shard(of: identity.shards) == identity.shard && owns(partition) && speaksOf(partition, to: peer)
  }
}
