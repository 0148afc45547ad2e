import KVCore
import KVModel
import KVSimulator

/// The simulator's disk: it moves when somebody waits for it.
final class DiskRig: Rig {
  private(set) var disk: SimulatedDisk
  private var holds = false
  private var fails = false

  init(seed: UInt64, faults: SimulatedDisk.Faults = .init(), hintKeysMax: Int = 1_000_000) {
    disk = SimulatedDisk(geometry: testGeometry, faults: faults, hintKeysMax: hintKeysMax, seed: seed)
  }

  var storage: any ShardStorage { disk }

  /// Syncs first: what waits for its record must not see what was asked later.
  func awaitResults() -> Bool {
    if !holds, disk.wantsSync {
      sync()
    } else if disk.wantsReads {
      disk.finishReads()
    } else {
      return false
    }
    return true
  }

  private func sync() {
    disk.beginSync()
    if fails { disk.failSync(syncFault) } else { disk.finishSync() }
  }

  func holdSyncs() { holds = true }
  func waitForHeldSync() { disk.beginSync() }

  func releaseSyncs() {
    holds = false
    disk.finishSync()
    while disk.wantsSync { sync() }
  }

  func failNextSync() { fails = true }

  func reopen() {
    var results: [StorageCompletion] = []
    disk.endTurn(results: &results)
    releaseSyncs()
    disk = disk.crash(keepsTail: false)
    fails = false
  }

  func crash(_ crash: Crash) {
    disk = disk.crash(keepsTail: crash == .death)
    fails = false
  }

  func evict() { disk.faults.slowRead = 1_000_000 }

  func snapshot() -> StorageSnapshot { disk.snapshot() }
  func syncedLeaf(_ place: LeafPlace) -> Digest {
    disk.snapshot().leaves.first { $0.place == place }?.digest ?? .zero
  }
  var recoveredLease: Lease? { disk.recoveredLease }
  func damage(_ key: Key) { _ = disk.damage(key, byte: damagedByte) }
}
