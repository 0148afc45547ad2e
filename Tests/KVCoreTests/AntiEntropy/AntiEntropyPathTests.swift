import KVModel
import Testing

@testable import KVCore

/// A shard that asks another owner where their copies differ: inputs in, effects out.
struct AntiEntropyPathTests {
  /// Node 1 of three, with node 2 linked, at its first exchange.
  private struct Asker {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    var effects: [Shard.Effect] = []
    let layout = ControlTests.layout()

    init() {
      let recovery = ShardRecovery(
        identity: ShardIdentity(node: NodeID(1), shard: 0, shards: 1), actor: Actor(node: NodeID(1), epoch: 1),
        lease: nil,
        settings: ShardSettings(), seed: 1)
      step(.recovered(recovery))
      step(.view(ClusterView(node: NodeID(1), layouts: [ClusterView.LiveLayout(layout)])))
      step(.linkChanged(NodeID(2), isUp: true))
      now.instant = now.instant.advanced(by: .seconds(1))
      step(.timer(TimerID(raw: Shard.exchangeTimerID.raw)))
    }

    mutating func step(_ input: Shard.Input) {
      effects.removeAll()
      shard.step(input, at: now, into: &effects)
    }

    /// The exchange's question to its own storage.
    var stored: (operation: StorageOperation, id: StorageID)? {
      for case .store(let operation, let id) in effects { return (operation, id) }
      return nil
    }

    var sent: (message: PeerMessage, envelope: Shard.Envelope)? {
      for case .send(let message, to: NodeID(2), let envelope) in effects { return (message, envelope) }
      return nil
    }

    /// Answers the storage's part of a comparison, and then the peer's: these places differ.
    mutating func answer(differing places: (Int) -> [UInt16]) throws {
      guard case .digests(_, let nodes)? = stored?.operation, let id = stored?.id else { throw Missing() }
      step(.stored(.digests(nodes.map { _ in .zero }), for: id))
      guard case .tree(.compare(_, let asked, let question))? = sent?.message, let envelope = sent?.envelope else {
        throw Missing()
      }
      step(.message(.tree(.differing(places(asked.count), question: question)), from: NodeID(2), envelope))
    }

    /// Goes down to the first leaf of the partition.
    mutating func reachLeaf() throws -> (place: LeafPlace, question: UInt32, envelope: Shard.Envelope) {
      for _ in 0..<3 { try answer { _ in [0] } }
      guard case .tree(.list(let partition, let leaf, nil, _, let question))? = sent?.message,
        let envelope = sent?.envelope
      else { throw Missing() }
      return (LeafPlace(partition: partition, leaf: leaf), question, envelope)
    }

    struct Missing: Error {}
  }

  private static func key(in place: LeafPlace, _ geometry: ShardGeometry, from first: Int = 0) throws -> Key {
    for number in first... {
      let key = try Key(Array("k\(number)".utf8))
      if LeafPlace(of: key, geometry) == place { return key }
    }
    throw Asker.Missing()
  }

  @Test func `equal roots end an exchange with two messages`() throws {
    var asker = Asker()
    try asker.answer { _ in [] }
    #expect(asker.shard.counters.exchangesFailed == 0)
    guard case .digests(_, let nodes)? = asker.stored?.operation else {
      Issue.record("the next pair of the peer that came back follows at once")
      return
    }
    #expect(nodes == [.root] && asker.shard.counters.exchanges == 2)
  }

  @Test func `a key that the peer has and this node has not is read, joined, synced, and not sent back`() throws {
    var asker = Asker()
    let (place, question, envelope) = try asker.reachLeaf()
    let key = try Self.key(in: place, ShardGeometry(of: asker.layout))
    let own = try #require(asker.stored)
    asker.step(.stored(.listed(LeafPage(entries: [], isLast: true)), for: own.id))
    let page = LeafPage(entries: [.init(key: key, digest: Digest(low: 1, high: 1))], isLast: true)
    asker.step(.message(.tree(.listed(page, question: question)), from: NodeID(2), envelope))
    guard case .replicaRead(key, inlineBytesMax: _)? = asker.sent?.message, let mend = asker.sent?.envelope else {
      Issue.record("the peer's record is not asked for")
      return
    }
    let record = EncodedRecord(
      Record(
        context: VersionVector(),
        versions: [
          Version(
            dot: Dot(actor: Actor(node: NodeID(2), epoch: 1), counter: 1 << 8), stamp: .zero,
            requestID: RequestID(client: 1, sequence: 1), checksum: 0, content: .tombstone)
        ]))
    asker.step(.message(.replicaReadReply(.record(record)), from: NodeID(2), mend))
    guard case .merge(key, .join, hints: _)? = asker.stored?.operation, let id = asker.stored?.id else {
      Issue.record("nothing is joined")
      return
    }
    asker.step(.stored(.merged(Merged(record: record, beside: nil, minted: nil, context: VersionVector())), for: id))
    #expect(asker.sent == nil && asker.shard.counters.keysMended == 0)
    asker.step(.stored(.synced, for: id))
    #expect(asker.shard.counters.keysMended == 1 && asker.shard.counters.exchangesFailed == 0)
  }

