import KVModel
import Testing

@testable import KVCore

/// SWIM (2002) and Lifeguard (2017): messages in, messages and changes out.
struct GossipTests {
  static let layout = ControlTests.layout(of: [1, 2, 3, 4, 5])
  static let me = NodeID(1)

  /// Node 1 of five, linked to all, past its grace.
  struct Node {
    var gossip = Gossip()
    var now = Instant(nanoseconds: 1_000_000_000)
    var effects: [Control.Effect] = []

    init(linkedTo peers: [UInt64] = [2, 3, 4, 5]) {
      gossip.random = PRNG(seed: 7)
      gossip.adopt(GossipTests.layout, as: MemberTableTests.entry(1, generation: 3), now, &effects)
      for peer in peers { gossip.onLink(NodeID(peer), isUp: true) }
      gossip.accusesFrom = now
      effects.removeAll()
    }

    /// What is sent, whom to.
    mutating func hear(
      _ content: GossipMessage.Content, probe: UInt32 = 1, from node: UInt64, as sender: MemberEntry? = nil,
      cluster: ClusterID = GossipTests.layout.cluster
    ) -> [(message: GossipMessage, to: NodeID)] {
      let message = GossipMessage(
        cluster: cluster, layoutVersion: 1, layoutDigest: GossipTests.layout.digest, probe: probe,
        sender: sender ?? MemberTableTests.entry(node), content: content)
      effects.removeAll()
      gossip.onMessage(message, from: NodeID(node), now, &effects)
      return sent
    }

    var sent: [(message: GossipMessage, to: NodeID)] {
      effects.compactMap { if case .send(.gossip(let message), to: let node) = $0 { (message, node) } else { nil } }
    }

    /// Lets a span pass in steps of ten milliseconds; all that is sent meanwhile.
    mutating func pass(_ milliseconds: UInt64, answering: Set<UInt64> = []) -> [(message: GossipMessage, to: NodeID)] {
      var all: [(message: GossipMessage, to: NodeID)] = []
      for _ in 0..<(milliseconds / 10) {
        now = now.advanced(by: .milliseconds(10))
        effects.removeAll()
        gossip.onTimer(now, &effects)
        let sent = sent
        all += sent
        for (message, node) in sent where answering.contains(node.value) {
          if case .ping = message.content { _ = hear(.ack([]), probe: message.probe, from: node.value) }
        }
      }
      return all
    }

    func state(_ node: UInt64) -> MemberEntry.State? { gossip.table[NodeID(node)]?.state }
    func refused(_ reason: GossipCounters.Refused) -> UInt64 { gossip.counters.refused[reason] ?? 0 }
  }

  @Test func `a ping is answered by an ack of the same number`() {
    var node = Node()
    let sent = node.hear(.ping([]), probe: 77, from: 2)
    #expect(sent.count == 1 && sent[0].to == NodeID(2) && sent[0].message.probe == 77)
    guard case .ack = sent[0].message.content else { return #expect(Bool(false), "\(sent)") }
  }

  @Test func `one member is probed in a period, and every member within two rounds`() {
    var node = Node()
    let sent = node.pass(1_600, answering: [2, 3, 4, 5]).filter {
      if case .ping = $0.message.content { true } else { false }
    }
    #expect((7...9).contains(sent.count))
    #expect(Set(sent.map(\.to)) == [NodeID(2), NodeID(3), NodeID(4), NodeID(5)])
    #expect(!node.gossip.changes.contains { if case .state = $0 { true } else { false } })
  }

  @Test func `without an ack in time others are asked, whose ack is as good`() {
    var node = Node()
    var asked: [(message: GossipMessage, to: NodeID)] = []
    while asked.isEmpty { asked = node.pass(10).filter { if case .ask = $0.message.content { true } else { false } } }
    guard case .ask(let target, _)? = asked.first?.message.content else { return }
    #expect(asked.count == 3 && !asked.contains { $0.to == target })
    _ = node.hear(.ack([]), probe: asked[0].message.probe, from: asked[1].to.value)
    _ = node.pass(150)
    #expect(node.state(target.value) == .alive && node.gossip.counters.failedProbes == 0)
  }

  @Test func `who answers nobody is suspect, hears so at once, and is dead when nothing refutes it`() {
    var node = Node()
    var sent = node.pass(1_800, answering: [2, 3, 4])
    #expect(node.state(5) == .suspect)
    let told = sent.contains { message, to in
      guard to == NodeID(5), case .ping(let rumours) = message.content else { return false }
      return rumours.first?.entry.state == .suspect && rumours.first?.accuser == Self.me
    }
    #expect(told)
    sent = node.pass(4_500, answering: [2, 3, 4])
    #expect(node.state(5) == .dead)
    #expect(
      node.gossip.changes.filter { if case .state(NodeID(5), _) = $0 { true } else { false } }
        == [.state(NodeID(5), .suspect), .state(NodeID(5), .dead)])
    #expect(node.state(2) == .alive && node.state(3) == .alive && node.state(4) == .alive)
  }

