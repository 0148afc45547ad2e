import KVModel
import Testing

@testable import KVCore

struct SlotsTests {
  @Test func `an id finds its operation until it ends, and nothing afterwards`() {
    var slots = Slots<String>(.read)
    slots.start(shard: 3, generation: 0xffff_ffff)
    let first = slots.insert("a")
    #expect(first.kind == .read && first.shard == 3)
    slots[first]? += "b"
    #expect(slots[first] == "ab")
    #expect(slots.remove(first) == "ab")
    #expect(slots[first] == nil && slots.remove(first) == nil)
    let second = slots.insert("c")
    #expect(second != first && slots[first] == nil && slots[second] == "c")
    #expect(slots.ids == [second] && slots.count == 1)
  }

  @Test func `every field of an id comes back out of it`() {
    for kind in [OperationID.Kind.read, .requestCheck, .survey, .housekeeping] {
      let id = OperationID(kind: kind, shard: 255, slot: OperationID.slotsMax - 1, generation: .max)
      #expect(id.kind == kind && id.shard == 255 && id.slot == OperationID.slotsMax - 1 && id.generation == .max)
    }
    // An id that a peer made up.
    #expect(Slots<String>(.housekeeping)[OperationID(raw: .max)] == nil)
  }
}
