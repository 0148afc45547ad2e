import KVModel

/// What is known of each member: the greatest entry that was heard of it. A join semilattice (see `MemberEntry`).
///
/// The members are those of the layout, so nobody comes in by gossip: what is said of others is refused.
struct MemberTable: Equatable, Sendable {
  /// Invariant: ascending by node.
  private(set) var entries: [MemberEntry] = []

  var count: Int { entries.count }

  /// Keeps what is known of these members, and knows of new ones what the layout says.
  mutating func adopt(_ members: [Member]) {
    entries = members.sorted { $0.id < $1.id }.map { member in self[member.id] ?? MemberEntry(of: member) }
  }

  func place(of node: NodeID) -> Int? {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].node < node { low = middle + 1 } else { high = middle }
    }
    return low < entries.count && entries[low].node == node ? low : nil
  }

  subscript(node: NodeID) -> MemberEntry? { place(of: node).map { entries[$0] } }

  /// Takes an entry if it outranks what is known of its node. False for one that does not, and for one of no member.
  @discardableResult
  mutating func merge(_ entry: MemberEntry) -> Bool {
    guard let place = place(of: entry.node), outranks(entry, entries[place]) else { return false }
    entries[place] = entry
    return true
  }

  private func outranks(_ entry: MemberEntry, _ known: MemberEntry) -> Bool {
    if planted(.lowerIncarnationTaken), entry.generation == known.generation, entry.incarnation != known.incarnation {
      return entry.incarnation < known.incarnation
    }
    return entry.supersedes(known)
  }

  /// Why hearsay is not believed, whatever it says: only the node itself may be so far ahead of what is known of it.
  ///
  /// A bound keeps one forged number from silencing a node for ever. Nobody is locked out by it: a node's own word is
  /// not bounded (HAZARDS.md row 33).
  func isAbsurd(_ entry: MemberEntry) -> Bool {
    guard let known = self[entry.node] else { return true }
    if entry.generation < known.generation { return false }
    if entry.generation - known.generation > MemberTable.jumpMax { return true }
    let base = entry.generation == known.generation ? known.incarnation : 0
    return entry.incarnation > base && entry.incarnation - base > MemberTable.jumpMax
  }

  /// How far a generation or an incarnation may be ahead in what others say of a node: far more starts or refutations
  /// than anybody can miss.
  static let jumpMax: UInt64 = 1 << 20
}
