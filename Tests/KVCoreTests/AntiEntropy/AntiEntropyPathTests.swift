import KVModel
import Testing

@testable import KVCore

/// A shard that asks another owner where their copies differ: inputs in, effects out.
struct AntiEntropyPathTests {
  /// Node 1 of three, with node 2 linked, at its first survey.
  private struct Asker {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    var effects: [Shard.Effect] = []
    let layout = ControlTests.layout()

    init(shards: Int = 1) {
      let recovery = ShardRecovery(
        identity: ShardIdentity(node: NodeID(1), shard: 0, shards: shards), actor: Actor(node: NodeID(1), epoch: 1),
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

    /// The roots of many partitions are asked about: these places differ.
    mutating func answerSurvey(differing places: (Int) -> [UInt16]) throws {
      guard case .roots(let partitions)? = stored?.operation, let id = stored?.id else { throw Missing() }
      step(.stored(.digests(partitions.map { _ in .zero }), for: id))
      guard case .tree(.roots(let roots, let question))? = sent?.message, let envelope = sent?.envelope else {
        throw Missing()
      }
      step(.message(.tree(.differing(places(roots.count), question: question)), from: NodeID(2), envelope))
    }

    /// All roots are equal, but one that differs: an exchange begins with that partition.
    mutating func reachExchange() throws {
      var isFirst = true
      while case .roots? = stored?.operation {
        try answerSurvey { _ in isFirst ? [0] : [] }
        isFirst = false
      }
    }

    /// Goes down to the first leaf of the partition.
    mutating func reachLeaf() throws -> (place: LeafPlace, question: UInt32, envelope: Shard.Envelope) {
      try reachExchange()
      for _ in 0..<3 { try answer { _ in [0] } }
      guard case .tree(.list(let partition, let leaf, nil, _, let question))? = sent?.message,
        let envelope = sent?.envelope
      else { throw Missing() }
      return (LeafPlace(partition: partition, leaf: leaf), question, envelope)
    }

    /// Answers the storage's part; the number of the question that the peer is asked.
    mutating func ask() throws -> UInt32 {
      guard let (operation, id) = stored else { throw Missing() }
      switch operation {
      case .roots(let partitions): step(.stored(.digests(partitions.map { _ in .zero }), for: id))
      case .digests(_, let nodes): step(.stored(.digests(nodes.map { _ in .zero }), for: id))
      default: throw Missing()
      }
      switch sent?.message {
      case .tree(.roots(_, let question)), .tree(.compare(_, _, let question)): return question
      default: throw Missing()
      }
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

  @Test func `64 equal roots end as many comparisons with two messages`() throws {
    var asker = Asker()
    #expect(asker.shard.counters.exchanges == 64)
    try asker.answerSurvey { _ in [] }
    #expect(asker.shard.counters.exchangesFailed == 0)
    guard case .roots(let partitions)? = asker.stored?.operation else {
      Issue.record("the next pairs of the peer that came back follow at once")
      return
    }
    #expect(partitions.count == 64 && asker.shard.counters.exchanges == 128)
  }

  @Test func `a root that differs is compared by itself, and the exchange ends when it turns out equal`() throws {
    var asker = Asker()
    try asker.reachExchange()
    guard case .digests(_, let nodes)? = asker.stored?.operation else { throw Asker.Missing() }
    #expect(nodes == [.root])
    let begun = asker.shard.counters.exchanges
    #expect(begun == UInt64(ClusterSettings().partitions) + 1)
    try asker.answer { _ in [] }
    #expect(asker.shard.backgroundInFlight == 0 && asker.shard.counters.exchangesFailed == 0)
    #expect(asker.shard.counters.exchanges == begun)
  }

  @Test func `roots are answered; what this shard cannot speak of counts as different, what nobody has is declined`() {
    var asker = Asker(shards: 2)
    let envelope = Shard.Envelope(operation: 7, deadline: asker.now.instant.advanced(by: .seconds(1)))
    func ask(_ partitions: [UInt16]) -> PeerMessage? {
      let roots = partitions.map { RootDigest(partition: PartitionID($0), digest: .zero) }
      asker.step(.message(.tree(.roots(roots, question: 5)), from: NodeID(2), envelope))
      if let stored = asker.stored {
        guard case .roots(let asked) = stored.operation else { return nil }
        asker.step(
          .stored(.digests(asked.map { $0.index == 4 ? Digest(low: 1, high: 1) : .zero }), for: stored.id))
      }
      return asker.sent?.message
    }
    #expect(ask([0, 2, 4, 5, 6]) == .tree(.differing([2, 3], question: 5)), "4 is another one, 5 is another shard's")
    #expect(ask([0, 60_000]) == .tree(.declined(question: 5)))
    #expect(asker.shard.backgroundInFlight == 1, "but for its own survey")
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

  @Test(arguments: [true, false])
  func `an answer to an earlier question, or of somebody else, changes nothing`(isOfSurvey: Bool) throws {
    var asker = Asker()
    if !isOfSurvey { try asker.reachExchange() }
    let question = try asker.ask()
    let envelope = try #require(asker.sent?.envelope)
    asker.step(.message(.tree(.differing([0], question: 99)), from: NodeID(2), envelope))
    #expect(asker.effects.isEmpty)
    asker.step(.message(.tree(.differing([0], question: question)), from: NodeID(3), envelope))
    #expect(asker.effects.isEmpty)
    asker.step(.message(.tree(.differing([0], question: question)), from: NodeID(2), envelope))
    #expect(asker.stored != nil)
    let second = asker.effects
    asker.step(.message(.tree(.differing([0], question: question)), from: NodeID(2), envelope))
    #expect(asker.effects.isEmpty || asker.effects != second, "the same answer twice counts once")
  }

  @Test(arguments: [true, false])
  func `a comparison with a silent or an unwilling peer ends, and is not complete`(isOfSurvey: Bool) throws {
    var asker = Asker()
    if !isOfSurvey { try asker.reachExchange() }
    let question = try asker.ask()
    let envelope = try #require(asker.sent?.envelope)
    asker.step(.message(.tree(.declined(question: question)), from: NodeID(2), envelope))
    let declined: UInt64 = isOfSurvey ? 64 : 1
    #expect(asker.shard.counters.exchangesFailed == declined)
    asker.step(.timer(TimerID(raw: Shard.exchangeTimerID.raw)))
    asker.now.instant = asker.now.instant.advanced(by: Exchange.patience)
    asker.step(.timer(TimerID(raw: Shard.exchangeTimerID.raw)))
    #expect(asker.shard.counters.exchangesFailed > declined)
    asker.step(.linkChanged(NodeID(2), isUp: false))
    #expect(asker.shard.backgroundInFlight == 0)
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
