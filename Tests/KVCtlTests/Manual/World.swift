import FakeNodes
import KVModel

@testable import kvctl

/// A state of the nodes, and how every verb ends there.
enum World: CaseIterable {
  case calm
  /// Nodes like these, and calls that ask for what is not there or cannot be.
  case misused
  case nobody
  case oneAway
  case twoAway
  /// Nodes that belong to no cluster.
  case unformed
  /// The same, each with settings of its own.
  case disagreeing
  case withoutQuorum
  /// Reads fail, writes are taken.
  case withoutReads
  /// Requests about keys get no answer.
  case silent
  /// No request gets one.
  case mute
  /// A key has as many versions as it may.
  case crowded
  case sick

  func cluster() async throws -> FakeCluster {
    switch self {
    case .unformed, .disagreeing:
      let cluster = try await FakeCluster.unformed(3)
      if self == .disagreeing { cluster.nodes[1].with { $0.description.settings.readQuorum = 3 } }
      return cluster
    case .calm, .misused, .nobody, .oneAway, .twoAway, .withoutQuorum, .withoutReads, .silent, .mute, .crowded, .sick:
      let cluster = try await FakeCluster.start(3)
      for node in cluster.nodes { node.script(script) }
      cluster.store.set(try Self.record(), for: try Key(Array("k".utf8)))
      if self == .twoAway {
        var layout = cluster.layout(version: 1)
        (layout.settings.readQuorum, layout.settings.writeQuorum) = (2, 2)
        for node in cluster.nodes { node.join(layout) }
      }
      let gone = self == .nobody ? 3 : self == .twoAway ? 2 : self == .oneAway ? 1 : 0
      for node in cluster.nodes.suffix(gone) { await node.stop() }
      return cluster
    }
  }

  private static func record() throws -> Record {
    let bytes = Array("v".utf8)
    var record = Record()
    record.add(
      Version(
        // Of an epoch that the fake store does not mint in.
        dot: Dot(actor: Actor(node: NodeID(1), epoch: 9), counter: 1 << 8),
        stamp: Stamp(WallTime(milliseconds: 1_795_262_673_042)), requestID: RequestID(client: 1, sequence: 1),
        checksum: Checksum.of(bytes), content: .value(bytes)), superseding: VersionVector())
    return record
  }

  private var script: FakeNode.Script? {
    switch self {
    case .calm, .misused, .nobody, .oneAway, .twoAway, .unformed, .disagreeing: nil
    case .withoutQuorum: { request, _ in request.key == nil ? nil : .failing(.unavailable) }
    case .withoutReads: { request, _ in request.frameType == .get ? .failing(.unavailable) : nil }
    case .silent: { request, _ in request.key == nil ? nil : .silence }
    case .mute: { _, _ in .silence }
    case .crowded: { request, _ in [.put, .delete].contains(request.frameType) ? .failing(.tooManySiblings) : nil }
    case .sick: { request, _ in request.key == nil ? nil : .failing(.storageFailed) }
    }
  }

  var calls: [`Exit codes of every verb`.Call] {
    text.split(separator: "\n").map { line in
      let words = line.split(separator: " ").map(String.init)
      // A line that names no code would be a mistake in the table, and fails as a code that there is not.
      let status = ShellStatus(rawValue: Int32(words[0]) ?? -1) ?? .interrupted
      return .init(words: Array(words.dropFirst()), status: status)
    }
  }

  private var text: String {
    switch self {
    case .calm:
      """
      0 get k
      0 put new v
      0 delete k2
      0 explain k
      0 import {file}
      0 export --keys {file}
      0 status
      0 health
      0 doctor
      0 ring show
      0 ring locate k
      0 cluster init --yes
      0 hints list
      0 repair status
      0 repair run
      0 repair verify --rate 1GiB
      0 repair accept-loss
      0 tombstones stats --rate 1GiB
      0 config show
      0 top
      0 bench --load --duration 0s --records 9 --clients 3
      """
    case .misused:
      """
      5 get absent
      5 export --keys {absent}
      1 get k --file /no/such/directory
      1 put k --file /no/such/file
      1 import /no/such/file
      1 import {broken}
      1 export --keys {broken} --keys-format jsonl
      1 export --keys /no/such/file
      2 get k -r 0
      2 put k v --ttl 0s
      2 delete k -w 9
      2 explain ''
      2 import {file} --in-flight 0
      2 export --keys {file} --json
      2 status --watch 10ms
      2 health --watch 2s
      2 doctor --timeout 0s
      2 ring show --endpoints nowhere
      2 ring locate ''
      2 cluster init --endpoints ,
      2 hints list --watch 1ms
      2 repair status --no-such-flag
      2 repair run --partition 64
      2 repair verify --rate fast
      2 repair accept-loss --partition 64
      2 tombstones stats --sample 0
      2 config show --output xml
      2 top --watch 1ms
      2 bench --clients 0
      """
    case .nobody:
      """
      3 get k
      3 put k v
      3 delete k
      3 explain k
      3 import {file} --timeout 2s
      3 export --keys {file}
      3 status
      3 health
      3 doctor
      3 ring show
      3 ring locate k
      3 cluster init --yes
      3 hints list
      3 repair status
      3 repair run
      3 repair verify
      3 repair accept-loss
      3 tombstones stats
      3 config show
      3 top
      3 bench
      """
    case .oneAway:
      """
      0 status
      0 ring show
      0 ring locate k
      0 config show
      3 cluster init --yes
      9 health
      9 doctor
      9 hints list
      9 repair status
      9 repair run
      9 repair verify --rate 1GiB
      9 repair accept-loss
      9 tombstones stats --rate 1GiB
      """
    case .twoAway:
      """
      0 status
      7 health
      7 doctor
      """
    case .unformed:
      """
      0 status
      0 config show
      1 get k
      1 put k v
      1 health
      9 doctor
      1 ring show
      1 ring locate k
      1 repair status
      1 repair run
      1 repair verify
      1 repair accept-loss
      1 tombstones stats
      1 top
      1 bench
      """
    case .disagreeing:
      """
      10 cluster init --yes
      """
    case .withoutQuorum:
      """
      7 get k
      7 put k v
      7 delete k
      7 explain k
      7 import {file} --timeout 2s
      7 export --keys {file}
      1 bench --workload get --duration 100ms --warmup 0s --records 9 --clients 3
      """
    case .withoutReads:
      """
      7 get k
      0 put k v
      9 bench --workload a --rate 200 --duration 500ms --warmup 0s --records 9 --clients 3
      """
    case .silent:
      """
      124 get k --timeout 2s
      124 explain k --timeout 2s
      124 export --keys {file} --timeout 2s
      8 put k v --timeout 2s
      8 delete k --timeout 2s
      8 import {file} --timeout 2s
      """
    case .mute:
      """
      124 ring show --timeout 1s
      124 cluster init --yes --timeout 1s
      3 status --timeout 1s
      3 doctor --timeout 1s
      """
    case .crowded:
      """
      6 put k v
      6 delete k
      1 import {file}
      """
    case .sick:
      """
      1 get k
      1 put k v
      1 delete k
      1 explain k
      1 export --keys {file}
      """
    }
  }
}

extension FakeNode.Reaction {
  static func failing(_ code: Failure.Code) -> FakeNode.Reaction { .reply(.failed(Failure(code, needed: 2, got: 1))) }
}
