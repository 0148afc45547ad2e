import KVModel

/// What belongs to the node rather than to a shard, kept in the node store and synced before any effect that relies
/// on it.
public struct NodeState: Equatable, Sendable {
  /// Random, made with the data directory.
  public var id: NodeID
  /// S: fixed when the data directory is made.
  public var shards: Int
  /// The epoch under which dots are minted.
  public var epoch: UInt32
  /// The current start.
  public var generation: Generation
  /// Set by a clean stop, taken away by the next start. Without it dots may have been forgotten.
  public var stoppedCleanly: Bool
  /// The databases of the shards were made: from now on one that is missing was lost, and an empty one would answer
  /// for it.
  public var hasShards: Bool
  /// The live layouts, oldest first; empty while the node belongs to no cluster.
  public var layouts: [Layout]
  /// What the nodes of the cluster share and clients do not know.
  public var secret: ClusterSecret
  /// Whether any peer may have heard of the current start.
  public var hasClaimed: Bool
  /// Nonces of earlier starts that peers may have heard of, latest first.
  public var ancestors: [UInt64]
  /// The latest start that this node knows of each peer; ascending by node.
  public var known: [KnownStart]
  /// A peer knows of this start of ours, which these data do not descend from: they went back in time.
  public var overtakenBy: Generation?
  /// The number of the start at which this node began anew, since its data had gone back in time: what it holds from before
  /// may lack anything, and what it knew of its peers' starts is forgotten. 0: it never did.
  public var life: UInt64 = 0

  /// A peer's latest start, as this node knows it.
  public struct KnownStart: Hashable, Sendable {
    public var node: NodeID
    public var generation: Generation
  }

  /// A new data directory.
  public init(id: NodeID, shards: Int) {
    self.id = id
    self.shards = shards
    epoch = 0
    generation = Generation(number: 0, nonce: 0, predecessor: 0)
    stoppedCleanly = true
    hasShards = false
    layouts = []
    secret = .none
    hasClaimed = false
    ancestors = []
    known = []
  }

  /// The cluster that this node accepted, once and for ever.
  public var cluster: ClusterID { layouts.first?.cluster ?? .none }

  /// The state of the start that begins now. It is synced before the node does anything else.
  ///
  /// The epoch rises unless the last stop was clean, because an entry (actor, n) of a version vector claims every dot
  /// up to n, and a node that may have lost some must never again mint under that actor. `nonce` is random.
  public func started(nonce: UInt64) -> NodeState {
    var next = self
    next.generation = Generation(number: generation.number + 1, nonce: nonce, predecessor: generation.nonce)
    if !stoppedCleanly && !planted(.epochKept) || epoch == 0 { next.epoch = epoch + 1 }
    next.stoppedCleanly = false
    // Starts that nobody heard of need not be named: a process that keeps ending before it meets a peer adds none.
    if hasClaimed { next.ancestors = Array(([generation.nonce] + ancestors).prefix(GenerationClaim.ancestorsMax)) }
    next.hasClaimed = false
    return next
  }

  /// The state of a node whose data went back in time, and that goes on as the successor of the latest start that its
  /// peers know of it: under an epoch that no start up to that one can have used, and without what it knew of others. Nil
  /// when the numbers have come to their end.
  ///
  /// `known`: what peers know, latest first; `skipped`: starts after it that nobody may know of any more. `nonce` is random.
  func begunAnew(after known: [Generation], skipping skipped: UInt64, nonce: UInt64) -> NodeState? {
    guard let latest = known.first else { return nil }
    // The number came over the wire: nothing of it may trap.
    let (number, isPastEnd) = max(latest.number, generation.number).addingReportingOverflow(1 + skipped)
    let (first, isTooLarge) = number.multipliedReportingOverflow(by: NodeState.epochsPerStart)
    guard !isPastEnd, !isTooLarge, let epoch = UInt32(exactly: first) else { return nil }
    var next = self
    next.ancestors = Array((known.map(\.nonce) + [generation.nonce] + ancestors).prefix(GenerationClaim.ancestorsMax))
    next.generation = Generation(number: number, nonce: nonce, predecessor: latest.nonce)
    next.epoch = epoch
    next.life = number
    next.known = []
    next.overtakenBy = nil
    next.hasClaimed = true
    return next
  }

  /// Epochs that one start may use up. With it every epoch of a start with a given number lies below
  /// `epochsPerStart * (number + 1)`, so that who knows the number of another start knows epochs that it never used.
  public static let epochsPerStart: UInt64 = 256

