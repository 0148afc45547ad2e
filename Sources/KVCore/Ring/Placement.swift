// Who owns which partition.
//
// A first table is the clockwise walk over virtual nodes, then levelled: members above their fair share hand copies to
// members below it, directly or along a chain, each hand-over keeping nodes, hosts and zones of every list distinct.
//
//     tokens   ──a──b──a──c──────b──c──a──b──>      partition p starts at │: walk b, c, (c), a …
//                            │p
//     loads    a ████████▌        fair  ███████     a → b for some p where b may stand in for a; where there is none,
//              b ██████                              a → c and c → b
//              c ███████
//
// A table after a change of the layout starts from the table before it instead of the walk: who may stay stays, free
// places go to the least loaded, newcomers are fed from the most loaded, and only then is anybody else moved, fresh
// copies first. So a table is a function of the chain of layouts: the first is a function of its layout alone, each
// later one of its layout and the table before it, which therefore has to be kept and handed on with the layout.
//
// Why not a function of the layout alone? Tried, with N = 3, 1,024 partitions (4,096 for 100 nodes), 1 to 5 zones, equal
// and 1:2:4 weights; worst load over fair share, and copies moved by one join or leave over the least possible, mean
// and worst. 240 to 800 changes a cell (100 nodes: 160) for the first, the second and the last way. The rendezvous rows
// come from prototypes with floating-point logarithms, 108 to 720 changes a cell; the second of them has only evenly
// dealt zones, 2, 4 and 5 of them. The worst cases are zones of unequal weights, more or fewer of them than N.
//
//     nodes                                         3             5             10            30            100
//     plain clockwise walk, 64 tokens     load    1.00          1.65          1.59          1.73          1.48
//                                         moved   1.02 1.38     1.01 2.03     1.03 1.97     1.03 2.25     1.05 1.53
//     the walk, levelled afresh           load    1.00          1.02          1.02          1.02          1.02
//                                         moved   1.00 1.02     1.14 1.78     1.34 2.26     1.91 5.47     4.79 13.0
//     rendezvous for zone, host, node,    load    1.10          1.10          1.10          1.10          1.10
//       each bounded at 1.10              moved   1.00 1.10     1.16 1.80     1.28 2.09     1.42 2.36     1.62 2.48
//     rendezvous over all nodes, balanced load    1.10          1.10          1.10          1.10          1.10
//       zones, stretched to fit, 1.10     moved   1.01 1.10     1.08 1.47     1.04 1.55     1.05 1.72     1.07 1.35
//     this: the walk, then changes        load    1.00 to 1.09 after a change, 1.02 in a first table, at any size
//                                         moved   0.97 0.98     0.98 1.12     0.99 1.24     0.98 1.02     0.98 1.02
//                                         first   1.01          1.02          1.03          1.05          1.07
//
// (Moved is below 1 because a newcomer is content with 97 % of its share; first is the most first places over their
// fair part.) A rule without history treats all nodes of a zone alike, so when a zone grows, what it gains goes to its
// old nodes too. The worst of the last way are leaves from one of 2 or 4 uneven zones: copies that must stay there.
//
// Sources: Karger et al. 1997 (consistent hashing); DeCandia et al. 2007, Dynamo §6.2 (equal partitions); Thaler and
// Ravishankar 1998 (rendezvous); Mirrokni, Thorup, Zadimoghaddam 2016 (bounded loads); Auvolat, Garage's layout (moves
// as a flow from the old table to the new). Hand-overs along chains are augmenting paths: the rules are a matroid.

import KVModel

/// Computes preference lists. Integers only, and nothing depends on the order in which members were learnt.
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
    for list in Precedence.ordered(settlement.lists, rules, layout) { owners += list.map { UInt16($0) } }
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
