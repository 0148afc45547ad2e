import KVModel

/// A table in the making: lists that always keep the rules of zones and hosts, and the steps that fill and level them.
struct Settlement {
  private let rules: FairShares
  private let ids: [UInt64]
  private let isChange: Bool
  /// The bounds within which a member's copies are left alone.
  private let bounds: [Bounds]
  /// Owners of each partition; full when there are `rules.copies`.
  private(set) var lists: [[Int]]
  /// The partitions of each member.
  private var held: [[Int]]
  /// The lists as they were before `settle`, or nothing when no list has data behind it yet.
  private var before: [[Int]] = []
  /// Copies of each member that are not in `before`: nobody has their data, so moving them on costs nothing.
  private var fresh: [Int]

  /// What a member may hold without being touched, in whole copies.
  private struct Bounds {
    /// 97 % of the fair share: what a newcomer gets, and what no donor goes below.
    let least: Int
    /// 92 %: what a member that holds data already is left at.
    let tolerated: Int
    let fair: Int
    /// 102 % in a first table, 109 % after a change: moving data for less is not worth it.
    let most: Int

    init(fair exact: UInt64, partitions: Int, percentMost: UInt64) {
      let ceiling = Int((exact + FairShares.one - 1) >> 32)
      least = Int((exact / 100 * 97) >> 32)
      tolerated = Int((exact / 100 * 92) >> 32)
      fair = ceiling
      most = min(partitions, max(ceiling, Int((exact / 100 * percentMost) >> 32)))
    }
  }

  /// Empty lists for `layout`. In a `change` the lists that are added before `settle` have data behind them.
  init(_ layout: Layout, _ rules: FairShares, change: Bool) {
    let partitions = layout.settings.partitions
    self.rules = rules
    ids = layout.members.map(\.id.value)
    isChange = change
    bounds = layout.members.indices.map { member in
      Bounds(fair: rules.fair(member, of: partitions), partitions: partitions, percentMost: change ? 109 : 102)
    }
    fresh = Array(repeating: 0, count: layout.members.count)
    lists = Array(repeating: [], count: partitions)
    held = Array(repeating: [], count: layout.members.count)
  }

  func isFull(_ partition: Int) -> Bool { lists[partition].count == rules.copies }

  /// Adds an owner if the rules allow it beside the others.
  mutating func add(_ member: Int, to partition: Int) {
    guard !isFull(partition), admits(member, beside: lists[partition]) else { return }
    lists[partition].append(member)
    held[member].append(partition)
  }

  /// Gives free places to the members with the least load for their share, then brings every member within its
  /// bounds, by as few moves as it can find.
  mutating func settle() {
    if isChange { before = lists }
    let wanted = held.indices.map { isChange && !held[$0].isEmpty ? bounds[$0].tolerated : bounds[$0].least }
    for partition in lists.indices {
      while !isFull(partition) {
        let member = lightest(for: partition)
        add(member, to: partition)
        fresh[member] += 1
      }
    }
    for member in held.indices {
      while held[member].count > bounds[member].most, relieve(member) {}
    }
    for member in held.indices {
      while held[member].count < wanted[member], feed(member) {}
    }
  }

  private func lightest(for partition: Int) -> Int {
    var best: Int?
    for member in held.indices where best == nil || isLighter(member, than: best!) {
      if admits(member, beside: lists[partition]) { best = member }
    }
    guard let best else { fatalError("invariant broken: nobody may join \(lists[partition]) of \(partition)") }
    return best
  }

  // MARK: The rules

  /// Whether `member` may own a partition beside `owners`. The sets that this admits are the independent sets of a
  /// matroid, so every order of adding ends with the same number of owners.
  private func admits(_ member: Int, beside owners: [Int], without leaving: Int = -1) -> Bool {
    let zone = rules.zoneOf[member]
    var mates = 0
    var extras = 0
    for (place, owner) in owners.enumerated() where owner != leaving {
      if rules.hostOf[owner] == rules.hostOf[member] { return false }
      let ownersZone = rules.zoneOf[owner]
      if ownersZone == zone { mates += 1 }
      var before = 0
      for other in owners[..<place] where other != leaving && rules.zoneOf[other] == ownersZone { before += 1 }
      if before >= rules.floors[ownersZone] { extras += 1 }
    }
    if mates < rules.floors[zone] { return true }
    return mates == rules.floors[zone] && rules.takesExtra[zone] && extras < rules.extras
  }

