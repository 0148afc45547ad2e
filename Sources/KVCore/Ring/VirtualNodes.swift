import KVModel

/// The ring of virtual nodes: every member's tokens, in order.
///
/// Token i of a member is the first half of murmur3(node id, 8 bytes ‖ i, 4 bytes, little-endian), for i below
/// weight × virtual nodes (at least one). Above `tokensMax` in all, every member has proportionally fewer.
struct VirtualNodes {
  static let tokensMax = 1 << 20
  /// Tokens that a walk looks at before it leaves the rest of its list to the least loaded members.
  static let stepsMax = 512

  private var tokens: [(position: UInt64, member: Int)] = []

  init(of layout: Layout) {
    let perWeight = layout.settings.virtualNodes
    let wanted = layout.members.reduce(0) { $0 + Int($1.weight) * perWeight / 100 }
    let divisor = max(1, (wanted + VirtualNodes.tokensMax - 1) / VirtualNodes.tokensMax)
    for (index, member) in layout.members.enumerated() {
      let count = max(1, Int(member.weight) * perWeight / 100 / divisor)
      for number in 0..<count { tokens.append((VirtualNodes.position(of: member.id, UInt32(number)), index)) }
    }
    tokens.sort { $0.position != $1.position ? $0.position < $1.position : $0.member < $1.member }
  }

  /// Calls `visit` with the member of each token clockwise from each partition's start, until it says false.
  func walk(partitionBits: Int, _ visit: (_ partition: Int, _ member: Int) -> Bool) {
    var first = 0
    for partition in 0..<(1 << partitionBits) {
      let start = UInt64(partition) << UInt64(64 - partitionBits)
      while first < tokens.count, tokens[first].position < start { first += 1 }
      for step in 0..<min(tokens.count, VirtualNodes.stepsMax) {
        let place = first + step
        guard visit(partition, tokens[place < tokens.count ? place : place - tokens.count].member) else { break }
      }
    }
  }

  static func position(of node: NodeID, _ number: UInt32) -> UInt64 {
    var bytes: [UInt8] = []
    bytes.append(integer: node.value)
    bytes.append(integer: number)
    return bytes.withUnsafeBytes { Murmur3.hash($0).first }
  }
}
