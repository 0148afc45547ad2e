import KVModel
import Testing

@testable import KVCore

/// Node 1 of three on a memory store: what it sends and stores, input by input.
struct HandoffPathTests {
  private struct Node {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    let storage = MemoryStorage(geometry: ShardGeometry(of: ControlTests.layout()))
    var sent: [(message: PeerMessage, to: NodeID, envelope: Shard.Envelope)] = []
    var stored: [StorageOperation] = []
    var answers: [ClientResponse] = []
    var timers: [(at: Instant, id: TimerID)] = []

    init(linked: [UInt64] = [2, 3], keepsHints: Bool = true) {
      var settings = ShardSettings()
      settings.exchangeInterval = .zero
      settings.sweepInterval = .zero
      settings.keepsHints = keepsHints
      step(.recovered(settings))
      step(.ofThree)
      for peer in linked { step(.linkChanged(NodeID(peer), isUp: true)) }
    }

    mutating func step(_ input: Shard.Input) {
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      for effect in effects { carryOut(effect) }
    }

    private mutating func carryOut(_ effect: Shard.Effect) {
      switch effect {
      case .send(.ping(let clockMs), to: let node, let envelope):
        step(.message(.pong(clockMs: clockMs), from: node, envelope))
      case .send(let message, to: let node, let envelope): sent.append((message, node, envelope))
      case .respond(let response, to: _): answers.append(response)
      case .schedule(let timer, at: let at): timers.append((at, timer))
      case .note, .renewEpoch, .wentBack, .halt: break
      case .store(let operation, let id):
        switch operation {
        case .listGaps, .scrub: break
        default: stored.append(operation)
        }
        var results: [StorageCompletion] = []
        storage.submit(operation, id: id, results: &results)
        storage.endTurn(results: &results)
        storage.collect(results: &results)
        for result in results { step(.stored(result.result, for: result.id)) }
      }
    }

    mutating func advance(by span: Span64) {
      let end = now.instant.advanced(by: span)
      while let next = timers.indices.min(by: { timers[$0].at < timers[$1].at }), timers[next].at <= end {
        let timer = timers.remove(at: next)
        now.instant = max(now.instant, timer.at)
        step(.timer(timer.id))
      }
      now.instant = end
    }

    mutating func put(_ text: String, deadline: Span64 = .seconds(1)) throws {
      let value = Array("value".utf8)
      let write = WriteRequest(
        key: try Key(Array(text.utf8)), quorum: .owners(2),
        requestID: RequestID(client: 1, sequence: UInt64(text.count)),
        payload: .put(value, checksum: Checksum.of(value)))
      step(
        .request(
          .write(write), from: ClientRef(connection: 1, request: 1), deadline: now.instant.advanced(by: deadline)))
    }

    /// Peer `node` answers the write that was sent to it last.
    mutating func answer(_ node: UInt64, _ reply: ReplicaWriteReply) throws {
      let write = try #require(
        sent.last { if case .replicaWrite = $0.message { $0.to == NodeID(node) } else { false } })
      step(.message(.replicaWriteReply(reply), from: NodeID(node), write.envelope))
    }

    var hints: [StorageSnapshot.Hint] { storage.snapshot().hints }

    var notes: Int { stored.count { if case .hint = $0 { true } else { false } } }

    var offer: (offer: HintOffer, question: UInt32, envelope: Shard.Envelope)? {
      for entry in sent.reversed() {
        if case .handoff(.offer(let offer, let question)) = entry.message { return (offer, question, entry.envelope) }
      }
      return nil
    }

