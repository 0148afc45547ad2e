import KVModel
import Testing

@testable import KVCore

/// One shard on a memory store, with gaps that the other owners cannot fill.
struct LossPathTests {
  private struct Node {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    let storage = MemoryStorage(geometry: ShardGeometry(of: ControlTests.layout()))
    var notes: [Shard.Event] = []

    init() {
      _ = step(.recovered())
      _ = step(.ofThree)
    }

    mutating func step(_ input: Shard.Input) -> [ClientResponse] {
      var responses: [ClientResponse] = []
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      for effect in effects {
        switch effect {
        case .respond(let response, to: _): responses.append(response)
        case .note(let event): notes.append(event)
        case .store(let operation, let id):
          for result in store(operation, id) { responses += step(.stored(result.result, for: result.id)) }
        case .send, .schedule, .renewEpoch, .wentBack, .halt: break
        }
      }
      return responses
    }

    func store(_ operation: StorageOperation, _ id: StorageID = StorageID(raw: 1)) -> [StorageCompletion] {
      var results: [StorageCompletion] = []
      storage.submit(operation, id: id, results: &results)
      storage.endTurn(results: &results)
      return results
    }

    /// What was pulled into a part: whole from n2, as much as is left from n3.
    func lose(_ part: Gap.Part, from3 isWhole: Bool = false) {
      _ = store(.changeGaps([.note(part)]))
      guard case .gaps(let census)? = store(.listGaps).last?.result,
        let sequence = census.open.first(where: { $0.gap.part == part })?.sequence
      else { return }
      let pulls: [GapChange] = [
        .pulled(part, sequence: sequence, from: NodeID(2), isWhole: true),
        .pulled(part, sequence: sequence, from: NodeID(3), isWhole: isWhole),
      ]
      _ = store(.changeGaps(pulls))
    }

    mutating func tick() {
      now.instant = now.instant.advanced(by: .milliseconds(250))
      shard.rebuild.isStale = true
      _ = step(.timer(TimerID(raw: Shard.tickID.raw)))
    }

    mutating func ask(_ request: RepairRequest) -> ClientResponse? {
      let deadline = now.instant.advanced(by: .seconds(5))
      return step(.request(.repair(request), from: ClientRef(connection: 1, request: 1), deadline: deadline)).first
    }

    mutating func losses() -> [Losses.Entry]? {
      guard case .repaired(.losses(let losses))? = ask(.losses(shard: 0)) else { return nil }
      return losses.entries
    }
  }

  @Test func `what two of three owners have lost stays unread, is told, and is answered again once that is accepted`()
    throws
  {
    var node = Node()
    let key = try Key(Array("a".utf8))
    let partition = key.token.partition(bits: node.storage.geometry.partitionBits)
    let other = PartitionID(partition.index == 3 ? 4 : 3)
    node.lose(.key(key))
    node.lose(.partition(other))
    node.tick()
    #expect(node.store(.read(key)).first?.result == .incomplete(.empty), "nobody has said that it has to do")
    let whole = Losses.Entry(partition: other, keys: 0)
    let lost = [Losses.Entry(partition: partition, keys: 1), whole].sorted { $0.partition < $1.partition }
    #expect(node.losses() == lost && node.shard.partsBeyondQuorum == 2)
    #expect(node.ask(.acceptLoss(partition)) == .repaired(.accepted(parts: 1)))
    #expect(node.store(.read(key)).first?.result == .record(.empty))
    node.tick()
    #expect(node.losses() == [whole], "only what was named")
    #expect(node.ask(.acceptLoss(partition)) == .repaired(.accepted(parts: 0)))
    #expect(node.ask(.acceptLoss(other)) == .repaired(.accepted(parts: 1)))
    node.tick()
    #expect(node.losses() == [] && node.shard.gaps.open.isEmpty && node.shard.counters.lossesAccepted == 2)
    #expect(node.notes.contains(.lossAccepted(partition, parts: 1)))
  }

  @Test func `a loss that the owners can still mend is neither told nor accepted`() throws {
    var node = Node()
    let partition = PartitionID(5)
    _ = node.store(.changeGaps([.note(.partition(partition))]))
    node.tick()
    #expect(node.losses() == [], "nothing was pulled yet")
    #expect(node.ask(.acceptLoss(partition)) == .repaired(.accepted(parts: 0)))
    #expect(node.shard.gaps.partitions == 1)
    guard case .failed(let failure)? = node.ask(.acceptLoss(PartitionID(60_000))) else {
      Issue.record("there is no such partition")
      return
    }
    #expect(failure.code == .invalidRequest)
    node.lose(.partition(partition), from3: true)
    node.tick()
    node.tick()
    #expect(node.shard.gaps.open.isEmpty, "each other owner is whole: it closes by itself")
    #expect(node.shard.counters.lossesAccepted == 0)
  }
}
