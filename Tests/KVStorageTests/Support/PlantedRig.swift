import KVCore
import KVModel
import StorageDriver

/// A rig with a fault planted in its store, or in what its crashes leave.
final class PlantedRig: Rig {
  /// What a crash leaves that no good store does.
  enum Wreck {
    /// The newest record of the log without its leaf, its expiries and its request ids.
    case recordAlone
    /// All but the leaf.
    case leafLost
  }

  private let inner: any Rig
  private let planted: PlantedStorage?
  private let wreck: Wreck?
  private var wrecked: StorageSnapshot?

  init(_ plant: Plant, in inner: any Rig = DiskRig(seed: 1)) {
    self.inner = inner
    planted = PlantedStorage(plant) { inner.storage }
    wreck = nil
  }

  init(_ wreck: Wreck, in inner: any Rig = MemoryRig()) {
    self.inner = inner
    planted = nil
    self.wreck = wreck
  }

  var storage: any ShardStorage { planted ?? inner.storage }

  func awaitResults() -> Bool { inner.awaitResults() }
  func rest() { inner.rest() }
  func holdSyncs() { inner.holdSyncs() }
  func waitForHeldSync() { inner.waitForHeldSync() }
  func releaseSyncs() { inner.releaseSyncs() }
  func failNextSync() { inner.failNextSync() }
  func reopen() { inner.reopen() }
  func evict() { inner.evict() }
  var recoveredLease: Lease? { inner.recoveredLease }
  func damage(_ key: Key) { inner.damage(key) }
  func syncedLeaf(_ place: LeafPlace) -> Digest { inner.syncedLeaf(place) }

  func crash(_ crash: Crash) {
    let before = inner.snapshot()
    inner.crash(crash)
    guard let wreck else { return }
    var after = inner.snapshot()
    switch wreck {
    case .recordAlone:
      (after.leaves, after.expiries, after.requests) = (before.leaves, before.expiries, before.requests)
    case .leafLost: after.leaves = before.leaves
    }
    wrecked = after
  }

  func snapshot() -> StorageSnapshot { wrecked ?? inner.snapshot() }
}