    mutating func want(_ places: [UInt16], _ credit: HintCredit = Delivery.firstCredit) throws {
      let made = try #require(offer)
      step(.message(.handoff(.wanted(places, credit, question: made.question)), from: NodeID(3), made.envelope))
    }
  }

  /// What was written while node 3 was away, with node 3 linked again and offered its hints.
  private static func holder(of texts: [String]) throws -> Node {
    var node = Node(linked: [2])
    for text in texts {
      try node.put(text)
      try node.answer(2, .stored(beside: nil))
    }
    node.step(.linkChanged(NodeID(3), isUp: true))
    node.advance(by: .milliseconds(500))
    return node
  }

  // MARK: Noting

  @Test func `an owner that is away has its hint in the record's own batch`() throws {
    var node = Node(linked: [2])
    try node.put("a")
    guard case .merge(let key, _, hints: let targets)? = node.stored.first(where: { $0.key != nil }) else {
      Issue.record("nothing is merged")
      return
    }
    #expect(targets == [NodeID(3)])
    try node.answer(2, .stored(beside: nil))
    #expect(node.hints == [.init(target: NodeID(3), key: key.bytes)] && node.notes == 0)
    guard case .written(let receipt)? = node.answers.last else {
      Issue.record("not written")
      return
    }
    #expect(receipt.hints == 1 && receipt.acknowledgements == 2)
  }

  @Test func `with all owners near a write asks nothing more of the storage`() throws {
    var node = Node()
    try node.put("a")
    let before = node.stored.count
    try node.answer(2, .stored(beside: nil))
    #expect(node.answers.count == 1 && node.shard.lagging == 1)
    try node.answer(3, .stored(beside: nil))
    #expect(node.shard.lagging == 0)
    node.advance(by: .seconds(10))
    #expect(node.hints == [] && node.notes == 0)
    let later = node.stored.dropFirst(before)
    #expect(later.allSatisfy { $0 == .countHints } && later.count <= 1, "one look at what an earlier start left")
  }

  @Test func `hazard 16: an owner that is silent at the deadline gets its hint then`() throws {
    var node = Node()
    try node.put("a")
    try node.answer(2, .stored(beside: nil))
    node.advance(by: .milliseconds(900))
    #expect(node.hints == [])
    node.advance(by: .milliseconds(200))
    #expect(node.hints.map(\.target) == [NodeID(3)] && node.shard.lagging == 0 && node.notes == 1)
  }

  @Test func `hazard 16: an owner that refuses, or is lost, gets its hint at once`() throws {
    var node = Node()
    try node.put("a")
    try node.answer(2, .stored(beside: nil))
    try node.answer(3, .refused(Failure(.overloaded)))
    #expect(node.hints.map(\.target) == [NodeID(3)])
    try node.put("bb")
    try node.answer(2, .stored(beside: nil))
    node.step(.linkChanged(NodeID(3), isUp: false))
    #expect(node.hints.count == 2 && node.shard.lagging == 0)
  }

  @Test func `a write that failed for its client leaves hints for all that did not acknowledge it`() throws {
    var node = Node()
    try node.put("a")
    node.advance(by: .seconds(2))
    #expect(node.hints.map(\.target) == [NodeID(2), NodeID(3)])
    guard case .failed(let failure)? = node.answers.last else {
      Issue.record("not failed")
      return
    }
    #expect(failure.outcome == .unknown)
  }

  @Test func `an owner notes what a peer's write passes by`() throws {
    var node = Node(linked: [2])
    let version = Version(
      dot: Dot(actor: Actor(node: NodeID(2), epoch: 1), counter: 1 << 8), stamp: .zero,
      requestID: RequestID(client: 1, sequence: 1), checksum: 0, content: .tombstone)
    let write = ReplicaWrite(
      key: try Key(Array("a".utf8)), purpose: .write(minted: version.dot),
      record: EncodedRecord(Record(context: VersionVector(), versions: [version])))
    let envelope = Shard.Envelope(operation: 7, deadline: node.now.instant.advanced(by: .seconds(1)))
    node.step(.message(.replicaWrite(write), from: NodeID(2), envelope))
    #expect(node.hints.map(\.target) == [NodeID(3)], "and not the coordinator, whose word it is")
  }

  // MARK: Handing over

  @Test func `what the target has is only offered; what it lacks is sent, and forgotten once it is synced there`()
    throws
  {
    var node = try Self.holder(of: ["a", "bb"])
    #expect(node.hints.count == 2)
    for entry in node.sent {
      guard case .handoff(.offer(let offer, let question)) = entry.message else { continue }
      #expect(offer.entries.count == 1, "a partition each")
      let wants: [UInt16] = offer.entries[0].key.partitionKey.count == 2 ? [0] : []
      node.step(
        .message(.handoff(.wanted(wants, Delivery.firstCredit, question: question)), from: NodeID(3), entry.envelope))
    }
    #expect(node.hints.count == 2, "not yet synced there")
    try node.answer(3, .stored(beside: nil))
    node.advance(by: .seconds(2))
    #expect(node.hints == [] && node.shard.handoffInFlight == 0 && node.shard.counters.hintsDelivered == 2)
  }

  @Test func `hazard 2: a record that its target refuses keeps its hint, and is offered again`() throws {
    var node = try Self.holder(of: ["a"])
    try node.want([0])
    try node.answer(3, .refused(Failure(.overloaded)))
    #expect(node.hints.count == 1 && node.shard.counters.hintsRefused == 1)
    node.sent.removeAll()
    node.advance(by: .seconds(3))
    #expect(node.offer != nil && node.hints.count == 1)
  }

  @Test func `hazard 4: what is handed over is what is stored now, and a key that is written meanwhile keeps its hint`()
    throws
  {
    var node = try Self.holder(of: ["a"])
    // Deleted after it was offered.
    node.step(.linkChanged(NodeID(3), isUp: false))
    let key = try Key(Array("a".utf8))
    let delete = WriteRequest(
      key: key, quorum: .owners(2), requestID: RequestID(client: 1, sequence: 9), payload: .delete)
    node.step(
      .request(
        .write(delete), from: ClientRef(connection: 1, request: 2), deadline: node.now.instant.advanced(by: .seconds(1))
      ))
    try node.answer(2, .stored(beside: nil))
    node.step(.linkChanged(NodeID(3), isUp: true))
    node.advance(by: .seconds(2))
    try node.want([0])
    guard case .replicaWrite(let write)? = node.sent.last?.message else {
      Issue.record("nothing is sent")
      return
    }
    #expect(write.purpose == .repair)
    #expect(try write.record.decoded().versions.map(\.content) == [.tombstone])
  }

  @Test func `hazard 46: no more is offered or under way than the target grants, and not before it says`() throws {
    var node = try Self.holder(of: (1...30).map { String(repeating: "x", count: $0) })
    let first = node.sent.compactMap { entry -> Int? in
      if case .handoff(.offer(let offer, _)) = entry.message { offer.entries.count } else { nil }
    }
    #expect(first.reduce(0, +) == Int(Delivery.firstCredit.keys))
    let offers = node.sent.filter { if case .handoff(.offer) = $0.message { true } else { false } }
    node.sent.removeAll()
    let credit = HintCredit(keys: 4, bytes: 1 << 20, pauseMs: 3_000)
    for entry in offers {
      guard case .handoff(.offer(_, let question)) = entry.message else { continue }
      node.step(.message(.handoff(.wanted([0], credit, question: question)), from: NodeID(3), entry.envelope))
    }
    let writes = node.sent.filter { if case .replicaWrite = $0.message { true } else { false } }
    #expect(writes.count == 2, "four keys granted, half as many records under way at once")
    var answered = 0
    while answered < node.sent.count {
      let entry = node.sent[answered]
      answered += 1
      guard case .replicaWrite = entry.message else { continue }
      node.step(.message(.replicaWriteReply(.stored(beside: nil)), from: NodeID(3), entry.envelope))
    }
    node.sent.removeAll()
    node.advance(by: .milliseconds(2_900))
    #expect(node.offer == nil, "it has to wait")
    node.advance(by: .milliseconds(200))
    let next = node.sent.compactMap { entry -> Int? in
      if case .handoff(.offer(let offer, _)) = entry.message { offer.entries.count } else { nil }
    }
    #expect(next.reduce(0, +) == 4)
  }

  @Test func `hazard 17: hints for a node that no layout names stay, and are offered to nobody`() throws {
    var node = Node()
    var results: [StorageCompletion] = []
    node.storage.submit(.hint(try Key(Array("a".utf8)), [NodeID(77)]), id: StorageID(raw: 1), results: &results)
    node.storage.endTurn(results: &results)
    node.shard.handoff.isStale = true
    node.advance(by: .seconds(5))
    #expect(node.hints.map(\.target) == [NodeID(77)] && node.offer == nil)
    #expect(node.shard.hints.targets.map(\.node) == [NodeID(77)])
  }

  @Test func `hazard 18: hints that an earlier start left are handed over`() throws {
    var node = Node()
    var results: [StorageCompletion] = []
    try node.put("a")
    node.storage.submit(.hint(try Key(Array("a".utf8)), [NodeID(3)]), id: StorageID(raw: 1), results: &results)
    node.storage.endTurn(results: &results)
    node.shard.handoff.isStale = true
    node.advance(by: .milliseconds(300))
    #expect(node.offer?.offer.target == NodeID(3))
  }

  // MARK: Being offered

  private static func offer(to target: UInt64, _ texts: [String], in partition: PartitionID? = nil) throws -> HintOffer
  {
    let keys = try texts.map { try Key(Array($0.utf8)) }.sorted()
    let view = ClusterView(node: NodeID(1), layouts: [ClusterView.LiveLayout(ControlTests.layout())])
    let place = try #require(partition ?? view.partition(of: keys[0]))
    return HintOffer(
      target: NodeID(target), partition: place,
      entries: keys.map { .init(key: $0, digest: Digest(low: 5, high: 6), bytes: 100) })
  }

  @Test func `bad input: a hint for an unknown node is counted and refused, and nothing changes`() throws {
    var node = Node()
    let envelope = Shard.Envelope(operation: 7, deadline: node.now.instant.advanced(by: .seconds(1)))
    let offers = [
      try Self.offer(to: 77, ["a"]), try Self.offer(to: 2, ["a"]),
      try Self.offer(to: 1, ["a"], in: PartitionID(.max)), try Self.offer(to: 1, ["a", "b", "c", "d"]),
    ]
    let before = node.storage.snapshot()
    for offer in offers {
      node.step(.message(.handoff(.offer(offer, question: 1)), from: NodeID(2), envelope))
      guard case .handoff(.declined(.notHere, _, question: 1))? = node.sent.last?.message else {
        Issue.record("not declined: \(offer)")
        continue
      }
    }
    #expect(node.shard.counters.offersRefused == 4 && node.storage.snapshot() == before)
    #expect(!node.stored.contains { if case .keyDigests = $0 { true } else { false } })
  }

  @Test func `bad input: answers of others, late ones and second ones change nothing`() throws {
    var node = try Self.holder(of: ["a"])
    let made = try #require(node.offer)
    let answer = PeerMessage.handoff(.wanted([], Delivery.firstCredit, question: made.question))
    node.step(.message(answer, from: NodeID(2), made.envelope))
    node.step(
      .message(
        .handoff(.wanted([], Delivery.firstCredit, question: made.question &+ 9)), from: NodeID(3), made.envelope))
    #expect(node.hints.count == 1)
    node.step(.message(answer, from: NodeID(3), made.envelope))
    #expect(node.hints == [])
    node.step(.message(answer, from: NodeID(3), made.envelope))
    #expect(node.shard.counters.hintsDelivered == 1)
  }

  @Test func `hazard 46: all holders together are granted so many keys a second`() throws {
    var node = Node()
    let envelope = Shard.Envelope(operation: 7, deadline: node.now.instant.advanced(by: .seconds(9)))
    var pause: UInt16 = 0
    for number in 0..<120 {
      let offer = try Self.offer(to: 1, ["key-\(number)"])
      let holder = NodeID(UInt64(2 + number % 2))
      node.step(.message(.handoff(.offer(offer, question: 1)), from: holder, envelope))
      guard case .handoff(.wanted([0], let credit, question: 1))? = node.sent.last?.message else {
        Issue.record("not wanted")
        return
      }
      pause = credit.pauseMs
    }
    // 120 keys of which each was wanted, at 12,000 a second, and an eighth for looking.
    #expect((10...12).contains(pause))
  }
}