  @Test func `confirmed by three others a suspicion ends in 600 ms`() {
    var node = Node()
    _ = node.pass(1_600, answering: [2, 3, 4, 5])
    let suspect = MemberTableTests.entry(5, .suspect)
    for accuser in [2, 3, 4, 2] as [UInt64] {
      _ = node.hear(.ping([Rumour(suspect, accuser: NodeID(accuser))]), from: accuser)
    }
    #expect(node.state(5) == .suspect)
    _ = node.pass(590, answering: [2, 3, 4])
    #expect(node.state(5) == .suspect)
    _ = node.pass(100, answering: [2, 3, 4])
    #expect(node.state(5) == .dead)
  }

  @Test func `a suspected node refutes by a higher incarnation, and is alive again everywhere`() {
    var node = Node()
    let before = node.gossip.own
    var accused = before
    accused.state = .suspect
    let sent = node.hear(.ping([Rumour(accused, accuser: NodeID(2))]), from: 3)
    let after = node.gossip.own
    #expect(after.incarnation == before.incarnation + 1 && after.state == .alive)
    #expect(sent.first?.message.sender == after)
    guard case .ack(let rumours)? = sent.first?.message.content else { return #expect(Bool(false)) }
    #expect(rumours.first?.entry == after)
    #expect(node.gossip.health.score == 1, "somebody did not hear this node")

    var other = Node()
    _ = other.hear(.ping([Rumour(MemberTableTests.entry(4, .suspect), accuser: NodeID(2))]), from: 2)
    #expect(other.state(4) == .suspect)
    _ = other.hear(.ping([]), from: 4, as: MemberTableTests.entry(4, incarnation: 1))
    #expect(other.state(4) == .alive && other.gossip.suspicions.isEmpty)
  }

  @Test func `a node that reaches nobody suspects all, and declares nobody dead`() {
    var node = Node()
    _ = node.pass(60_000)
    #expect([2, 3, 4, 5].allSatisfy { node.state($0) == .suspect })
    #expect(node.gossip.health.multiplier == 9 && node.gossip.counters.died == 0)
  }

  @Test func `a pause of this process accuses nobody`() {
    var node = Node()
    _ = node.pass(400, answering: [2, 3, 4, 5])
    node.now = node.now.advanced(by: .seconds(30))
    _ = node.pass(100, answering: [2, 3, 4, 5])
    #expect([2, 3, 4, 5].allSatisfy { node.state($0) == .alive })
    #expect(node.gossip.counters.late == 1 && node.gossip.health.score == 1)
  }

  @Test func `a helper passes the ack on, and says so when there is none`() {
    var node = Node()
    let asked = node.hear(.ask(NodeID(4), []), probe: 9, from: 2)
    #expect(asked.count == 1 && asked[0].to == NodeID(4))
    let passed = node.hear(.ack([]), probe: asked[0].message.probe, from: 4)
    #expect(passed.count == 1 && passed[0].to == NodeID(2) && passed[0].message.probe == 9)

    _ = node.hear(.ask(NodeID(4), []), probe: 10, from: 2)
    let nacks = node.pass(90).filter { if case .nack = $0.message.content { true } else { false } }
    #expect(nacks.count == 1 && nacks[0].to == NodeID(2) && nacks[0].message.probe == 10)
    var alone = Node(linkedTo: [2])
    let refused = alone.hear(.ask(NodeID(4), []), probe: 11, from: 2)
    guard case .nack? = refused.first?.message.content else { return #expect(Bool(false), "\(refused)") }
  }

  @Test func `hazard 30: a table of another cluster, of strangers or of giants changes nothing`() {
    var node = Node()
    let before = node.gossip.table
    let dead = (2...5).map { MemberTableTests.entry($0, .dead) }
    #expect(node.hear(.push(dead), from: 2, cluster: ClusterID(10)).isEmpty)
    #expect(node.hear(.ping([]), from: 2, as: MemberTableTests.entry(3)).isEmpty)
    #expect(node.hear(.ping([]), from: 2, as: MemberTableTests.entry(2, .dead)).isEmpty)
    #expect(node.gossip.table == before)
    let giant = (1...6).map { MemberTableTests.entry($0, .dead) }
    #expect(node.hear(.push(giant), from: 2).isEmpty)
    _ = node.hear(.ping([Rumour(MemberTableTests.entry(99, .dead))]), from: 2)
    _ = node.hear(.ping([Rumour(MemberTableTests.entry(3, .suspect), accuser: NodeID(99))]), from: 2)
    #expect(node.refused(.otherCluster) == 1 && node.refused(.forgedSender) == 2)
    #expect(node.refused(.giantTable) == 1 && node.refused(.unknownMember) == 2)
    #expect(node.state(3) == .alive && node.state(4) == .alive)
  }

  @Test func `hazard 33: forged numbers silence nobody, and a node's own word is taken however far it has come`() {
    var node = Node()
    _ = node.hear(.ping([Rumour(MemberTableTests.entry(3, generation: .max, .dead))]), from: 2)
    _ = node.hear(.ping([Rumour(MemberTableTests.entry(3, incarnation: .max, .dead))]), from: 2)
    _ = node.hear(.ping([Rumour(MemberTableTests.entry(1, generation: .max, .dead))]), from: 2)
    #expect(node.refused(.absurd) == 3 && node.state(3) == .alive && node.gossip.own.generation == 3)
    // A year of restarts that nobody here has seen.
    _ = node.hear(.ping([]), from: 3, as: MemberTableTests.entry(3, generation: 5_000_000, incarnation: 8_000_000))
    #expect(node.gossip.table[NodeID(3)]?.generation == 5_000_000 && node.state(3) == .alive)
  }

  @Test func `a node whose number is behind what others know of it says more at once`() {
    var node = Node()
    var known = MemberTableTests.entry(1, generation: 9, incarnation: 4, .dead)
    known.peerAddress.port = 1
    _ = node.hear(.ping([Rumour(known)]), from: 2)
    let own = node.gossip.own
    #expect(own.supersedes(known) && own.state == .alive && own.generation == 9 && own.incarnation == 5)
    #expect(own.peerAddress == MemberTableTests.entry(1).peerAddress)
  }

  @Test func `a restart with another address is followed, and told once`() {
    var node = Node()
    _ = node.hear(.ping([]), from: 3, as: MemberTableTests.entry(3, generation: 2, port: 9_000))
    #expect(node.gossip.changes.contains(.moved(NodeID(3))))
    let located = Liveness(members: node.gossip.table.entries).located(Self.layout.members)
    #expect(located.first { $0.id == NodeID(3) }?.peerAddress.port == 9_000)
    #expect(located.first { $0.id == NodeID(2) } == ControlTests.member(2), "of whom nobody spoke the layout counts")
  }

  @Test func `another layout shows, once for each node, until it is gone`() {
    var node = Node()
    let message = GossipMessage(
      cluster: Self.layout.cluster, layoutVersion: 2, layoutDigest: 5, probe: 1, sender: MemberTableTests.entry(2),
      content: .ping([]))
    for _ in 0..<3 { node.gossip.onMessage(message, from: NodeID(2), node.now, &node.effects) }
    #expect(node.gossip.changes.filter { $0 == .layout(NodeID(2), differs: true) }.count == 1)
    _ = node.hear(.ping([]), from: 2)
    #expect(node.gossip.changes.last == .layout(NodeID(2), differs: false))
  }
}
