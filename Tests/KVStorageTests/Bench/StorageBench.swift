import Dispatch
import Glibc
import KVCore
import KVModel
import Testing

@testable import KVStorage

/// The seam against RocksDB itself: run with `RINGKV_BENCH=1 swift test -c release --filter StorageBench`, beside
/// `db_bench` with keys of 16 bytes and values of 1 KiB. It prints and checks nothing.
@Suite(.serialized, .enabled(if: getenv("RINGKV_BENCH") != nil))
struct StorageBench {
  static let count = 200_000
  static let geometry = ShardGeometry(cluster: ClusterID(77), partitionBits: 10, leafBits: 6)
  static let keys: [Key] = {
    var random = PRNG(seed: 1)
    return (0..<count).map { _ in
      var bytes: [UInt8] = []
      bytes.append(integer: random.next())
      bytes.append(integer: random.next())
      return try! Key(bytes)
    }
  }()
  static let value: [UInt8] = {
    var random = PRNG(seed: 2)
    return (0..<1_024).map { _ in UInt8(32 + random.index(64)) }
  }()
  static let checksum = Checksum.of(value)

  private static func change(_ counter: Int) -> Change {
    .mint(
      Mint(
        dot: dot(UInt64(counter)), basis: .overwrite, stamp: stamp(UInt64(1_000_000_000 + counter)),
        stampCeiling: Stamp(bits: .max), requestID: RequestID(client: 9, sequence: UInt64(counter)), expiry: nil,
        checksum: checksum, content: .value(value)))
  }

  private static func open(
    _ directory: TemporaryDirectory, _ durability: Durability, _ wakeups: DispatchSemaphore
  ) -> RocksDBStorage {
    var options = StorageOptions()
    options.durability = durability
    options.blockCacheBytes = 512 << 20
    if getenv("RINGKV_BENCH_NOLIMIT") != nil { options.backgroundBytesPerSecond = 0 }
    return try! RocksDBStorage.open(
      directory: directory.path, identity: testIdentity, geometry: geometry, generation: 1, options: options,
      onResults: { wakeups.signal() })
  }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func measure(_ name: String, operations: Int, _ body: () -> Void) {
    let (wall, process, thread) = (
      seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID), seconds(CLOCK_THREAD_CPUTIME_ID)
    )
    body()
    func perOperation(_ begin: Double, _ clock: clockid_t) -> Double {
      ((seconds(clock) - begin) / Double(operations) * 1e8).rounded() / 100
    }
    print(
      "BENCH \(name): wall \(perOperation(wall, CLOCK_MONOTONIC)) µs, process CPU",
      "\(perOperation(process, CLOCK_PROCESS_CPUTIME_ID)) µs, loop CPU \(perOperation(thread, CLOCK_THREAD_CPUTIME_ID)) µs"
    )
  }

  @Test(arguments: [32, 128]) func `put without sync`(batch: Int) {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let wakeups = DispatchSemaphore(value: 0)
    let store = Self.open(directory, .os, wakeups)
    for round in ["insert", "overwrite"] {
      Self.measure("put os, batches of \(batch), \(round)", operations: Self.count) {
        var results: [StorageCompletion] = []
        let offset = round == "insert" ? 1 : Self.count + 1
        for (index, key) in Self.keys.enumerated() {
          store.submit(.merge(key, Self.change(offset + index)), id: StorageID(raw: 1), results: &results)
          if index % batch == batch - 1 {
            store.collect(results: &results)
            store.endTurn(results: &results)
            results.removeAll(keepingCapacity: true)
          }
        }
        while !store.lanes.isEmpty {
          wakeups.wait()
          store.collect(results: &results)
        }
        store.endTurn(results: &results)
      }
      print("BENCH   ", store.metrics.servedFromDisk, "of", store.metrics.servedFromMemory, "from the disk")
    }
  }

  @Test(arguments: [(32, 1), (32, 2), (128, 1), (128, 2)]) func `put synced`(batch: Int, inFlight: Int) {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let wakeups = DispatchSemaphore(value: 0)
    let store = Self.open(directory, .sync, wakeups)
    let count = 100_000
    Self.measure("put synced, batches of \(batch), \(inFlight) in flight", operations: count) {
      var results: [StorageCompletion] = []
      var (submitted, synced) = (0, 0)
      while synced < count {
        while submitted < count, submitted - synced <= batch * (inFlight - 1) {
          for _ in 0..<min(batch, count - submitted) {
            store.submit(
              .merge(Self.keys[submitted], Self.change(submitted + 1)), id: StorageID(raw: 1), results: &results)
            submitted += 1
          }
          store.endTurn(results: &results)
        }
        results.removeAll(keepingCapacity: true)
        wakeups.wait()
        store.collect(results: &results)
        store.endTurn(results: &results)
        synced += results.count { $0.result == .synced }
        if let fault = store.fault { fatalError("\(fault)") }
      }
    }
    print(
      "BENCH   ", store.metrics.batchOperations.sum / store.metrics.batchOperations.total, "a batch, mean write",
      store.metrics.writes.sum / store.metrics.writes.total / 1_000, "µs")
  }

  @Test func `get from memory`() {
    let directory = TemporaryDirectory()
    defer { withExtendedLifetime(directory) {} }
    let store = Self.open(directory, .os, DispatchSemaphore(value: 0))
    var results: [StorageCompletion] = []
    for (index, key) in Self.keys.enumerated() {
      store.submit(.merge(key, Self.change(index + 1)), id: StorageID(raw: 1), results: &results)
      if index % 64 == 63 { store.endTurn(results: &results) }
      results.removeAll(keepingCapacity: true)
    }
    store.endTurn(results: &results)
    _ = store.database.settle(.data)
    for key in Self.keys { _ = store.database.get(.data, key.bytes, .disk) { $0.count } }
    for _ in 0..<2 {
      Self.measure("get from the block cache", operations: Self.count) {
        var random = PRNG(seed: 3)
        for _ in 0..<Self.count {
          store.submit(.read(Self.keys[random.index(Self.count)]), id: StorageID(raw: 1), results: &results)
          results.removeAll(keepingCapacity: true)
        }
      }
      Self.measure("  of that RocksDB alone", operations: Self.count) {
        var random = PRNG(seed: 3)
        for _ in 0..<Self.count {
          _ = store.database.get(.data, Self.keys[random.index(Self.count)].bytes, .memory) { $0.count }
        }
      }
    }
    print("BENCH   ", store.metrics.servedFromDisk, "from disk of", store.metrics.servedFromMemory)
  }
}
