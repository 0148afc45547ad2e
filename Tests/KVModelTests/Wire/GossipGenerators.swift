@testable import KVModel

extension PRNG {
  mutating func memberEntry() -> MemberEntry {
    MemberEntry(
      node: NodeID(number()), generation: number(), incarnation: number(), state: pick(MemberEntry.State.allCases),
      clientAddress: Address(host: text(max: 40), port: UInt16(truncatingIfNeeded: next())),
      peerAddress: Address(host: text(max: 40), port: UInt16(truncatingIfNeeded: next())),
      name: text(max: 64))
  }

  /// Ascending by node, each once.
  mutating func memberTable() -> [MemberEntry] {
    var nodes: Set<NodeID> = []
    return list(0...20) { $0.memberEntry() }.sorted { $0.node < $1.node }.filter { nodes.insert($0.node).inserted }
  }

  mutating func gossip(_ type: FrameType) -> GossipMessage {
    let rumours = list(0...UInt64(GossipMessage.rumoursMax)) { Rumour($0.memberEntry(), accuser: NodeID($0.number())) }
    let content: GossipMessage.Content =
      switch type {
      case .gossipPing: .ping(rumours)
      case .gossipAck: .ack(rumours)
      case .gossipAsk: .ask(NodeID(number()), rumours)
      case .gossipNack: .nack(rumours)
      case .gossipPush: .push(memberTable())
      default: .pull(memberTable())
      }
    return GossipMessage(
      cluster: ClusterID(number()), layoutVersion: UInt32(truncatingIfNeeded: number()), layoutDigest: number(),
      probe: UInt32(truncatingIfNeeded: number()), sender: memberEntry(), content: content)
  }
}