  /// The epoch after this one, within one start; nil when it has used up its own.
  var nextEpoch: UInt32? {
    let next = UInt64(epoch) + 1
    return next / NodeState.epochsPerStart <= generation.number ? UInt32(exactly: next) : nil
  }

  /// The latest start of `node` that this node knows of.
  public func knownStart(of node: NodeID) -> Generation? { known.first { $0.node == node }?.generation }

  mutating func setKnownStart(_ generation: Generation, of node: NodeID) {
    known.removeAll { $0.node == node }
    let place = known.firstIndex { node < $0.node } ?? known.count
    known.insert(KnownStart(node: node, generation: generation), at: place)
  }
}

// | size | field |
// |---|---|
// | 1 | revision = 3 |
// | 8 | node id |
// | 2 | shards |
// | 4 | epoch |
// | 24 | generation: number, nonce, predecessor |
// | 1, 1 | stopped cleanly; the shards' databases were made |
// | 16 | the cluster's secret |
// | 1 | live layouts, then each: length 4, layout |
// | 1 | this start was claimed before peers |
// | 1 | earlier starts that were, then each: nonce 8 |
// | 2 | known starts of peers, then each: node 8, generation 24 |
// | 1 | overtaken; then, if so, by generation 24 |
// | 8 | life |
// | 8 | XXH3-64 of all before |
extension NodeState {
  /// The newest format that this release reads and the one that it writes.
  public static let revision: UInt8 = 3

  public var encoded: [UInt8] {
    var bytes: [UInt8] = [NodeState.revision]
    bytes.append(integer: id.value)
    bytes.append(integer: UInt16(shards))
    bytes.append(integer: epoch)
    generation.encode(into: &bytes)
    bytes.append(bool: stoppedCleanly)
    bytes.append(bool: hasShards)
    secret.encode(into: &bytes)
    bytes.append(UInt8(layouts.count))
    for layout in layouts {
      var inner: [UInt8] = []
      layout.encode(into: &inner)
      bytes.append(blob: inner)
    }
    bytes.append(bool: hasClaimed)
    bytes.append(UInt8(ancestors.count))
    for nonce in ancestors { bytes.append(integer: nonce) }
    bytes.append(integer: UInt16(known.count))
    for start in known {
      bytes.append(integer: start.node.value)
      start.generation.encode(into: &bytes)
    }
    bytes.append(bool: overtakenBy != nil)
    overtakenBy?.encode(into: &bytes)
    bytes.append(integer: life)
    bytes.append(integer: Checksum.of(bytes))
    return bytes
  }

  /// Reads `encoded`. `.unknownRevision` means a newer release wrote it; every other error means damage.
  public init(encoded: [UInt8]) throws(DecodeError) {
    self = try encoded.decode { (bytes) throws(DecodeError) in try NodeState(bytes) }
  }

  private init(_ bytes: UnsafeRawBufferPointer) throws(DecodeError) {
    var reader = ByteReader(bytes)
    let revision = try reader.u8()
    guard (1...NodeState.revision).contains(revision) else { throw .unknownRevision(revision) }
    id = NodeID(try reader.u64())
    shards = Int(try reader.u16())
    epoch = try reader.u32()
    generation = try Generation(from: &reader)
    stoppedCleanly = try reader.bool()
    hasShards = try reader.bool()
    secret = try ClusterSecret(from: &reader)
    layouts = []
    for _ in 0..<(try reader.u8()) {
      let count = Int(try reader.u32())
      var inner = ByteReader(try reader.view(count))
      layouts.append(try Layout(from: &inner))
      try inner.end()
    }
    (hasClaimed, ancestors, known) = (false, [], [])
    if revision >= 2 { try decodeStarts(from: &reader) }
    if revision >= 3 { life = try reader.u64() }
    let covered = bytes.count - reader.remaining
    let checksum = try reader.u64()
    try reader.end()
    guard checksum == Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[..<covered])) else { throw .checksumMismatch }
    guard (1...256).contains(shards) else { throw .outOfBounds }
  }

  private mutating func decodeStarts(from reader: inout ByteReader) throws(DecodeError) {
    hasClaimed = try reader.bool()
    for _ in 0..<(try reader.u8()) { ancestors.append(try reader.u64()) }
    for _ in 0..<(try reader.u16()) {
      let node = NodeID(try reader.u64())
      known.append(KnownStart(node: node, generation: try Generation(from: &reader)))
    }
    overtakenBy = try reader.bool() ? try Generation(from: &reader) : nil
  }
}
