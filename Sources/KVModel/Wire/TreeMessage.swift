/// A node of a partition's Merkle tree: the leaves whose numbers begin with the `depth` bits of `index`. Its digest is the
/// XOR of theirs, so no inner node needs to be kept.
public struct TreeNode: Hashable, Sendable {
  /// 0 is the root; the number of leaf bits is the depth of a leaf.
  public var depth: UInt8
  public var index: UInt32

  public init(depth: Int, index: UInt32) {
    self.depth = UInt8(depth)
    self.index = index
  }

  public static let root = TreeNode(depth: 0, index: 0)

  /// Whether a tree with so many leaf bits has it.
  public func exists(leafBits: Int) -> Bool { Int(depth) <= leafBits && index >> UInt32(depth) == 0 }

  /// The leaves below it.
  public func leaves(leafBits: Int) -> Range<UInt32> {
    let below = UInt32(leafBits - Int(depth))
    return index << below..<(index + 1) << below
  }

  /// The nodes `bits` further down, or the leaves where there are not so many levels.
  public func children(bits: Int, leafBits: Int) -> [TreeNode] {
    let depth = min(Int(depth) + bits, leafBits)
    let first = index << UInt32(depth - Int(self.depth))
    return (first..<first + 1 << UInt32(depth - Int(self.depth))).map { TreeNode(depth: depth, index: $0) }
  }
}

/// A node and its digest at whoever asks.
public struct TreeDigest: Hashable, Sendable {
  public var node: TreeNode
  public var digest: Digest

  public init(node: TreeNode, digest: Digest) {
    self.node = node
    self.digest = digest
  }
}

/// A partition and the digest of its tree's root at whoever asks.
public struct RootDigest: Hashable, Sendable {
  public var partition: PartitionID
  public var digest: Digest

  public init(partition: PartitionID, digest: Digest) {
    self.partition = partition
    self.digest = digest
  }
}

/// Some keys of a leaf and the digests of their records, ascending.
public struct LeafPage: Hashable, Sendable {
  public struct Entry: Hashable, Sendable {
    public var key: Key
    public var digest: Digest

    public init(key: Key, digest: Digest) {
      self.key = key
      self.digest = digest
    }
  }

  public var entries: [Entry]
  /// Nothing follows these.
  public var isLast: Bool

  public init(entries: [Entry], isLast: Bool) {
    self.entries = entries
    self.isLast = isLast
  }
}

/// What of a partition may be missing in an owner's copy.
public struct PartitionGaps: Hashable, Sendable {
  /// Any key of it.
  public var isWhole: Bool
  /// Ascending; at most `TreeMessage.keysMax`.
  public var keys: [Key]

  public init(isWhole: Bool, keys: [Key]) {
    self.isWhole = isWhole
    self.keys = keys
  }

  public mutating func join(_ other: PartitionGaps) {
    isWhole = isWhole || other.isWhole
    keys = Set(keys).union(other.keys).sorted()
  }
}

/// What owners say to each other to find where their copies differ.
///
/// | type | body |
/// |---|---|
/// | treeCompare | question 4, partition 2, number of nodes 2, then each: depth 1, index 4, the asker's digest 16 |
/// | treeDiffering | question 4, number 2, then the places of the nodes that differ 2·n, ascending |
/// | treeRoots | question 4, number 2 (1 to 64), then each, by partition: partition 2, the asker's digest 16 (`rootsAtOnce`) |
/// | leafList | question 4, partition 2, leaf 4, keys wanted 2, after a key 1 (0 from the first), then that key |
/// | leafListed | question 4, last 1, number 2, then each: key, digest 16 |
/// | treeDeclined | question 4 |
/// | treeGaps | question 4, partition 2 |
/// | treeGapsKnown | question 4, whole 1, number of keys 2, then the keys, ascending |
///
/// The question's number comes back in the answer, so that a late or second answer to an earlier one is known.
public enum TreeMessage: Hashable, Sendable {
  /// Which of these nodes have another digest there.
  case compare(PartitionID, [TreeDigest], question: UInt32)
  case differing([UInt16], question: UInt32)
  /// Which of these partitions' roots have another digest there; answered by `differing` too. Goes to the shard of the
  /// first.
  case roots([RootDigest], question: UInt32)
  case list(PartitionID, leaf: UInt32, after: Key?, limit: UInt16, question: UInt32)
  case listed(LeafPage, question: UInt32)
  /// It owns no copy, its own start is not confirmed, or it has too much to do.
  case declined(question: UInt32)
  /// What may be missing there of a partition: asked, before it compares and again after it, by an owner whose own copy has
  /// gaps. Who asks is answered though the partition may lack anything.
  case askGaps(PartitionID, question: UInt32)
  case gaps(PartitionGaps, question: UInt32)

  public static let nodesMax = 256
  public static let rootsMax = 64
  public static let keysMax = 256

  public var frameType: FrameType {
    switch self {
    case .compare: .treeCompare
    case .roots: .treeRoots
    case .differing: .treeDiffering
    case .list: .leafList
    case .listed: .leafListed
    case .declined: .treeDeclined
    case .askGaps: .treeGaps
    case .gaps: .treeGapsKnown
    }
  }

  /// The partition that a question is about, or the first.
  public var partition: PartitionID? {
    switch self {
    case .compare(let partition, _, _), .list(let partition, _, _, _, _), .askGaps(let partition, _): partition
    case .roots(let roots, _): roots.first?.partition
    case .differing, .listed, .declined, .gaps: nil
    }
  }

