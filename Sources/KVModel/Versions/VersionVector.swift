/// Causal history: for each actor the highest counter seen on a key. An entry (actor, n) claims *every* dot of that
/// actor up to n on that key.
///
/// It forms a lattice: `join` is the least upper bound, `covers` the order. Nothing is ever pruned (HAZARDS.md row 11).
public struct VersionVector: Hashable, Sendable {
  public struct Entry: Hashable, Sendable {
    public var actor: Actor
    public var counter: UInt64

    @inlinable
    public init(actor: Actor, counter: UInt64) {
      self.actor = actor
      self.counter = counter
    }
  }

  /// Invariant: strictly ascending by actor, counters at least 1.
  public private(set) var entries: [Entry]

  /// The empty history. (No history at all is `nil`, and differs on the wire.)
  public init() { entries = [] }

  /// A vector from entries in any order; of two with one actor the higher counts, zeros vanish.
  public init(_ entries: some Sequence<Entry>) {
    self.init()
    for entry in entries where entry.counter > 0 { add(Dot(actor: entry.actor, counter: entry.counter)) }
  }

  /// For decoders, which have checked the invariant.
  init(canonical entries: [Entry]) { self.entries = entries }

  public var isEmpty: Bool { entries.isEmpty }

  /// The highest counter of `actor`, 0 if none.
  public subscript(actor: Actor) -> UInt64 {
    let place = place(of: actor)
    return place < entries.count && entries[place].actor == actor ? entries[place].counter : 0
  }

  /// Whether this history contains `dot`.
  public func covers(_ dot: Dot) -> Bool { self[dot.actor] >= dot.counter }

  /// Whether this history contains all of `other`.
  public func covers(_ other: VersionVector) -> Bool {
    other.entries.allSatisfy { self[$0.actor] >= $0.counter }
  }

  /// Adds a dot, and by that claims all of its actor's before it.
  public mutating func add(_ dot: Dot) {
    let place = place(of: dot.actor)
    if place < entries.count, entries[place].actor == dot.actor {
      entries[place].counter = max(entries[place].counter, dot.counter)
    } else {
      entries.insert(Entry(actor: dot.actor, counter: dot.counter), at: place)
    }
  }

  /// The least history that contains both.
  public mutating func join(_ other: VersionVector) {
    // One history mostly contains the other: nothing is allocated then.
    if VersionVector.contains(entries, other.entries) { return }
    if VersionVector.contains(other.entries, entries) {
      entries = other.entries
      return
    }
    var merged: [Entry] = []
    merged.reserveCapacity(max(entries.count, other.entries.count) + 1)
    var mine = 0
    var theirs = 0
    while mine < entries.count, theirs < other.entries.count {
      let (a, b) = (entries[mine], other.entries[theirs])
      if a.actor == b.actor {
        merged.append(a.counter >= b.counter ? a : b)
        mine += 1
        theirs += 1
      } else if a.actor < b.actor {
        merged.append(a)
        mine += 1
      } else {
        merged.append(b)
        theirs += 1
      }
    }
    merged.append(contentsOf: entries[mine...])
    merged.append(contentsOf: other.entries[theirs...])
    entries = merged
  }

  private static func contains(_ all: [Entry], _ some: [Entry]) -> Bool {
    guard some.count <= all.count else { return false }
    var place = 0
    for entry in some {
      while place < all.count, all[place].actor < entry.actor { place += 1 }
      guard place < all.count, all[place].actor == entry.actor, all[place].counter >= entry.counter else {
        return false
      }
      place += 1
    }
    return true
  }

  public func joined(_ other: VersionVector) -> VersionVector {
    var result = self
    result.join(other)
    return result
  }

  /// Index of the first entry whose actor is not below `actor`.
  func place(of actor: Actor) -> Int {
    if entries.count <= 8 { return entries.firstIndex { !($0.actor < actor) } ?? entries.count }
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].actor < actor { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension VersionVector: CustomStringConvertible {
  public var description: String {
    "{" + entries.map { "\($0.actor):\($0.counter >> 8)/\($0.counter & 0xff)" }.joined(separator: " ") + "}"
  }
}

// | size | field |
// |---|---|
// | 2 | number of entries (at most Limits.contextEntriesMax) |
// | 20 each | node id 8, epoch 4, counter 8; strictly ascending by (node id, epoch), counters ≥ 1 |
extension VersionVector {
  static let entryBytes = 20

  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: UInt16(entries.count))
    encodeEntries(into: &bytes)
  }

  func encodeEntries(into bytes: inout [UInt8]) {
    for entry in entries {
      bytes.append(integer: entry.actor.node.value)
      bytes.append(integer: entry.actor.epoch)
      bytes.append(integer: entry.counter)
    }
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    try self.init(from: &reader, count: Int(try reader.u16()))
  }

  init(from reader: inout ByteReader, count: Int) throws(DecodeError) {
    guard count <= Limits.contextEntriesMax else { throw .outOfBounds }
    guard reader.remaining >= count * VersionVector.entryBytes else { throw .truncated }
    var entries: [Entry] = []
    entries.reserveCapacity(count)
    for _ in 0..<count {
      let actor = Actor(node: NodeID(try reader.u64()), epoch: try reader.u32())
      let counter = try reader.u64()
      guard counter > 0, entries.last.map({ $0.actor < actor }) ?? true else { throw .notCanonical }
      entries.append(Entry(actor: actor, counter: counter))
    }
    self.init(canonical: entries)
  }
}
