import KVModel
import Testing

@testable import KVCore

struct GapTests {
  private static let owners: OwnerSet = {
    var owners = OwnerSet()
    owners.addGroup([NodeID(1), NodeID(2), NodeID(3)])
    return owners
  }()

  private static func isFilled(pulled: [UInt64], partly: [UInt64] = []) -> Bool {
    var gap = Gap(part: .partition(PartitionID(7)), barred: nil)
    gap.pulled = pulled.map { NodeID($0) }
    gap.partly = partly.map { NodeID($0) }
    return gap.isFilled(owners, writeQuorum: 2, at: NodeID(1))
  }

  @Test func `a gap is filled when each other owner was pulled from, whole, and not before`() {
    #expect(!Self.isFilled(pulled: []))
    #expect(!Self.isFilled(pulled: [2]), "what was acknowledged by this node and n3 may be missing")
    #expect(!Self.isFilled(pulled: [2], partly: [3]), "n3 has lost something too: no write quorum lies outside of n2")
    #expect(Self.isFilled(pulled: [2, 3]))
  }
}
