import Dispatch
import Glibc
import KVCore
import KVModel
import KVStorage

/// RocksDBStorage in a process of its own, so that a test can kill it, load the fault shim into it and cut its files:
///
///     StorageDriver DIRECTORY GENERATION [os] [hints=KEYS] [PLANT]
///
/// It reads calls from standard input and answers each on standard output (`Messages.swift`); at the end of its input
/// it is gone at once, as after SIGKILL.
@main
final class Driver {
  /// What its stores are made for.
  static let identity = ShardIdentity(node: NodeID(1), shard: 0, shards: 1)
  static let geometry = ShardGeometry(cluster: ClusterID(77), partitionBits: 4, leafBits: 3)

  /// Nil once it was closed.
  private var store: RocksDBStorage?
  /// The store, or what is planted before it.
  private var storage: (any ShardStorage)?
  private let wakeups: DispatchSemaphore

  static func main() {
    let arguments = Array(CommandLine.arguments.dropFirst())
    guard arguments.count >= 2, let generation = UInt64(arguments[1]) else { exit(2) }
    do {
      let driver = try Driver(arguments[0], generation, Set(arguments[2...]))
      answer(.ready)
      while let call = nextCall() { answer(driver.carryOut(call)) }
    } catch {
      answer(.refused("\(error)"))
    }
    _exit(0)
  }

  private init(_ directory: String, _ generation: UInt64, _ wishes: Set<String>) throws(StorageOpenError) {
    var options = StorageOptions()
    options.durability = wishes.contains("os") ? .os : .sync
    options.blockCacheBytes = 8 << 20
    if let keys = wishes.first(where: { $0.hasPrefix("hints=") })?.dropFirst(6) { options.hintKeysMax = Int(keys) ?? 0 }
    options.wallClock = { WallTime(milliseconds: 0) }
    let wakeups = DispatchSemaphore(value: 0)
    let store = try RocksDBStorage.open(
      directory: directory, identity: Driver.identity, geometry: Driver.geometry, generation: generation,
      options: options, onResults: { wakeups.signal() })
    self.wakeups = wakeups
    self.store = store
    storage = wishes.compactMap(Plant.init).first.map { PlantedStorage($0) { store } } ?? store
  }

  private func carryOut(_ call: Call) -> Answer {
    guard let store, let storage else { return .refused("the store is closed") }
    var results: [StorageCompletion] = []
    switch call {
    case .submit(let operation, let id): storage.submit(operation, id: id, results: &results)
    case .endTurn: storage.endTurn(results: &results)
    case .collect: storage.collect(results: &results)
    case .wait(let ms): return .woken(wakeups.wait(timeout: .now() + .milliseconds(Int(ms))) == .success)
    case .snapshot:
      do { return .snapshot(try store.snapshot()) } catch { return .fault(error) }
    case .syncedLeaf(let place): return .leaf(store.syncedLeaf(place))
    case .recoveredLease: return .lease(store.recoveredLease)
    case .close: return .fault(close(store))
    }
    return .completions(results)
  }

  /// Closes the store, and RocksDB's files with it.
  private func close(_ store: RocksDBStorage) -> StorageFault? {
    defer { (self.store, storage) = (nil, nil) }
    return store.close()
  }

  // MARK: The pipe

  private static func nextCall() -> Call? {
    guard let bytes = Frames.read(0) else { return nil }
    do {
      return try bytes.decode { (bytes) throws(DecodeError) in
        var reader = ByteReader(bytes)
        return try Call(from: &reader)
      }
    } catch { fatalError("a call cannot be decoded: \(error)") }
  }

  private static func answer(_ answer: Answer) { if !Frames.write(answer.encoded, to: 1) { _exit(0) } }
}

/// Bytes behind their length, on a descriptor.
enum Frames {
  /// Nil at the end of the input.
  static func read(_ descriptor: Int32) -> [UInt8]? {
    guard let length = take(4, from: descriptor) else { return nil }
    return take(Int(length.withUnsafeBytes { UInt32(littleEndian: $0.load(as: UInt32.self)) }), from: descriptor)
  }

  private static func take(_ count: Int, from descriptor: Int32) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var taken = 0
    while taken < count {
      let more = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + taken, count - taken) }
      if more < 0, errno == EINTR { continue }
      guard more > 0 else { return nil }
      taken += more
    }
    return bytes
  }

  /// False when nobody reads any more.
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var frame: [UInt8] = []
    frame.append(blob: bytes)
    var rest = frame[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }
}
