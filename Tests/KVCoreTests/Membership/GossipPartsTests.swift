import KVModel
import Testing

@testable import KVCore

struct ProbeRoundTests {
  private let nodes = (1...9).map { NodeID($0) }

  @Test func `each round probes everybody once, and rounds differ`() {
    var random = PRNG(seed: 1)
    var round = ProbeRound()
    round.adopt(nodes)
    var rounds: [[NodeID]] = []
    for _ in 0..<20 { rounds.append(nodes.compactMap { _ in round.draw(&random) { _ in true } }) }
    for drawn in rounds { #expect(drawn.sorted() == nodes) }
    #expect(Set(rounds).count > 10)
  }

  @Test func `who gives cause comes before its turn, but takes every other turn at most`() {
    var random = PRNG(seed: 2)
    var round = ProbeRound()
    round.adopt(nodes)
    var drawn: [NodeID] = []
    for _ in 0..<18 {
      round.hasten(NodeID(5))
      round.hasten(NodeID(5))
      if let node = round.draw(&random, isWorth: { _ in true }) { drawn.append(node) }
    }
    #expect(drawn.enumerated().filter { $0.offset % 2 == 0 }.allSatisfy { $0.element == NodeID(5) })
    #expect(Set(drawn).count == 9, "everybody has his turn")
  }

  @Test func `nobody is probed who is not worth it, and strangers never`() {
    var random = PRNG(seed: 3)
    var round = ProbeRound()
    round.adopt(nodes)
    round.hasten(NodeID(77))
    let nobody = round.draw(&random) { _ in false }
    #expect(nobody == nil)
    for _ in 0..<20 {
      let drawn = round.draw(&random) { $0 == NodeID(4) }
      #expect(drawn == NodeID(4))
    }
  }
}

struct SuspicionTests {
  private let start = Instant(nanoseconds: 1_000_000_000)

  private func span(_ suspicion: Suspicion) -> UInt64 { suspicion.due.since(start).milliseconds }

  @Test func `each other accuser shortens it, down to its least, and none counts twice`() {
    var suspicion = Suspicion(of: NodeID(9), by: NodeID(1), among: 5, at: start)
    var spans = [span(suspicion)]
    var news = [suspicion.confirm(by: NodeID(1))]
    for accuser in 2...4 as ClosedRange<UInt64> {
      news += [suspicion.confirm(by: NodeID(accuser)), suspicion.confirm(by: NodeID(accuser))]
      spans.append(span(suspicion))
    }
    news.append(suspicion.confirm(by: NodeID(5)))
    // Three are enough.
    #expect(news == [false, true, false, true, false, true, false, false])
    #expect(spans.first == 3_000 && (598...601).contains(spans[3]))
    #expect(zip(spans, spans.dropFirst()).allSatisfy { $0 > $1 }, "\(spans)")
  }

  @Test func `it grows with the logarithm of the members, and asks for no more accusers than there are`() {
    func least(_ members: Int) -> UInt64 {
      var suspicion = Suspicion(of: NodeID(9), by: NodeID(1), among: members, at: start)
      for accuser in 2...4 as ClosedRange<UInt64> { _ = suspicion.confirm(by: NodeID(accuser)) }
      return span(suspicion)
    }
    #expect(least(5) <= 601 && (1_200...1_300).contains(least(100)) && least(1_000) < 2_000)
    #expect(span(Suspicion(of: NodeID(9), by: NodeID(1), among: 2, at: start)) <= 601, "nobody is there to confirm it")
    var three = Suspicion(of: NodeID(9), by: NodeID(1), among: 3, at: start)
    _ = three.confirm(by: NodeID(2))
    #expect(span(three) <= 601)
  }

  @Test func `a pause of this process does not count`() {
    var suspicion = Suspicion(of: NodeID(9), by: NodeID(1), among: 5, at: start)
    suspicion.postpone(by: .seconds(7))
    #expect(span(suspicion) == 10_000)
  }
}

struct RumourQueueTests {
  private static func rumour(_ node: UInt64, incarnation: UInt64 = 0) -> Rumour {
    Rumour(MemberTableTests.entry(node, incarnation: incarnation))
  }

  @Test func `a rumour goes out a number of times that grows with the logarithm of the members, then no more`() {
    for (members, most) in [(5, 9), (100, 21), (1_000, 30)] {
      var queue = RumourQueue()
      queue.add(Self.rumour(1))
      var sent = 0
      for _ in 0..<100 { sent += queue.take(first: nil, members: members).count }
      #expect(sent == most && queue.isEmpty)
    }
  }

  @Test func `one message carries no more than its bytes, and all get their turn`() {
    var queue = RumourQueue()
    for node in 1...200 as ClosedRange<UInt64> { queue.add(Self.rumour(node)) }
    var heard: Set<NodeID> = []
    for _ in 0..<30 {
      let taken = queue.take(first: Self.rumour(999), members: 200)
      #expect(taken.first == Self.rumour(999))
      #expect(taken.reduce(0) { $0 + $1.entry.encodedBytes + 8 } <= RumourQueue.bytesMax)
      #expect(taken.count <= GossipMessage.rumoursMax)
      heard.formUnion(taken.map(\.entry.node))
    }
    #expect(heard.count == 201)
  }

  @Test func `what is new of a node replaces what was to be said of it`() {
    var queue = RumourQueue()
    queue.add(Self.rumour(1))
    queue.add(Self.rumour(1, incarnation: 1))
    let taken = queue.take(first: nil, members: 3)
    #expect(taken == [Self.rumour(1, incarnation: 1)])
  }

  @Test func `an entry says how many bytes it takes`() {
    var bytes: [UInt8] = []
    let message = GossipMessage(
      cluster: ClusterID(1), layoutVersion: 1, layoutDigest: 1, probe: 1, sender: MemberTableTests.entry(1),
      content: .push([]))
    ControlMessage.gossip(message).encode(into: &bytes)
    #expect(bytes.count == 8 + 4 + 8 + 4 + MemberTableTests.entry(1).encodedBytes + 2)
  }
}

struct LocalHealthTests {
  @Test func `bad signs slow this node down, good ones let it recover, both within bounds`() {
    var health = LocalHealth()
    for _ in 0..<20 { health.onBadSign() }
    #expect(health.multiplier == 9)
    for _ in 0..<20 { health.onGoodSign() }
    #expect(health.multiplier == 1)
  }

  @Test func `a node that reaches fewer than half of those it asked last does not trust itself`() {
    var memory = ProbeMemory()
    #expect(!memory.reachesMost)
    memory.note(NodeID(1), answered: true)
    memory.note(NodeID(2), answered: false)
    #expect(memory.reachesMost)
    memory.note(NodeID(3), answered: false)
    #expect(!memory.reachesMost)
    memory.forget(NodeID(3))
    #expect(memory.reachesMost)
    for node in 10...17 as ClosedRange<UInt64> { memory.note(NodeID(node), answered: node > 12) }
    #expect(memory.reachesMost, "only the last eight count")
  }
}
