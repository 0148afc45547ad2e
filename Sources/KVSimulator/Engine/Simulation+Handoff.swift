import KVCore
import KVModel

// What hints promise: everything that an owner missed is handed to it once it is back.
extension Simulation {
  private static let handoffSpan: UInt64 = 300_000_000_000

  /// Whether hints alone make all copies equal: every coordinator has outlived its writes, there was room, and nobody
  /// stays away.
  func doHintsSuffice(_ core: [Int]) -> Bool {
    (options.hintKeysMax ?? 0) >= keys.count * nodes.count && !hasLostProcess && core.count == nodes.count
  }

  /// Hints for nodes that are back come to none.
  func awaitHandoff(_ core: [Int]) {
    guard !isDamaged(core) else { return }
    let end = time + Simulation.handoffSpan
    while violations.isEmpty, let waiting = waiting(among: core) {
      if time >= end { return fail(Violation(.quiet, "\(waiting), long after the faults ended")) }
      runEvents(for: 250_000_000) { false }
    }
  }

  /// A hint, a mark or a delivery that should not be there any more; nil when there is none.
  private func waiting(among core: [Int]) -> String? {
    let targets = Set(core.map { nodes[$0].id })
    for index in core {
      for (shard, disk) in nodes[index].disks.enumerated() {
        let name = nodes[index].name
        if let hint = disk.durableHints.filter({ targets.contains($0.target) }).min() {
          return "\(name) still has a hint for \(hint.target), which is back"
        }
        if options.exchangeInterval > 0, let mark = disk.durableMarks.filter({ targets.contains($0.target) }).min() {
          return
            "\(name) still has leaf \(mark.place.leaf) of partition \(mark.place.partition) marked for \(mark.target)"
        }
        if nodes[index].shards[shard].handoffInFlight > 0 { return "\(name) is still handing over" }
      }
    }
    return nil
  }
}
