import KVModel

/// A table in the making: lists that always keep the rules of zones and hosts, and the steps that fill and level them.
struct Settlement {
  private let rules: FairShares
  private let ids: [UInt64]
  private let partitions: Int
  /// The bounds within which a member's copies are left alone.
  private let bounds: [Bounds]
  /// Owners of each partition; full when there are `rules.copies`.
  private(set) var lists: [[Int]]
  /// The partitions of each member.
  private var held: [[Int]]

  /// Two per cent about the fair share, widened to whole copies.
  private struct Bounds {
    let least: Int
    let fair: Int
    let most: Int

    init(fair exact: UInt64, partitions: Int) {
      let floor = Int(exact >> 32)
      let ceiling = Int((exact + FairShares.one - 1) >> 32)
      least = min(floor, Int((exact / 100 * 98 + FairShares.one - 1) >> 32))
      fair = ceiling
      most = min(partitions, max(ceiling, Int((exact / 100 * 102) >> 32)))
    }
  }

  init(_ layout: Layout, _ rules: FairShares) {
    let partitions = layout.settings.partitions
    self.rules = rules
    self.partitions = partitions
    ids = layout.members.map(\.id.value)
    bounds = layout.members.indices.map { Bounds(fair: rules.fair($0, of: partitions), partitions: partitions) }
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

  /// Gives every place that is still free to the member with the least load for its share.
  mutating func fill() {
    for partition in lists.indices {
      while !isFull(partition) {
        var best: Int?
        for member in held.indices where best == nil || isLighter(member, than: best!) {
          if admits(member, beside: lists[partition]) { best = member }
        }
        guard let best else { fatalError("invariant broken: partition \(partition) has \(lists[partition]) only") }
        add(best, to: partition)
      }
    }
  }

  /// Brings every member within its bounds, by as few moves as it can find.
  mutating func level() {
    for member in held.indices {
      while held[member].count > bounds[member].most, relieve(member) {}
    }
    for member in held.indices {
      while held[member].count < bounds[member].least, feed(member) {}
    }
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
    for target in byLoad() where held[target].count < bounds[target].fair {
      if shift(from: member, to: target) { return true }
    }
    return shiftAlongPath(from: member, to: held.indices.filter { held[$0].count < bounds[$0].most })
  }

  /// Gives one copy to `member`.
  private mutating func feed(_ member: Int) -> Bool {
    let donors = byLoad().reversed().filter { held[$0].count > bounds[$0].least }
    for donor in donors where shift(from: donor, to: member) { return true }
    for donor in donors where shiftAlongPath(from: donor, to: [member]) { return true }
    return false
  }

  // MARK: Moves

  /// Moves one copy directly. Which one is spread by a hash, so that a newcomer's copies come from all over.
  private mutating func shift(from donor: Int, to target: Int) -> Bool {
    guard donor != target, !held[donor].isEmpty else { return false }
    var random = PRNG(seed: ids[donor] ^ ids[target])
    let start = random.index(held[donor].count)
    for step in held[donor].indices {
      let place = (start + step) % held[donor].count
      let partition = held[donor][place]
      if admits(target, beside: lists[partition], without: donor) {
        replace(donor, by: target, at: place)
        return true
      }
    }
    return false
  }

  private mutating func replace(_ donor: Int, by target: Int, at place: Int) {
    let partition = held[donor].remove(at: place)
    held[target].append(partition)
    for index in lists[partition].indices where lists[partition][index] == donor { lists[partition][index] = target }
  }

  /// Moves one copy from each member of a shortest chain to the next: a → b → … → the first of `targets`.
  private mutating func shiftAlongPath(from donor: Int, to targets: [Int]) -> Bool {
    var cameFrom: [(member: Int, partition: Int)?] = Array(repeating: nil, count: held.count)
    var queue = [donor]
    var head = 0
    while head < queue.count {
      let member = queue[head]
      head += 1
      for partition in held[member] {
        for next in held.indices where next != donor && cameFrom[next] == nil {
          guard admits(next, beside: lists[partition], without: member), !lists[partition].contains(next) else { continue }
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
