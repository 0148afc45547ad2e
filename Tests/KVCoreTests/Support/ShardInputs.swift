import KVCore
import KVModel

/// How node 1 of the three of `ControlTests.layout()` begins, for tests that drive its one shard by inputs.
extension Shard.Input {
  static func recovered(
    _ settings: ShardSettings = ShardSettings(), epoch: UInt32 = 1, lease: Lease? = nil
  ) -> Shard.Input {
    .recovered(
      ShardRecovery(
        identity: ShardIdentity(node: NodeID(1), shard: 0, shards: 1), actor: Actor(node: NodeID(1), epoch: epoch),
        lease: lease, settings: settings, seed: 1))
  }

  /// The layout, as all have it.
  static var ofThree: Shard.Input {
    .view(ClusterView(node: NodeID(1), layouts: [ClusterView.LiveLayout(ControlTests.layout())]))
  }
}
