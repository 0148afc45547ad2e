import KVCore
import KVModel

// What lost something must be whole again once the faults have ended: unasked, and from each other owner.
extension Simulation {
  private static let rebuildSpan: UInt64 = 300_000_000_000
  private static let quietSpan: UInt64 = 3_000_000_000

  /// A copy may stay damaged: it is rebuilt from each other owner, and one of them is away for good.
  func isDamaged(_ core: [Int]) -> Bool { hasDamage && core.count < nodes.count }

  /// No record is damaged any more, no copy has a gap, and nobody pulls.
  func awaitRebuild(_ core: [Int]) {
    guard violations.isEmpty, !isDamaged(core) else { return }
    let end = time + Simulation.rebuildSpan
    while violations.isEmpty, let missing = missing(among: core) {
      if time >= end { return fail(Violation(.noCorruption, "\(missing), long after the faults ended")) }
      acceptLosses(core)
      runEvents(for: 250_000_000) { false }
    }
    let before = pulls(of: core)
    runEvents(for: Simulation.quietSpan) { false }
    if violations.isEmpty, pulls(of: core) > before {
      fail(Violation(.quiet, "\(pulls(of: core) - before) pulls began, though no copy has a gap"))
    }
  }

  /// What waits for an operator's word is refused until he has said it: before that the workload cannot be done.
  func awaitAcceptance(_ core: [Int]) {
    guard options.faults.contains(.bitFlipOnTwo) else { return }
    let end = time + Simulation.rebuildSpan
    while violations.isEmpty, time < end, missing(among: core) != nil {
      acceptLosses(core)
      runEvents(for: 250_000_000) { false }
    }
  }

  /// Whoever runs the cluster says of what is beyond a quorum that what is left has to do.
  func acceptLosses(_ core: [Int]) {
    for node in core.map({ nodes[$0] }) where node.isUp && options.faults.contains(.bitFlipOnTwo) {
      for shard in node.shards.indices where node.shards[shard].partsBeyondQuorum > 0 {
        for partition in Set(node.shards[shard].gaps.open.map { partition(of: $0.gap.part) }).sorted() {
          let client = ClientRef(connection: .max, request: 1)
          let deadline = now(node).instant.advanced(by: .seconds(1))
          turn(node, shard, .request(.repair(.acceptLoss(partition)), from: client, deadline: deadline))
        }
      }
    }
  }

  private func partition(of part: Gap.Part) -> PartitionID {
    switch part {
    case .partition(let partition): partition
    case .key(let key): key.token.partition(bits: options.partitionBits)
    }
  }

  private func pulls(of core: [Int]) -> UInt64 {
    core.reduce(0) { sum, node in nodes[node].shards.reduce(sum) { $0 + $1.counters.pulls } }
  }

  /// What is damaged or may be missing; nil when there is nothing.
  private func missing(among core: [Int]) -> String? {
    for index in core {
      if !nodes[index].isStranger, nodes[index].livesFrom == nodes[index].state.life {
        return "\(nodes[index].name) goes on as if its data had not gone back in time"
      }
      for disk in nodes[index].disks {
        let snapshot = disk.snapshot()
        if let gap = snapshot.openGaps.first { return "\(nodes[index].name) has a gap: \(gap)" }
        if !snapshot.damaged.isEmpty { return "\(nodes[index].name) holds a damaged record" }
      }
    }
    return nil
  }
}

extension StorageSnapshot {
  var openGaps: [Gap] { gaps.filter(\.isOpen) }

  /// Records that do not decode.
  var damaged: [Entry] { records.filter { (try? $0.record.decoded()) == nil } }
}
