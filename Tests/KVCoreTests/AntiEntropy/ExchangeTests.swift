import KVModel
import Testing

@testable import KVCore

/// Finding what differs between two copies, without the copies.
struct ExchangeTests {
  private static func exchange() -> Exchange {
    Exchange(
      partition: PartitionID(0), peer: NodeID(2), deadline: Instant(nanoseconds: 0))
  }

  /// Two trees of random leaves: the leaves that are found are those that differ, whatever the tree's depth.
  @Test(arguments: 0...10)
  func `going down a tree finds the leaves that differ, and no other`(leafBits: Int) {
    var random = PRNG(seed: UInt64(leafBits))
    for _ in 0..<50 {
      let count = 1 << leafBits
      let mine = (0..<count).map { _ in Digest(low: random.next(), high: 0) }
      var theirs = mine
      for _ in 0..<random.index(6) { theirs[random.index(count)].combine(Digest(low: random.next() | 1, high: 0)) }
      var exchange = Self.exchange()
      var found: [UInt32] = []
      var questions = 0
      loop: while true {
        switch exchange.next(mendsMax: 1) {
        case .compare(let nodes):
          questions += 1
          #expect(nodes.count <= Exchange.nodesAtOnce)
          let differing = nodes.indices.filter { place in
            let leaves = nodes[place].leaves(leafBits: leafBits)
            return sum(mine, leaves) != sum(theirs, leaves)
          }
          exchange.onDiffering(differing.map { UInt16($0) }, leafBits: leafBits)
        case .list(let leaf, after: nil):
          found.append(leaf)
          _ = exchange.onListed(LeafPage(entries: [], isLast: true), isMine: true)
          _ = exchange.onListed(LeafPage(entries: [], isLast: true), isMine: false)
        case .done: break loop
        case .list, .mend, .wait:
          Issue.record("nothing to do")
          break loop
        }
      }
      let expected = (0..<count).filter { mine[$0] != theirs[$0] }.map { UInt32($0) }
      #expect(found.sorted() == expected)
      if expected.isEmpty { #expect(questions == 1, "equal roots end it") }
      #expect(questions <= 1 + 5 * 3)
    }
  }

  private func sum(_ digests: [Digest], _ leaves: Range<UInt32>) -> Digest {
    leaves.reduce(into: Digest.zero) { $0.combine(digests[Int($1)]) }
  }

  @Test func `pages of any size name each key that differs, once`() throws {
    var random = PRNG(seed: 7)
    for _ in 0..<300 {
      var mine: [Key: Digest] = [:]
      var theirs: [Key: Digest] = [:]
      for number in 0..<random.index(40) {
        let key = try Key(Array("k\(number)".utf8))
        let digest = Digest(low: random.next() | 1, high: 0)
        if random.chance(9, of: 10) { mine[key] = digest }
        if random.chance(9, of: 10) { theirs[key] = random.chance(9, of: 10) ? digest : Digest(low: 2, high: 2) }
      }
      var exchange = Self.exchange()
      exchange.frontier = []
      exchange.leaves = [0]
      let (limitOfMine, limitOfTheirs) = (1 + random.index(9), 1 + random.index(9))
      guard case .list(leaf: 0, after: nil) = exchange.next(mendsMax: 1) else {
        Issue.record("no list")
        return
      }
      var after: Key?
      repeat {
        #expect(exchange.onListed(page(mine, after, limitOfMine), isMine: true) == nil)
        after = exchange.onListed(page(theirs, after, limitOfTheirs), isMine: false)
      } while after != nil
      let expected = Set(mine.keys).union(theirs.keys).filter { mine[$0] != theirs[$0] }
      #expect(exchange.keys.count == expected.count && Set(exchange.keys) == expected)
    }
  }

  private func page(_ records: [Key: Digest], _ after: Key?, _ limit: Int) -> LeafPage {
    let keys = records.keys.filter { key in after.map { $0 < key } ?? true }.sorted()
    let entries = keys.prefix(limit).map { LeafPage.Entry(key: $0, digest: records[$0] ?? .zero) }
    return LeafPage(entries: entries, isLast: keys.count <= limit)
  }

  @Test func `no more keys are mended at once than allowed, and the end waits for the last`() throws {
    var exchange = Self.exchange()
    exchange.frontier = []
    exchange.keys = try (0..<5).map { try Key([UInt8($0 + 1)]) }
    for _ in 0..<3 { guard case .mend = exchange.next(mendsMax: 3) else { return #expect(Bool(false)) } }
    #expect(exchange.next(mendsMax: 3) == .wait)
    exchange.mendsUnderWay -= 1
    guard case .mend = exchange.next(mendsMax: 3) else { return #expect(Bool(false)) }
    exchange.mendsUnderWay = 0
    guard case .mend = exchange.next(mendsMax: 3) else { return #expect(Bool(false)) }
    #expect(exchange.next(mendsMax: 3) == .wait)
    exchange.mendsUnderWay = 0
    #expect(exchange.next(mendsMax: 3) == .done)
  }
}

struct ExchangeScheduleTests {
  private static func view() -> ClusterView {
    ClusterView(node: NodeID(1), layouts: [ClusterView.LiveLayout(ControlTests.layout())])
  }

  @Test func `every pair has its turn, and those of a peer that came back come first`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 1, shards: 2))
    let partitions = ClusterSettings().partitions / 2
    #expect(schedule.pairs.count == partitions * 2, "three nodes, three copies: with both others")
    #expect(schedule.pairs.allSatisfy { $0.partition.shard(of: 2) == 1 })
    let now = Instant(nanoseconds: 1_000)
    #expect(schedule.oldestAge(at: now) == nil, "never")
    schedule.onLinkUp(NodeID(3))
    var seen: [NodeID] = []
    while let turn = schedule.next(at: now, where: { _ in true }) {
      seen += turn.pairs.map(\.peer)
      for pair in turn.pairs { schedule.onEnded(pair.partition, pair.peer, isComplete: true, at: now) }
      if seen.count == partitions * 3 { break }
    }
    #expect(seen.prefix(partitions).allSatisfy { $0 == NodeID(3) }, "urgent ones first")
    #expect(seen.suffix(partitions * 2).count { $0 == NodeID(2) } == partitions, "each once a round")
    #expect(schedule.oldestAge(at: now.advanced(by: .seconds(9))) == .seconds(9))
  }

  @Test func `a peer that cannot be asked is passed over, and a running pair is not begun again`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    #expect(schedule.next(at: now, where: { _ in false }) == nil)
    var begun: Set<UInt16> = []
    while let turn = schedule.next(at: now, where: { $0 == NodeID(2) }) {
      #expect(turn.pairs.count <= TreeMessage.rootsMax)
      for pair in turn.pairs { #expect(begun.insert(pair.partition.index).inserted) }
    }
    #expect(begun.count == ClusterSettings().partitions)
  }

  /// They are pulled: begun and broken off, they would count as failed, and wait for minutes when they are whole.
  @Test func `partitions that are not whole are compared with nobody until they are, and then at once`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    let lacking: Set = [PartitionID(0), PartitionID(7)]
    schedule.onLinkUp(NodeID(3))
    schedule.onMarked(PartitionID(7), NodeID(3))
    var compared: [PartitionID] = []
    while let turn = schedule.next(at: now, butNot: lacking, where: { _ in true }) {
      compared += turn.pairs.map(\.partition)
    }
    #expect(compared.count == (ClusterSettings().partitions - lacking.count) * 2, "with both others")
    #expect(lacking.isDisjoint(with: compared))
    #expect(schedule.status(at: now).map(\.failed) == [0, 0])
    var first: [NodeID] = []
    while let turn = schedule.next(at: now, onlyUrgent: true, where: { _ in true }) { first += turn.pairs.map(\.peer) }
    #expect(first == [NodeID(3), NodeID(3)], "what was urgent is so still")
    #expect(schedule.next(at: now, where: { _ in true })?.pairs.map(\.partition) == lacking.sorted())
  }

  /// Urgent pairs of an owner that stays away once made the others compare all they had, again and again, as fast as
  /// they could (seed 58).
  @Test func `what is urgent with a peer that is away makes nobody else hurry`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    schedule.onLinkUp(NodeID(3))
    #expect(schedule.next(at: now, onlyUrgent: true, where: { $0 == NodeID(2) }) == nil)
    #expect(schedule.next(at: now, where: { $0 == NodeID(2) })?.pairs.first?.peer == NodeID(2), "at its turn")
    let back = schedule.next(at: now, onlyUrgent: true, where: { _ in true })
    #expect(back?.pairs.first?.peer == NodeID(3), "once it is back")
    let partition = PartitionID(UInt16(ClusterSettings().partitions - 1))
    schedule.onMarked(partition, NodeID(2))
    #expect(schedule.next(at: now, onlyUrgent: true, where: { $0 == NodeID(2) }) == .exchange(partition, NodeID(2)))
    #expect(schedule.next(at: now, onlyUrgent: true, where: { $0 == NodeID(2) }) == nil)
  }

