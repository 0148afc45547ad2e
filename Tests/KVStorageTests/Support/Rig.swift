import KVCore
import KVModel
import KVStorage
import Testing

/// How a store ends without warning.
enum Crash {
  /// What was not synced is gone.
  case powerCut
  /// The process alone dies: what it had handed to the kernel is there.
  case death
}

/// A store, and what only its tests may do to it: hold its syncs back, make them fail, end it, look at all it holds.
protocol Rig: AnyObject {
  var storage: any ShardStorage { get }

  /// Waits until `collect` may give something; false when nothing comes by itself any more.
  func awaitResults() -> Bool

  /// Gives a store that works by itself the time to do what it must not.
  func rest()

  func holdSyncs()
  func waitForHeldSync()
  func releaseSyncs()
  /// The next sync fails, and all that come until the store is started again would succeed.
  func failNextSync()

  func reopen()
  func crash(_ crash: Crash)
  /// No record is in memory any more.
  func evict()

  func snapshot() -> StorageSnapshot
  func syncedLeaf(_ place: LeafPlace) -> Digest
  var recoveredLease: Lease? { get }
  /// Flips a bit of a stored record.
  func damage(_ key: Key)
}

extension Rig {
  func rest() { _ = awaitResults() }
}

/// Which store a contract test runs against.
enum StoreKind: String, CaseIterable, CustomTestStringConvertible {
  case memory
  case simulatedDisk
  case rocksDB
  /// In a process of its own, under the fault shim.
  case rocksDBProcess

  /// What can be told to fail a sync, to lose its cache, to damage what it stores.
  static let failing: [StoreKind] = [.memory, .simulatedDisk, .rocksDBProcess]
  static let evicting: [StoreKind] = [.simulatedDisk, .rocksDB]
  static let damaging: [StoreKind] = [.memory, .simulatedDisk, .rocksDB]

  var testDescription: String { rawValue }

  func makeRig(hintKeysMax: Int = 1_000_000) -> any Rig {
    switch self {
    case .memory: MemoryRig(hintKeysMax: hintKeysMax)
    case .simulatedDisk: DiskRig(seed: 1, hintKeysMax: hintKeysMax)
    case .rocksDB: RocksDBRig(in: TemporaryDirectory()) { $0.hintKeysMax = hintKeysMax }
    case .rocksDBProcess: ProcessRig(["hints=\(hintKeysMax)"])
    }
  }

  func make(hintKeysMax: Int = 1_000_000) -> StoreUnderTest { StoreUnderTest(makeRig(hintKeysMax: hintKeysMax)) }
}

let syncFault = StorageFault(.ioError, path: "/data/shard-0/000004.log", detail: "Input/output error")

final class MemoryRig: Rig {
  private(set) var memory: MemoryStorage
  var storage: any ShardStorage { memory }

  init(hintKeysMax: Int = 1_000_000) { memory = MemoryStorage(geometry: testGeometry, hintKeysMax: hintKeysMax) }

  func awaitResults() -> Bool { false }

  func holdSyncs() { memory.holdsSyncs = true }
  func waitForHeldSync() {}
  func releaseSyncs() {
    memory.holdsSyncs = false
    memory.sync()
  }
  func failNextSync() { memory.nextSyncFails = syncFault }

  func reopen() { memory = memory.crash() }

  func crash(_ crash: Crash) {
    let holds = memory.holdsSyncs
    memory = memory.crash(keeping: crash == .death ? memory.handedCount : 0)
    memory.holdsSyncs = holds
  }

  func evict() { fatalError("the memory store has nothing but memory") }

  func snapshot() -> StorageSnapshot { memory.snapshot() }
  func syncedLeaf(_ place: LeafPlace) -> Digest { memory.syncedLeaf(place) }
  var recoveredLease: Lease? { memory.recoveredLease }
  func damage(_ key: Key) { _ = memory.damage(key, byte: damagedByte) }
}

/// The place of the bit that `damage` flips, the same in every store.
let damagedByte = 40
