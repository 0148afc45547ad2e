import KVModel
import Testing

@testable import KVCore

/// A node that meets, in a peer's record, dots of its own that it has not minted.
struct WentBackTests {
  private static let layout = ClusterView.LiveLayout(ControlTests.layout())

  private struct Node {
    var shard = Shard()
    let now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    /// What has left the shard, store and clockwork apart.
    var effects: [Shard.Effect] = []

    /// Started in epoch 7 on a lease of `epoch` up to sequence 100.
    init(epoch: UInt32) {
      let lease = Lease(actor: Actor(node: NodeID(1), epoch: epoch), sequence: 100, stamp: .zero)
      step(.recovered(epoch: 7, lease: lease))
      view(life: 0)
    }

    mutating func step(_ input: Shard.Input) {
      var all: [Shard.Effect] = []
      shard.step(input, at: now, into: &all)
      effects = all
    }

    mutating func view(life: UInt64, epoch: UInt32 = 0, _ standing: ClusterView.Standing = .confirmed) {
      let view = ClusterView(
        node: NodeID(1), layouts: [WentBackTests.layout], standing: standing, epoch: epoch, life: life)
      step(.view(view))
    }

    /// A peer writes a record that claims dots of this node's `epoch` up to `sequence`.
    mutating func hear(epoch: UInt32, upTo sequence: UInt64) throws {
      let own = Actor(node: NodeID(1), epoch: epoch)
      let actor = Actor(node: NodeID(2), epoch: 1)
      let version = Version(
        dot: Dot(actor: actor, counter: 1), stamp: .zero, requestID: RequestID(client: 1, sequence: 1), checksum: 0,
        content: .tombstone)
      let context = VersionVector([
        .init(actor: own, counter: sequence << 8), .init(actor: actor, counter: 1),
      ])
      let record = EncodedRecord(Record(context: context, versions: [version]))
      let write = ReplicaWrite(key: try Key(Array("a".utf8)), purpose: .repair, record: record)
      let deadline = now.instant.advanced(by: .seconds(1))
      step(.message(.replicaWrite(write), from: NodeID(2), Shard.Envelope(operation: 9, deadline: deadline)))
    }

    var wentBack: Int { effects.count { if case .wentBack(saysPeer: NodeID(2)) = $0 { true } else { false } } }
    var stores: Bool { effects.contains { if case .store(.merge, _) = $0 { true } else { false } } }
  }

  @Test func `hazard 07: dots that a node has not minted, of its epoch or the one before, make it take no part`() throws
  {
    for epoch in [7, 6] as [UInt32] {
      var node = Node(epoch: epoch)
      try node.hear(epoch: epoch, upTo: 100)
      #expect(node.stores && node.wentBack == 0, "all that was leased may have been minted")
      try node.hear(epoch: epoch, upTo: 101)
      #expect(node.wentBack == 1 && !node.stores && node.shard.view.standing == .overtaken)
      try node.hear(epoch: epoch, upTo: 101)
      #expect(node.wentBack == 0 && !node.stores, "said once")
      // Control may publish something else before it hears of this.
      node.view(life: 0)
      #expect(node.shard.view.standing == .overtaken)
      node.view(life: 40, epoch: 40 * 256)
      #expect(node.shard.view.standing == .confirmed)
      #expect(
        node.effects.contains {
          if case .store(.changeGaps(let changes), _) = $0, case .forgotten(40, _, let all)? = changes.first {
            all.count == WentBackTests.layout.layout.settings.partitions
          } else {
            false
          }
        })
      // What it minted before peers hold for ever.
      try node.hear(epoch: epoch, upTo: 101)
      #expect(node.wentBack == 0 && node.stores)
      // Of its new life it knows everything.
      try node.hear(epoch: 40 * 256, upTo: 1)
      #expect(node.wentBack == 1)
    }
  }

  @Test func `a write that is under way when a node learns of it ends as unknown`() throws {
    var node = Node(epoch: 7)
    for peer in [2, 3] as [UInt64] { node.step(.linkChanged(NodeID(peer), isUp: true)) }
    let write = WriteRequest(
      key: try Key(Array("a".utf8)), requestID: RequestID(client: 1, sequence: 1), payload: .delete)
    let client = ClientRef(connection: 1, request: 1)
    node.step(.request(.write(write), from: client, deadline: node.now.instant.advanced(by: .seconds(5))))
    #expect(node.shard.inFlight > 0)
    try node.hear(epoch: 7, upTo: 101)
    let answers = node.effects.compactMap { effect -> Failure? in
      if case .respond(.failed(let failure), to: client) = effect { failure } else { nil }
    }
    #expect(answers.count == 1 && node.shard.writes.count == 0)
  }

  @Test func `hazard 07: a node that went back in time asks its peers anew, and begins another life`() {
    var node = ControlTests.Node()
    node.form()
    node = ControlTests.Node(state: node.control.state)
    for peer in [2, 3] as [UInt64] { _ = node.step(.linkChanged(NodeID(peer), isUp: true)) }
    _ = node.step(.persisted)
    let own = node.control.state.generation
    func accept(_ peer: UInt64) -> [Control.Effect] {
      node.step(.message(.verdict(.accepted, onNonce: own.nonce), from: NodeID(peer)))
    }
    _ = accept(2)
    _ = accept(3)
    #expect(node.control.standing == .confirmed)
    let effects = node.step(.wentBack(saysPeer: NodeID(2)))
    #expect(node.control.standing == .overtaken && node.control.state.overtakenBy == own)
    let asked = effects.count { if case .send(.claim, to: _) = $0 { true } else { false } }
    #expect(asked == 2 && effects.contains { if case .note(.wentBack) = $0 { true } else { false } })
    let published = node.step(.persisted)
    #expect(published.contains { if case .publish(let view) = $0 { view.standing == .overtaken } else { false } })
    _ = node.step(.wentBack(saysPeer: NodeID(3)))
    #expect(node.control.pending.isEmpty, "it knows")
    _ = accept(2)
    node.now.instant = node.now.instant.advanced(by: .seconds(11))
    _ = node.step(.timer)
    #expect(node.control.state.overtakenBy == own, "n3 may know of a later start")
    _ = accept(3)
    node.now.instant = node.now.instant.advanced(by: .seconds(11))
    _ = node.step(.timer)
    let state = node.control.state
    #expect(state.overtakenBy == nil && state.generation.number == own.number + 1 && state.life == own.number + 1)
    #expect(UInt64(state.epoch) == state.generation.number * NodeState.epochsPerStart)
    #expect(state.ancestors.first == own.nonce)
  }
}
