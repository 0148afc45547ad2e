import KVModel

/// Who of the members lives and where each is now: what `Control` has found out by gossip. It says nothing about
/// ownership. Immutable; replaced as a whole.
public struct Liveness: Equatable, Sendable {
  /// Ascending by node, this one among them.
  public let members: [MemberEntry]

  public init(members: [MemberEntry] = []) { self.members = members }

  /// Ascending.
  public var dead: [NodeID] { members.filter { $0.state == .dead }.map(\.node) }

  /// Members of a layout with the addresses that they have now.
  public func located(_ listed: [Member]) -> [Member] {
    listed.map { member in
      var member = member
      guard let entry = members.first(where: { $0.node == member.id }), entry.generation > 0 else { return member }
      member.clientAddress = entry.clientAddress
      member.peerAddress = entry.peerAddress
      return member
    }
  }
}