  // MARK: Loads

  private func isLighter(_ a: Int, than b: Int) -> Bool {
    UInt64(held[a].count) * rules.shares[b] < UInt64(held[b].count) * rules.shares[a]
  }

  /// Members, the least loaded for their shares first.
  private func byLoad() -> [Int] {
    held.indices.sorted { a, b in isLighter(a, than: b) || (!isLighter(b, than: a) && a < b) }
  }

  /// Takes one copy from `member`.
  private mutating func relieve(_ member: Int) -> Bool {
    let below = byLoad().filter { held[$0].count < bounds[$0].fair }
    let open = held.indices.filter { held[$0].count < bounds[$0].most }
    for cost in Cost.allCases {
      for target in below where shift(from: member, to: target, cost) { return true }
      if shiftAlongPath(from: member, to: open, cost) { return true }
    }
    return false
  }

  /// Gives one copy to `member`.
  private mutating func feed(_ member: Int) -> Bool {
    let donors = byLoad().reversed().filter { held[$0].count > bounds[$0].least }
    for cost in Cost.allCases {
      for donor in donors where shift(from: donor, to: member, cost) { return true }
    }
    for donor in donors where shiftAlongPath(from: donor, to: [member], .any) { return true }
    return false
  }

  // MARK: Moves

  /// Which copies may move.
  private enum Cost: CaseIterable {
    /// Those that `settle` gave to their owner, so that nobody has the data yet.
    case free
    case any
  }

  private func isFresh(_ partition: Int, at member: Int) -> Bool {
    !isChange || !before[partition].contains(member)
  }

  private func mayMove(_ partition: Int, from donor: Int, to target: Int, _ cost: Cost) -> Bool {
    (cost == .any || isFresh(partition, at: donor)) && admits(target, beside: lists[partition], without: donor)
  }

  /// Moves one copy directly. Which one is spread by a hash, so that a newcomer's copies come from all over.
  private mutating func shift(from donor: Int, to target: Int, _ cost: Cost) -> Bool {
    guard donor != target, !held[donor].isEmpty, cost == .any || fresh[donor] > 0 else { return false }
    var random = PRNG(seed: ids[donor] ^ ids[target])
    let start = random.index(held[donor].count)
    for step in held[donor].indices {
      let place = start + step < held[donor].count ? start + step : start + step - held[donor].count
      guard mayMove(held[donor][place], from: donor, to: target, cost) else { continue }
      replace(donor, by: target, at: place)
      return true
    }
    return false
  }

  private mutating func replace(_ donor: Int, by target: Int, at place: Int) {
    let partition = held[donor].remove(at: place)
    held[target].append(partition)
    for index in lists[partition].indices where lists[partition][index] == donor { lists[partition][index] = target }
    if isChange, isFresh(partition, at: donor) { fresh[donor] -= 1 }
    if isChange, isFresh(partition, at: target) { fresh[target] += 1 }
  }

  /// Moves one copy from each member of a shortest chain to the next: a → b → … → the first of `targets`.
  private mutating func shiftAlongPath(from donor: Int, to targets: [Int], _ cost: Cost) -> Bool {
    guard cost == .any || fresh[donor] > 0 else { return false }
    var cameFrom: [(member: Int, partition: Int)?] = Array(repeating: nil, count: held.count)
    var queue = [donor]
    var head = 0
    while head < queue.count {
      let member = queue[head]
      head += 1
      for partition in held[member] {
        for next in held.indices where next != donor && cameFrom[next] == nil {
          guard mayMove(partition, from: member, to: next, cost) else { continue }
          cameFrom[next] = (member, partition)
          if targets.contains(next) { return follow(cameFrom, to: next) }
          queue.append(next)
        }
      }
    }
    return false
  }

  /// Makes the moves of a chain, the last first. Two of them may be of one partition, so each is checked again.
  private mutating func follow(_ cameFrom: [(member: Int, partition: Int)?], to end: Int) -> Bool {
    var target = end
    while let (donor, partition) = cameFrom[target] {
      guard let place = held[donor].firstIndex(of: partition),
        admits(target, beside: lists[partition], without: donor)
      else { return false }
      replace(donor, by: target, at: place)
      target = donor
    }
    return true
  }
}
