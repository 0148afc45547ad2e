import KVModel
import Testing

@testable import KVCore

/// Forming a cluster, and what a node says of itself: inputs in, effects out.
struct ControlTests {
  static let client = ClientRef(connection: 1, request: 1)
  static let secret = ClusterSecret(low: 1, high: 2)

  static func member(_ index: UInt64) -> Member {
    let port = UInt16(7410 + 10 * index)
    return Member(
      id: NodeID(index), name: "n\(index)", clientAddress: Address(host: "127.0.0.1", port: port),
      peerAddress: Address(host: "127.0.0.1", port: port + 1), zone: "z", host: "h\(index)")
  }

  static func layout(cluster: UInt64 = 9, of members: [UInt64] = [1, 2, 3]) -> Layout {
    Layout(cluster: ClusterID(cluster), version: 1, settings: ClusterSettings(), members: members.map(member))
  }

  /// Node 1, started, with what it did so far thrown away.
  struct Node {
    var control = Control()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))

    init(state: NodeState = NodeState(id: NodeID(1), shards: 1)) {
      _ = step(
        .recovered(
          ControlRecovery(
            state: state.started(nonce: 5), member: ControlTests.member(1), settings: ClusterSettings(), syncs: true,
            release: "test")))
    }

    mutating func step(_ input: Control.Input) -> [Control.Effect] {
      var effects: [Control.Effect] = []
      control.step(input, at: now, into: &effects)
      return effects
    }

    mutating func ask(_ request: ClientRequest) -> [Control.Effect] {
      step(.request(request, from: ControlTests.client))
    }

    /// The failure that a request is answered with.
    mutating func failure(of request: ClientRequest) -> Failure.Code? {
      guard case .respond(.failed(let failure), to: _)? = ask(request).last else { return nil }
      return failure.code
    }

    mutating func form(_ layout: Layout = ControlTests.layout()) {
      _ = ask(.reserveCluster(layout.cluster))
      _ = ask(.formCluster(layout, ControlTests.secret))
      _ = step(.persisted)
    }
  }

  @Test func `a layout is answered and lived by only when it is persisted`() {
    var node = Node()
    let layout = Self.layout()
    #expect(node.failure(of: .formCluster(layout, Self.secret)) == .invalidLayout)
    _ = node.ask(.reserveCluster(layout.cluster))
    let asked = node.ask(.formCluster(layout, Self.secret))
    guard case .persist(let state)? = asked.first else { return #expect(Bool(false), "\(asked)") }
    #expect(asked.count == 1)
    #expect(state.layouts == [layout] && state.secret == Self.secret)
    #expect(node.failure(of: .fetchLayout) == .notMember)
    let persisted = node.step(.persisted)
    let view = ClusterView(
      node: NodeID(1), layouts: [ClusterView.LiveLayout(layout)], secret: Self.secret, standing: .unconfirmed)
    // Probes of the other members begin.
    #expect(persisted.contains { if case .schedule = $0 { true } else { false } })
    #expect(
      persisted.filter { if case .schedule = $0 { false } else { true } } == [
        .note(.joined(ClusterID(9), layoutVersion: 1, members: 3)), .publish(view),
        .respond(.done, to: Self.client),
      ])
  }

  @Test func `the same layout is accepted again, so that an interrupted init can be finished`() {
    var node = Node()
    node.form()
    #expect(node.ask(.reserveCluster(ClusterID(9))) == [.respond(.reserved(Self.secret), to: Self.client)])
    #expect(node.ask(.formCluster(Self.layout(), Self.secret)) == [.respond(.done, to: Self.client)])
  }

  @Test func `a node accepts one cluster, once`() {
    var node = Node()
    node.form()
    #expect(node.failure(of: .reserveCluster(ClusterID(10))) == .otherCluster)
    #expect(node.failure(of: .formCluster(Self.layout(cluster: 10), Self.secret)) == .otherCluster)
    #expect(node.failure(of: .formCluster(Self.layout(of: [1, 2, 4]), Self.secret)) == .invalidLayout)
    #expect(node.failure(of: .formCluster(Self.layout(), ClusterSecret(low: 8, high: 8))) == .invalidLayout)
  }

  @Test func `a reservation holds a node for its cluster for ten seconds`() {
    var node = Node()
    #expect(node.ask(.reserveCluster(ClusterID(9))) == [.respond(.reserved(nil), to: Self.client)])
    #expect(node.failure(of: .reserveCluster(ClusterID(10))) == .otherCluster)
    #expect(node.failure(of: .formCluster(Self.layout(cluster: 10), Self.secret)) == .otherCluster)
    node.now.instant = node.now.instant.advanced(by: Control.reservationSpan)
    #expect(node.ask(.reserveCluster(ClusterID(10))) == [.respond(.reserved(nil), to: Self.client)])
  }

  @Test func `a layout that does not list this node as it is, or that cannot be lived by, is refused`() {
    var node = Node()
    #expect(node.failure(of: .formCluster(Self.layout(of: [2, 3, 4]), Self.secret)) == .invalidLayout)
    var moved = Self.layout().members
    moved[0].peerAddress.port += 1
    let elsewhere = Layout(cluster: ClusterID(9), version: 1, settings: ClusterSettings(), members: moved)
    #expect(node.failure(of: .formCluster(elsewhere, Self.secret)) == .invalidLayout)
    #expect(node.failure(of: .formCluster(Self.layout(of: [1, 2]), Self.secret)) == .invalidLayout)
    #expect(node.failure(of: .formCluster(Self.layout(), .none)) == .invalidRequest)
    var second = Self.layout()
    second.version = 2
    #expect(node.failure(of: .formCluster(second, Self.secret)) == .invalidLayout)
  }

  @Test func `a restart lives by the layout that was persisted`() {
    var state = NodeState(id: NodeID(1), shards: 1)
    state.layouts = [Self.layout()]
    state.secret = Self.secret
    var node = Node(state: state)
    guard case .respond(.described(let description), to: _)? = node.ask(.describe).first else {
      return #expect(Bool(false))
    }
    #expect(description.state == .unconfirmed && description.cluster == ClusterID(9) && description.layoutVersion == 1)
    #expect(description.peers.map(\.node) == [NodeID(2), NodeID(3)])
    #expect(description.peers.allSatisfy { $0.health == .unreachable })
  }

  @Test func `links decide who is up, and each change is noted once`() {
    var node = Node()
    node.form()
    #expect(node.step(.linkChanged(NodeID(2), isUp: true)).first == .note(.peerUp(NodeID(2), name: "n2")))
    #expect(node.step(.linkChanged(NodeID(2), isUp: true)) == [])
    #expect(node.step(.linkChanged(NodeID(2), isUp: false)) == [.note(.peerUnreachable(NodeID(2), name: "n2"))])
    let refusal = Refusal(.otherNode, "another data directory")
    #expect(
      node.step(.linkRefused(NodeID(2), refusal)) == [
        .note(.peerReplaced(NodeID(2), name: "n2", detail: "another data directory"))
      ])
    #expect(node.step(.linkRefused(NodeID(2), refusal)) == [])
    #expect(node.step(.linkChanged(NodeID(7), isUp: true)) == [])
  }

  @Test func `a node without a cluster that is taken for another says so and joins no other cluster`() {
    var node = Node()
    #expect(
      node.step(.mistaken(for: NodeID(77), of: ClusterID(9)))
        == [.note(.stranger(expected: NodeID(77), of: ClusterID(9)))])
    #expect(node.step(.mistaken(for: NodeID(77), of: ClusterID(9))) == [])
    #expect(node.failure(of: .reserveCluster(ClusterID(10))) == .otherCluster)
    guard case .respond(.described(let description), to: _)? = node.ask(.describe).first else {
      return #expect(Bool(false))
    }
    #expect(description.state == .stranger && description.expected == NodeID(77))
  }

  @Test func `the stop is a clean one only when everything has ended, and then it is persisted first`() {
    var node = Node()
    node.form()
    #expect(node.step(.drain) == [])
    let effects = node.step(.drained)
    guard case .persist(let state)? = effects.first, effects.count == 1 else { return #expect(Bool(false)) }
    #expect(state.stoppedCleanly)
    #expect(node.step(.persisted) == [.exit])
  }
}
