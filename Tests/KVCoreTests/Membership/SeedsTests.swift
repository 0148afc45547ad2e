import KVModel
import Testing

@testable import KVCore

/// A node with an empty data directory and seeds.
struct SeedsTests {
  static let seed = Address(host: "10.0.0.2", port: 7_421)
  static let second = Address(host: "10.0.0.3", port: 7_421)

  private static func node(_ state: NodeState = NodeState(id: NodeID(1), shards: 1)) -> ControlTests.Node {
    var node = ControlTests.Node()
    var recovery = ControlRecovery(
      state: state.started(nonce: 5), member: ControlTests.member(1), settings: ClusterSettings(), syncs: true,
      release: "test")
    recovery.seeds = [seed, second]
    node.control = Control()
    _ = node.step(.recovered(recovery))
    return node
  }

  private static func visit(_ layout: Layout = ControlTests.layout(of: [2, 3, 4])) -> Visit {
    Visit(layout: layout, members: layout.members.map(MemberEntry.init(of:)))
  }

  private static func events(_ effects: [Control.Effect]) -> [Control.Event] {
    effects.compactMap { if case .note(let event) = $0 { event } else { nil } }
  }

  private static func description(_ node: inout ControlTests.Node) -> NodeDescription? {
    guard case .respond(.described(let description), to: _)? = node.ask(.describe).first else { return nil }
    return description
  }

  @Test func `seeds are asked at once, and every second until one knows a cluster`() {
    var node = Self.node()
    var asked = 0
    for _ in 0..<50 {
      node.now.instant = node.now.instant.advanced(by: .milliseconds(100))
      asked += node.step(.timer).count { $0 == .visit(Self.seed) }
    }
    #expect((4...5).contains(asked))
  }

  @Test func `a node learns cluster, layout and members from a seed, and waits outside`() {
    var node = Self.node()
    let effects = node.step(.visited(Self.visit(), from: NodeID(2), at: Self.seed))
    #expect(Self.events(effects) == [.learnt(ClusterID(9), layoutVersion: 1, members: 3, from: Self.seed)])
    #expect(node.step(.visited(Self.visit(), from: NodeID(3), at: Self.second)) == [])
    let description = Self.description(&node)
    #expect(description?.state == .outside && description?.cluster == ClusterID(9) && description?.layoutVersion == 1)
    guard case .respond(.layout(let layout, _), to: _)? = node.ask(.fetchLayout).first else {
      return #expect(Bool(false))
    }
    #expect(layout == ControlTests.layout(of: [2, 3, 4]))
  }

  @Test func `hazard 31: a node with seeds never becomes a cluster of its own`() {
    var node = Self.node()
    #expect(node.failure(of: .reserveCluster(ClusterID(8))) == .unavailable, "no seed has answered yet")
    _ = node.step(.visited(Self.visit(), from: NodeID(2), at: Self.seed))
    #expect(node.failure(of: .reserveCluster(ClusterID(8))) == .otherCluster)
    #expect(node.failure(of: .formCluster(ControlTests.layout(cluster: 8), ControlTests.secret)) == .otherCluster)
    // When the seeds have no cluster either, this is how they all get their first one.
    var first = Self.node()
    #expect(
      Self.events(first.step(.visited(nil, from: NodeID(2), at: Self.seed))) == [.seed(.hasNoCluster, at: Self.seed)])
    #expect(first.step(.visited(nil, from: NodeID(2), at: Self.seed)) == [], "said once")
    #expect(first.ask(.reserveCluster(ClusterID(8))) == [.respond(.reserved(nil), to: ControlTests.client)])
  }

  @Test func `hazard 35: seeds that point only to the node itself are told, and form no cluster of one`() {
    var node = Self.node()
    for seed in [Self.seed, Self.second] {
      #expect(
        Self.events(node.step(.visited(nil, from: NodeID(1), at: seed))) == [.seed(.isSelf, at: seed)])
    }
    guard case .respond(.failed(let failure), to: _)? = node.ask(.reserveCluster(ClusterID(8))).last else {
      return #expect(Bool(false))
    }
    #expect(failure.detail.contains("point only to itself") && failure.detail.contains("name other nodes"))
    #expect(Self.description(&node)?.state == .uninitialised)
  }

  @Test func `hazard 36: a seed of another cluster is told and not followed`() {
    var state = NodeState(id: NodeID(1), shards: 1)
    state.layouts = [ControlTests.layout()]
    state.secret = ControlTests.secret
    var member = Self.node(state)
    let other = Self.visit(ControlTests.layout(cluster: 66, of: [2, 3, 4]))
    let fault = Control.Event.seed(.otherCluster(ClusterID(66), own: ClusterID(9)), at: Self.seed)
    #expect(Self.events(member.step(.visited(other, from: NodeID(2), at: Self.seed))) == [fault])
    #expect(Self.description(&member)?.cluster == ClusterID(9))

    var empty = Self.node()
    _ = empty.step(.visited(Self.visit(), from: NodeID(2), at: Self.seed))
    let disagreement = Control.Event.seed(.otherCluster(ClusterID(66), own: ClusterID(9)), at: Self.second)
    #expect(Self.events(empty.step(.visited(other, from: NodeID(3), at: Self.second))) == [disagreement])
    #expect(Self.description(&empty)?.cluster == ClusterID(9))
  }

  @Test func `hazard 34: a node that is told of its double says so once`() {
    var node = Self.node()
    let refusal = Refusal(.duplicateNode, "start 4 of it")
    let effects = node.step(.visitRefused(refusal, at: Self.seed))
    #expect(
      Self.events(effects) == [
        .duplicate(saysPeer: Self.seed.description, detail: "start 4 of it"), .seed(.refused(refusal), at: Self.seed),
      ])
    #expect(node.step(.visitRefused(refusal, at: Self.seed)) == [])
  }

  @Test func `a member that reaches none of its peers asks seeds where they are now`() {
    var state = NodeState(id: NodeID(1), shards: 1)
    state.layouts = [ControlTests.layout()]
    state.secret = ControlTests.secret
    var node = Self.node(state)
    var asked = 0
    for _ in 0..<60 {
      node.now.instant = node.now.instant.advanced(by: .milliseconds(100))
      asked += node.step(.timer).count { $0 == .visit(Self.seed) }
    }
    #expect((2...4).contains(asked), "\(asked), after three seconds in which links may come up")
    var visit = Self.visit(ControlTests.layout())
    visit.members[1].generation = 4
    visit.members[1].peerAddress.port = 9_999
    let effects = node.step(.visited(visit, from: NodeID(3), at: Self.seed))
    let moved = effects.contains { effect in
      guard case .liveness(let liveness) = effect else { return false }
      return liveness.located(ControlTests.layout().members)[1].peerAddress.port == 9_999
    }
    #expect(moved, "\(effects)")
    _ = node.step(.linkChanged(NodeID(2), isUp: true))
    for _ in 0..<60 {
      node.now.instant = node.now.instant.advanced(by: .milliseconds(100))
      #expect(!node.step(.timer).contains(.visit(Self.seed)))
    }
  }
}
