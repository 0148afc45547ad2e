import KVModel
import Testing

@testable import KVCore

struct OwnerSetTests {
  private func owners(_ groups: [[UInt64]]) -> OwnerSet {
    var owners = OwnerSet()
    for group in groups { owners.addGroup(group.map { NodeID($0) }) }
    return owners
  }

  private func mask(_ places: Int...) -> OwnerMask {
    var mask = OwnerMask()
    for place in places { mask.insert(place) }
    return mask
  }

  @Test func `a quorum is met, possible or impossible`() {
    let three = owners([[1, 2, 3]])
    #expect(three.decision(needed: 2, succeeded: mask(0), failed: mask()) == .waiting)
    #expect(three.decision(needed: 2, succeeded: mask(0, 2), failed: mask()) == .met)
    #expect(three.decision(needed: 2, succeeded: mask(0), failed: mask(1)) == .waiting)
    #expect(three.decision(needed: 2, succeeded: mask(0), failed: mask(1, 2)) == .impossible)
    // Who succeeded counts, even if its link failed afterwards.
    #expect(three.decision(needed: 2, succeeded: mask(0, 1), failed: mask(1, 2)) == .met)
  }

  @Test func `with two live layouts a quorum is one in each`() {
    let both = owners([[1, 2, 3], [1, 4, 5]])
    #expect(both.nodes.map(\.value) == [1, 2, 3, 4, 5])
    #expect(both.decision(needed: 2, succeeded: mask(0, 1), failed: mask()) == .waiting)
    #expect(both.decision(needed: 2, succeeded: mask(0, 1, 4), failed: mask()) == .met)
    #expect(both.decision(needed: 2, succeeded: mask(0, 1, 2), failed: mask(3, 4)) == .impossible)
    #expect(both.copies == 3)
  }

  @Test func `equal layouts make one group`() {
    #expect(owners([[1, 2, 3], [1, 2, 3]]).groups.count == 1)
  }

  @Test func `a layout with fewer owners than needed needs all of them`() {
    let two = owners([[1, 2]])
    #expect(two.decision(needed: 3, succeeded: mask(0), failed: mask()) == .waiting)
    #expect(two.decision(needed: 3, succeeded: mask(0, 1), failed: mask()) == .met)
  }
}
