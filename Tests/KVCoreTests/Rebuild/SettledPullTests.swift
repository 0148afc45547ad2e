import KVModel
import Testing

@testable import KVCore

/// What was acknowledged by a copy that is lost afterwards is in what is pulled, or does not count.
struct SettledPullTests {
  private struct Node {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    let storage = MemoryStorage(geometry: ShardGeometry(of: ControlTests.layout()))
    var responses: [ClientResponse] = []
    var sent: [(message: PeerMessage, to: NodeID, operation: UInt64)] = []

    init() {
      step(.recovered())
      step(.ofThree)
      for peer in [2, 3] as [UInt64] { step(.linkChanged(NodeID(peer), isUp: true)) }
    }

    mutating func step(_ input: Shard.Input) {
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      var results: [StorageCompletion] = []
      for effect in effects {
        switch effect {
        case .respond(let response, to: _): responses.append(response)
        case .send(let message, to: let peer, let envelope): sent.append((message, peer, envelope.operation))
        case .store(let operation, let id):
          storage.submit(operation, id: id, results: &results)
          storage.endTurn(results: &results)
        case .note, .schedule, .renewEpoch, .wentBack, .halt: break
        }
      }
      for result in results { step(.stored(result.result, for: result.id)) }
    }

    /// What the store had held back is synced.
    mutating func sync() {
      var results: [StorageCompletion] = []
      storage.sync()
      storage.collect(results: &results)
      for result in results { step(.stored(result.result, for: result.id)) }
    }

    mutating func hear(_ message: PeerMessage, from peer: UInt64, _ operation: UInt64 = 9) {
      let deadline = now.instant.advanced(by: .seconds(5))
      step(.message(message, from: NodeID(peer), Shard.Envelope(operation: operation, deadline: deadline)))
    }

    var gapsTold: Int { sent.count { if case .tree(.gaps) = $0.message { true } else { false } } }
  }

  @Test func `who pulls is answered when all that was merged before is synced`() throws {
    var node = Node()
    let key = try Key(Array("a".utf8))
    let actor = Actor(node: NodeID(2), epoch: 1)
    let version = Version(
      dot: Dot(actor: actor, counter: 1), stamp: .zero, requestID: RequestID(client: 1, sequence: 1), checksum: 0,
      content: .tombstone)
    let record = Record(context: VersionVector([.init(actor: actor, counter: 1)]), versions: [version])
    node.storage.holdsSyncs = true
    node.hear(.replicaWrite(ReplicaWrite(key: key, purpose: .repair, record: EncodedRecord(record))), from: 2)
    let partition = key.token.partition(bits: node.storage.geometry.partitionBits)
    node.hear(.tree(.askGaps(partition, question: 1)), from: 3)
    #expect(node.gapsTold == 0, "a write that is about to count is not in what is compared yet")
    node.sync()
    #expect(node.gapsTold == 1 && node.storage.snapshot().records.count == 1)
    #expect(node.shard.treeQueries.count == 0)
  }

  @Test func `a coordinator that has lost its own copy of a write waits for as many others`() throws {
    var node = Node()
    let key = try Key(Array("a".utf8))
    let write = WriteRequest(key: key, requestID: RequestID(client: 1, sequence: 1), payload: .delete)
    let deadline = node.now.instant.advanced(by: .seconds(5))
    node.step(.request(.write(write), from: ClientRef(connection: 1, request: 1), deadline: deadline))
    let asked = node.sent.filter { if case .replicaWrite = $0.message { true } else { false } }
    #expect(asked.count == 2 && node.responses.isEmpty, "its own is synced, and W is 2")
    let isDamaged = node.storage.damage(key, byte: 20)
    #expect(isDamaged)
    node.step(.timer(TimerID(raw: Shard.scrubID.raw)))
    node.now.instant = node.now.instant.advanced(by: .milliseconds(250))
    node.step(.timer(TimerID(raw: Shard.tickID.raw)))
    #expect(node.shard.gaps.keys == 1)
    let operation = try #require(asked.first?.operation)
    node.hear(.replicaWriteReply(.stored(beside: nil)), from: 2, operation)
    #expect(node.responses.isEmpty, "nothing would bring it here, and n2 alone is no write quorum")
    node.hear(.replicaWriteReply(.stored(beside: nil)), from: 3, operation)
    guard case .written? = node.responses.first else {
      Issue.record("\(node.responses)")
      return
    }
  }
}
