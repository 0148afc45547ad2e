import KVModel
import Testing

@testable import KVCore

struct NodeStateTests {
  @Test func `the epoch rises after an unclean stop and stays after a clean one`() {
    let new = NodeState(id: NodeID(1), shards: 1)
    let first = new.started(nonce: 11)
    #expect(first.epoch == 1 && !first.stoppedCleanly)
    #expect(first.generation == Generation(number: 1, nonce: 11, predecessor: 0))
    let afterCrash = first.started(nonce: 12)
    #expect(afterCrash.epoch == 2)
    #expect(afterCrash.generation == Generation(number: 2, nonce: 12, predecessor: 11))
    var stopped = afterCrash
    stopped.stoppedCleanly = true
    #expect(stopped.started(nonce: 13).epoch == 2)
  }

  @Test func `a state comes back as it was written, and every damaged byte is noticed`() throws {
    var state = NodeState(id: NodeID(3), shards: 2).started(nonce: 1)
    state.hasClaimed = true
    state.ancestors = [4, 5]
    state.setKnownStart(Generation(number: 6, nonce: 7, predecessor: 8), of: NodeID(9))
    state.overtakenBy = Generation(number: 10, nonce: 11, predecessor: 12)
    state.layouts = [ControlTests.layout()]
    state.secret = ControlTests.secret
    let bytes = state.encoded
    #expect(try NodeState(encoded: bytes) == state)
    for place in bytes.indices {
      var damaged = bytes
      damaged[place] ^= 0x10
      #expect(throws: DecodeError.self) { try NodeState(encoded: damaged) }
    }
    for count in bytes.indices { #expect(throws: DecodeError.self) { try NodeState(encoded: Array(bytes[..<count])) } }
  }

  @Test func `a newer format is told from damage`() {
    var bytes = NodeState(id: NodeID(3), shards: 2).encoded
    bytes[0] = NodeState.revision + 1
    #expect(throws: DecodeError.unknownRevision(NodeState.revision + 1)) { try NodeState(encoded: bytes) }
  }
}