  @Test func `hazard 49: a list with a key of another leaf is refused, and nothing is joined`() throws {
    var asker = Asker()
    let (place, question, envelope) = try asker.reachLeaf()
    let geometry = ShardGeometry(of: asker.layout)
    let own = try #require(asker.stored)
    asker.step(.stored(.listed(LeafPage(entries: [], isLast: true)), for: own.id))
    let elsewhere = LeafPlace(partition: place.partition, leaf: place.leaf + 1)
    let page = LeafPage(
      entries: [.init(key: try Self.key(in: elsewhere, geometry), digest: Digest(low: 1, high: 1))], isLast: true)
    asker.step(.message(.tree(.listed(page, question: question)), from: NodeID(2), envelope))
    #expect(asker.shard.counters.malformedTrees == 1 && asker.shard.counters.exchangesFailed == 1)
    for case .send(.replicaRead, to: _, _) in asker.effects { Issue.record("a key that was not asked for is read") }
  }

  @Test func `an answer to an earlier question, or of somebody else, changes nothing`() throws {
    var asker = Asker()
    let first = try #require(asker.stored)
    asker.step(.stored(.digests([.zero]), for: first.id))
    let envelope = try #require(asker.sent?.envelope)
    asker.step(.message(.tree(.differing([0], question: 99)), from: NodeID(2), envelope))
    #expect(asker.effects.isEmpty)
    asker.step(.message(.tree(.differing([0], question: 1)), from: NodeID(3), envelope))
    #expect(asker.effects.isEmpty)
    asker.step(.message(.tree(.differing([0], question: 1)), from: NodeID(2), envelope))
    #expect(asker.stored != nil)
    let second = asker.effects
    asker.step(.message(.tree(.differing([0], question: 1)), from: NodeID(2), envelope))
    #expect(asker.effects.isEmpty || asker.effects != second, "the same answer twice counts once")
  }

  @Test func `an exchange with a silent or an unwilling peer ends, and is not complete`() throws {
    var asker = Asker()
    let first = try #require(asker.stored)
    asker.step(.stored(.digests([.zero]), for: first.id))
    let envelope = try #require(asker.sent?.envelope)
    asker.step(.message(.tree(.declined(question: 1)), from: NodeID(2), envelope))
    #expect(asker.shard.counters.exchangesFailed == 1)
    asker.now.instant = asker.now.instant.advanced(by: Exchange.patience)
    asker.step(.timer(TimerID(raw: Shard.exchangeTimerID.raw)))
    #expect(asker.shard.counters.exchangesFailed >= 2)
    asker.step(.linkChanged(NodeID(2), isUp: false))
    #expect(asker.shard.backgroundInFlight == 0)
    #expect(asker.shard.repairAge(at: asker.now) == nil)
  }

  @Test func `hazard 13: a node that is not confirmed neither asks nor answers`() throws {
    var asker = Asker()
    asker.step(.linkChanged(NodeID(2), isUp: false))
    asker.step(
      .view(
        ClusterView(node: NodeID(1), layouts: [ClusterView.LiveLayout(asker.layout)], standing: .overtaken)))
    asker.step(.linkChanged(NodeID(2), isUp: true))
    asker.step(.timer(TimerID(raw: Shard.exchangeTimerID.raw)))
    #expect(asker.stored == nil)
    let question = TreeMessage.compare(
      PartitionID(0), [TreeDigest(node: .root, digest: .zero)], question: 5)
    let envelope = Shard.Envelope(operation: 7, deadline: asker.now.instant.advanced(by: .seconds(1)))
    asker.step(.message(.tree(question), from: NodeID(2), envelope))
    #expect(asker.sent?.message == .tree(.declined(question: 5)))
  }
}