  @Test func `what is asked for comes next, and is done when an exchange that began later has ended well`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    let partition = PartitionID(77)
    guard let early = schedule.next(at: now, where: { $0 == NodeID(2) })?.pairs.first else {
      return #expect(Bool(false))
    }
    let later = now.advanced(by: .seconds(1))
    #expect(schedule.onAsked(early.partition, at: later) == 2 && schedule.onAsked(partition, at: later) == 2)
    #expect(schedule.onAsked(PartitionID(60_000), at: later) == 0, "no copy here")
    #expect(schedule.status(at: later).reduce(0) { $0 + $1.asked } == 4)
    // The one that was under way does not count.
    schedule.onEnded(early.partition, early.peer, isComplete: true, at: later)
    var seen: [PartitionID] = []
    while schedule.hasUrgent, let turn = schedule.next(at: later, where: { _ in true }) {
      seen += turn.pairs.map(\.partition)
      for pair in turn.pairs {
        schedule.onEnded(pair.partition, pair.peer, isComplete: true, at: later.advanced(by: .seconds(1)))
      }
    }
    #expect(seen.count == 4 && Set(seen) == [early.partition, partition])
    let status = schedule.status(at: later.advanced(by: .seconds(2)))
    #expect(status.map(\.node) == [NodeID(2), NodeID(3)] && status.allSatisfy { $0.asked == 0 && $0.urgent == 0 })
    #expect(status.allSatisfy { $0.pairs == $0.never + 2 && $0.oldestMs >= 1_000 })
  }

  @Test func `an exchange that broke off with differences left goes on soon, and ever more seldom`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    var now = Instant(nanoseconds: 1_000)
    let partition = PartitionID(9)
    func isBegun(at now: Instant) -> Bool {
      schedule.next(at: now, onlyUrgent: true, where: { $0 == NodeID(2) }) == .exchange(partition, NodeID(2))
    }
    schedule.onEnded(partition, NodeID(2), isComplete: false, found: 0, at: now)
    #expect(!schedule.hasUrgent, "nothing was found: it waits for its turn")
    _ = schedule.onAsked(partition, at: now)
    for pause in [2, 4, 8] as [UInt64] {
      #expect(isBegun(at: now))
      schedule.onEnded(partition, NodeID(2), isComplete: false, found: 5, at: now)
      #expect(schedule.hasUrgent)
      #expect(!isBegun(at: now.advanced(by: .milliseconds(pause * 1_000 - 1))))
      now = now.advanced(by: .seconds(pause))
    }
    let status = schedule.status(at: now)
    #expect(status[0].failed == 4 && status[0].mended == 15)
  }

  @Test func `a mark or a link makes urgent what it concerns, once`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    for _ in 0..<3 { schedule.onMarked(PartitionID(5), NodeID(3)) }
    #expect(schedule.status(at: now).map(\.urgent) == [0, 1])
    schedule.onLinkUp(NodeID(3))
    schedule.onLinkUp(NodeID(3))
    #expect(schedule.status(at: now)[1].urgent == UInt32(ClusterSettings().partitions))
    #expect(
      schedule.next(at: now, where: { _ in true }) == .exchange(PartitionID(5), NodeID(3)), "first come, first served")
    schedule.onMarked(PartitionID(5), NodeID(3))
    #expect(schedule.status(at: now)[1].running == 1 && schedule.status(at: now)[1].urgent > 0)
  }

  @Test func `a turn of many pairs is followed by as long a rest as they would have had one by one`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    var now = Instant(nanoseconds: 1_000)
    let (pace, end) = (Span64.milliseconds(100), now.advanced(by: .seconds(205)))
    var compared = 0
    while now < end {
      if let turn = schedule.next(at: now, pace: pace, where: { _ in true }) {
        compared += turn.pairs.count
        for pair in turn.pairs { schedule.onEnded(pair.partition, pair.peer, isComplete: true, at: now) }
      }
      now = now.advanced(by: pace)
    }
    #expect((2_048...2_048 + 64).contains(compared), "2,048 pairs, ten a second")
    #expect(schedule.oldestAge(at: now) != nil, "each of them")
  }

  @Test func `where roots differ an exchange follows, at once and alone`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    guard case .survey(let partitions, let peer, isUrgent: false)? = schedule.next(at: now, where: { _ in true }) else {
      return #expect(Bool(false))
    }
    #expect(partitions == partitions.sorted() && partitions.count == TreeMessage.rootsMax)
    for (place, partition) in partitions.enumerated() {
      schedule.onSurveyed(partition, peer, differs: place % 40 == 7, at: now)
    }
    let status = schedule.status(at: now).first { $0.node == peer }
    #expect(status?.urgent == 2 && status?.running == 0 && status.map { $0.never == $0.pairs - 62 } == true)
    for place in [7, 47] {
      let turn = schedule.next(at: now, onlyUrgent: true, where: { _ in true })
      #expect(turn == .exchange(partitions[place], peer))
    }
    #expect(schedule.next(at: now, onlyUrgent: true, where: { _ in true }) == nil)
  }

  @Test func `what was urgent and could not be asked stays urgent, and is asked ever more seldom`() {
    var schedule = ExchangeSchedule()
    schedule.adopt(Self.view(), ShardIdentity(node: NodeID(1), shard: 0, shards: 1))
    let now = Instant(nanoseconds: 1_000)
    schedule.onLinkUp(NodeID(3))
    guard case .survey(let partitions, NodeID(3), isUrgent: true)? = schedule.next(at: now, where: { _ in true }) else {
      return #expect(Bool(false))
    }
    for partition in partitions {
      schedule.onEnded(partition, NodeID(3), isComplete: false, isUrgent: true, at: now)
    }
    #expect(schedule.status(at: now)[1].urgent == UInt32(ClusterSettings().partitions))
    var others = 0
    while let turn = schedule.next(at: now, onlyUrgent: true, where: { _ in true }) { others += turn.pairs.count }
    #expect(others == ClusterSettings().partitions - partitions.count, "the others first")
    let later = now.advanced(by: .seconds(1))
    #expect(schedule.next(at: later, onlyUrgent: true, where: { _ in true })?.pairs.map(\.partition) == partitions)
  }

  @Test(arguments: [(0, 64), (6, 64), (10, 64), (12, 16), (16, 1)])
  func `no message costs more than a tenth of a millisecond`(leafBits: Int, pairs: Int) {
    #expect(Survey.pairsMax(leafBits: leafBits) == pairs)
  }
}

