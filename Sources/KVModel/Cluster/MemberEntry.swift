/// What nodes tell each other of one of them: whether it lives, and where it is reached. Never what it owns.
///
/// Entries of one node are totally ordered, so a table that keeps the greatest of each node is a join semilattice: in
/// whatever order and however often tables meet, they end equal (HAZARDS.md row 30).
///
/// ```
///   generation ─► incarnation ─► alive < suspect < dead ─► addresses, name
/// ```
///
/// Only the node itself raises its incarnation, to refute what is said of it; a start raises the generation.
public struct MemberEntry: Hashable, Sendable {
  public enum State: UInt8, Sendable, CaseIterable {
    case alive = 0
    /// Somebody got no answer from it, neither directly nor through others; it may still refute that.
    case suspect = 1
    /// Nobody refuted it in time.
    case dead = 2
  }

  public var node: NodeID
  /// Number of the node's start.
  public var generation: UInt64
  public var incarnation: UInt64
  public var state: State
  public var clientAddress: Address
  public var peerAddress: Address
  public var name: String

  public init(
    node: NodeID, generation: UInt64, incarnation: UInt64, state: State, clientAddress: Address, peerAddress: Address,
    name: String
  ) {
    self.node = node
    self.generation = generation
    self.incarnation = incarnation
    self.state = state
    self.clientAddress = clientAddress
    self.peerAddress = peerAddress
    self.name = name
  }

  /// What is known of a member of a layout before anybody spoke of it: below everything that is said later.
  public init(of member: Member) {
    self.init(
      node: member.id, generation: 0, incarnation: 0, state: .alive, clientAddress: member.clientAddress,
      peerAddress: member.peerAddress, name: member.name)
  }

  /// Whether this entry outranks `other`, which is of the same node.
  public func supersedes(_ other: MemberEntry) -> Bool {
    if generation != other.generation { return generation > other.generation }
    if incarnation != other.incarnation { return incarnation > other.incarnation }
    if state != other.state { return state.rawValue > other.state.rawValue }
    // A node has one address a start, so this decides between its word and a forgery, in the same way everywhere.
    return place.lexicographicallyPrecedes(other.place)
  }

  private var place: [String] { [peerAddress.description, clientAddress.description, name] }
}

// | size | field |
// |---|---|
// | 8 | node id |
// | 8 | generation |
// | 8 | incarnation |
// | 1 | state |
// | …, … | client address, peer address (2+n, 2) |
// | 2+n | name |
extension MemberEntry {
  func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: node.value)
    bytes.append(integer: generation)
    bytes.append(integer: incarnation)
    bytes.append(state.rawValue)
    clientAddress.encode(into: &bytes)
    peerAddress.encode(into: &bytes)
    bytes.append(text: name, max: Layout.nameBytesMax)
  }

  init(from reader: inout ByteReader) throws(DecodeError) {
    node = NodeID(try reader.u64())
    generation = try reader.u64()
    incarnation = try reader.u64()
    let tag = try reader.u8()
    guard let state = State(rawValue: tag) else { throw .unknownTag(tag) }
    self.state = state
    clientAddress = try Address(from: &reader)
    peerAddress = try Address(from: &reader)
    name = try reader.text(max: Layout.nameBytesMax)
  }

  /// Bytes that `encode` appends.
  public var encodedBytes: Int {
    35 + clientAddress.host.utf8.count + peerAddress.host.utf8.count + min(name.utf8.count, Layout.nameBytesMax)
  }
}