  public var isAnswer: Bool {
    switch self {
    case .differing, .listed, .declined, .gaps: true
    case .compare, .roots, .list, .askGaps: false
    }
  }

  private var question: UInt32 {
    switch self {
    case .compare(_, _, let question), .roots(_, let question), .differing(_, let question),
      .list(_, _, _, _, let question),
      .listed(_, let question), .declined(let question), .askGaps(_, let question), .gaps(_, let question):
      question
    }
  }
}

extension TreeMessage {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: question)
    switch self {
    case .compare(let partition, let digests, _):
      bytes.append(integer: partition.index)
      bytes.append(integer: UInt16(digests.count))
      for entry in digests {
        bytes.append(entry.node.depth)
        bytes.append(integer: entry.node.index)
        entry.digest.encode(into: &bytes)
      }
    case .roots(let roots, _):
      bytes.append(integer: UInt16(roots.count))
      for root in roots {
        bytes.append(integer: root.partition.index)
        root.digest.encode(into: &bytes)
      }
    case .differing(let places, _):
      bytes.append(integer: UInt16(places.count))
      for place in places { bytes.append(integer: place) }
    case .list(let partition, let leaf, let after, let limit, _):
      bytes.append(integer: partition.index)
      bytes.append(integer: leaf)
      bytes.append(integer: limit)
      bytes.append(bool: after != nil)
      after?.encode(into: &bytes)
    case .declined: break
    case .askGaps(let partition, _): bytes.append(integer: partition.index)
    case .gaps(let gaps, _):
      bytes.append(bool: gaps.isWhole)
      bytes.append(integer: UInt16(gaps.keys.count))
      for key in gaps.keys { key.encode(into: &bytes) }
    case .listed(let page, _):
      bytes.append(bool: page.isLast)
      bytes.append(integer: UInt16(page.entries.count))
      for entry in page.entries {
        entry.key.encode(into: &bytes)
        entry.digest.encode(into: &bytes)
      }
    }
  }

  init(_ type: FrameType, from reader: inout ByteReader) throws(DecodeError) {
    let question = try reader.u32()
    switch type {
    case .treeDeclined: self = .declined(question: question)
    case .treeGaps: self = .askGaps(PartitionID(try reader.u16()), question: question)
    case .treeGapsKnown:
      let isWhole = try reader.bool()
      var keys: [Key] = []
      for _ in 0..<(try TreeMessage.count(max: TreeMessage.keysMax, &reader)) {
        let key = try Key(from: &reader)
        guard keys.last.map({ $0 < key }) ?? true else { throw .notCanonical }
        keys.append(key)
      }
      self = .gaps(PartitionGaps(isWhole: isWhole, keys: keys), question: question)
    case .treeCompare:
      let partition = PartitionID(try reader.u16())
      var digests: [TreeDigest] = []
      for _ in 0..<(try TreeMessage.count(max: TreeMessage.nodesMax, &reader)) {
        let depth = Int(try reader.u8())
        let node = TreeNode(depth: depth, index: try reader.u32())
        guard depth <= 16, node.exists(leafBits: 16) else { throw .outOfBounds }
        digests.append(TreeDigest(node: node, digest: try Digest(from: &reader)))
      }
      self = .compare(partition, digests, question: question)
    case .treeRoots:
      var roots: [RootDigest] = []
      let count = try TreeMessage.count(max: TreeMessage.rootsMax, &reader)
      guard count > 0 else { throw .outOfBounds }
      for _ in 0..<count {
        let partition = PartitionID(try reader.u16())
        guard roots.last.map({ $0.partition < partition }) ?? true else { throw .notCanonical }
        roots.append(RootDigest(partition: partition, digest: try Digest(from: &reader)))
      }
      self = .roots(roots, question: question)
    case .treeDiffering:
      var places: [UInt16] = []
      for _ in 0..<(try TreeMessage.count(max: TreeMessage.nodesMax, &reader)) {
        let place = try reader.u16()
        guard places.last.map({ $0 < place }) ?? true, place < TreeMessage.nodesMax else { throw .notCanonical }
        places.append(place)
      }
      self = .differing(places, question: question)
    case .leafList:
      let partition = PartitionID(try reader.u16())
      let leaf = try reader.u32()
      let limit = try reader.u16()
      guard (1...TreeMessage.keysMax).contains(Int(limit)) else { throw .outOfBounds }
      let after = try reader.bool() ? try Key(from: &reader) : nil
      self = .list(partition, leaf: leaf, after: after, limit: limit, question: question)
    case .leafListed:
      let isLast = try reader.bool()
      var entries: [LeafPage.Entry] = []
      for _ in 0..<(try TreeMessage.count(max: TreeMessage.keysMax, &reader)) {
        let key = try Key(from: &reader)
        guard entries.last.map({ $0.key < key }) ?? true else { throw .notCanonical }
        entries.append(LeafPage.Entry(key: key, digest: try Digest(from: &reader)))
      }
      self = .listed(LeafPage(entries: entries, isLast: isLast), question: question)
    default: throw .unknownTag(type.rawValue)
    }
  }

  private static func count(max: Int, _ reader: inout ByteReader) throws(DecodeError) -> Int {
    let count = Int(try reader.u16())
    guard count <= max else { throw .outOfBounds }
    return count
  }
}