extension ExchangeSchedule.Turn {
  var pairs: [(partition: PartitionID, peer: NodeID)] {
    switch self {
    case .exchange(let partition, let peer): [(partition, peer)]
    case .survey(let partitions, let peer, isUrgent: _): partitions.map { ($0, peer) }
    }
  }
}

struct ExchangeBoundsTests {
  @Test func `records on their way make a megabyte together, and one when it is larger`() {
    var exchange = Exchange(partition: PartitionID(0), peer: NodeID(2), deadline: Instant(nanoseconds: 0))
    #expect(exchange.mendsAtOnce(most: 16) == 4, "nothing is known of them yet")
    for _ in 0..<20 { exchange.onRecord(bytes: 200) }
    #expect(exchange.mendsAtOnce(most: 16) == 16 && exchange.mendsAtOnce(most: 2) == 2)
    exchange.onRecord(bytes: 5 << 20)
    #expect(exchange.mendsAtOnce(most: 16) == 1)
    exchange.onRecord(bytes: 200)
    #expect(exchange.mendsAtOnce(most: 16) == 1, "not at once: the next may be like the last")
    for _ in 0..<20 { exchange.onRecord(bytes: 200) }
    #expect(exchange.mendsAtOnce(most: 16) == 16)
  }

  @Test func `no message about trees is longer than 72 KiB`() throws {
    let entries = try (0..<TreeMessage.keysMax).map { number -> LeafPage.Entry in
      var bytes = [UInt8](repeating: 0, count: Limits.keyBytesMax)
      (bytes[0], bytes[1]) = (UInt8(number / 256), UInt8(number % 256))
      return LeafPage.Entry(key: try Key(bytes), digest: Digest(low: 1, high: 2))
    }
    let nodes = (0..<TreeMessage.nodesMax).map {
      TreeDigest(node: TreeNode(depth: 9, index: UInt32($0)), digest: .zero)
    }
    let messages: [TreeMessage] = [
      .listed(LeafPage(entries: entries, isLast: true), question: 1), .compare(PartitionID(1), nodes, question: 1),
      .differing((0..<TreeMessage.nodesMax).map { UInt16($0) }, question: 1),
    ]
    for message in messages {
      var bytes: [UInt8] = []
      PeerMessage.tree(message).encode(into: &bytes)
      #expect(bytes.count <= 72 << 10)
    }
  }
}
