import KVModel

public enum Placement {
  /// The first table of `layout`: the clockwise walk, levelled. A pure function of its members and settings.
  public static func table(for layout: Layout) -> PartitionTable {
    var settlement = Settlement(layout, FairShares(of: layout), change: false)
    VirtualNodes(of: layout).walk(partitionBits: layout.settings.partitionBits) { partition, member in
      settlement.add(member, to: partition)
      return !settlement.isFull(partition)
    }
    return finish(settlement, layout)
  }

  /// The table of `layout` that follows `table`, the one of `previous`, with as few moves as the new shares allow.
  public static func table(
    for layout: Layout, after table: PartitionTable, of previous: Layout
  ) -> PartitionTable {
    guard table.partitionBits == layout.settings.partitionBits else { return self.table(for: layout) }
    let rules = FairShares(of: layout)
    var settlement = Settlement(layout, rules, change: true)
    var loads = [UInt64](repeating: 0, count: layout.members.count)
    let successors = previous.members.map { layout.index(of: $0.id) }
    let kept = (0..<table.partitions).map { partition in
      table[PartitionID(UInt16(partition))].compactMap { successors[Int($0)] }
    }
    for owners in kept { for owner in owners { loads[owner] += 1 } }
    for (partition, owners) in kept.enumerated() {
      // Where the rules let fewer stay than there were, the most loaded goes.
      let order = owners.enumerated().sorted { a, b in
        let (left, right) = (loads[a.element] * rules.shares[b.element], loads[b.element] * rules.shares[a.element])
        return left != right ? left < right : a.offset < b.offset
      }
      for (_, owner) in order { settlement.add(owner, to: partition) }
      for owner in owners where !settlement.lists[partition].contains(owner) { loads[owner] -= 1 }
    }
    return finish(settlement, layout)
  }

  private static func finish(_ unfinished: Settlement, _ layout: Layout) -> PartitionTable {
    var settlement = unfinished
    settlement.settle()
    let rules = FairShares(of: layout)
    var owners: [UInt16] = []
    owners.reserveCapacity(rules.copies * layout.settings.partitions)
    for list in Precedence.ordered(settlement.lists, rules, layout) { for owner in list { owners.append(UInt16(owner)) } }
    return PartitionTable(partitionBits: layout.settings.partitionBits, copies: rules.copies, owners: owners)
  }
}

/// The order within the lists. Coordinators and first reads go to the first owner, so first places are levelled too.
enum Precedence {
  /// Owners in an order drawn from a hash of node and partition, then first places shifted to those who have too few.
  static func ordered(_ lists: [[Int]], _ rules: FairShares, _ layout: Layout) -> [[Int]] {
    var ordered = lists
    var firsts = [UInt64](repeating: 0, count: layout.members.count)
    for partition in ordered.indices {
      let start = UInt64(partition) << UInt64(64 - layout.settings.partitionBits)
      let ranked = ordered[partition].map { member in
        var random = PRNG(seed: layout.members[member].id.value ^ start)
        return (random.next(), member)
      }
      ordered[partition] = ranked.sorted { $0 < $1 }.map(\.1)
      firsts[ordered[partition][0]] += 1
    }
    for _ in 0..<passes where levelPass(&ordered, &firsts, rules) == 0 { break }
    return ordered
  }

  /// More do not help: what is left is held by partitions all of whose owners have their part.
  private static let passes = 8

  private static func levelPass(_ lists: inout [[Int]], _ firsts: inout [UInt64], _ rules: FairShares) -> Int {
    var moves = 0
    for partition in lists.indices {
      let first = lists[partition][0]
      for place in lists[partition].indices.dropFirst() {
        let other = lists[partition][place]
        // `other` is lighter even with one more than `first` with one less.
        guard (firsts[other] + 1) * rules.shares[first] <= (firsts[first] - 1) * rules.shares[other] else { continue }
        lists[partition].swapAt(0, place)
        firsts[first] -= 1
        firsts[other] += 1
        moves += 1
        break
      }
    }
    return moves
  }
}
