import Dispatch
import KVCore
import KVModel
import Synchronization

/// A read that may have to wait for the disk.
enum Load: Sendable {
  case record(Key)
  case request(RequestID, Key)
  /// Keys of a leaf; of no key, so the operation's id comes back with it.
  case leaf(LeafPlace, ShardGeometry, after: Key?, limit: Int, StorageID)
  case hints(HintQuery, ShardGeometry, StorageID)
  case digests([Key], ShardGeometry, StorageID)
  case expired(upTo: WallTime, after: ExpiryEntry?, limit: Int, StorageID)
  case rescan(RescanQuery, ShardGeometry, StorageID)
  case scrub(after: Key?, bytes: Int, StorageID)
  /// Of a key whose record does not decode: what of its leaf is damaged.
  case inspect(Key, ShardGeometry)
  /// Of a table file with a damaged block: what must go with it.
  case locate(String)
  case drop(DropPlan)
  /// Of a partition whose table files are gone: by how much its leaves are off.
  case recount(PartitionID, ShardGeometry)

  enum Outcome: Sendable {
    /// The stored bytes, empty if there are none.
    case record([UInt8])
    case request(seen: Bool)
    case leaf(LeafPage)
    case expired(ExpiredPage)
    case rescan(Rescan, RescannedLeaves)
    /// With the keys whose records turned out to be damaged.
    case hints(HintPage, damaged: [Key])
    case digests([Digest], damaged: [Key])
    case scrubbed(ScrubPage, damaged: [Key])
    case inspected(Inspection)
    case located(DropPlan?)
    /// How many files are gone.
    case dropped(Int)
    case recounted(Recount)
    /// The record's bytes are damaged.
    case damaged
    case failed(RocksDBError)
  }

  /// The key whose operations wait for it.
  var key: Key? {
    switch self {
    case .record(let key), .request(_, let key), .inspect(let key, _): key
    case .leaf, .hints, .digests, .expired, .rescan, .scrub, .locate, .drop, .recount: nil
    }
  }

  /// The operation that it is for, where it is of no one key.
  var operation: StorageID? {
    switch self {
    case .record, .request, .inspect, .locate, .drop, .recount: nil
    case .leaf(_, _, _, _, let id), .hints(_, _, let id), .digests(_, _, let id), .expired(_, _, _, let id),
      .rescan(_, _, let id), .scrub(_, _, let id):
      id
    }
  }
}

/// The threads that wait for the disk, so that a loop never does. Loads beyond their number queue; how many can be
/// there is bounded by what the shard admits.
final class IOPool: Sendable {
  private struct State {
    /// Waiting, oldest first from `head` on.
    var loads: [(load: Load, submittedAt: UInt64)] = []
    var head = 0
    /// Queues without work.
    var idle: [Int]
  }

  private let database: Database
  private let mailbox: Mailbox
  /// Serial queues that nobody targets: each gets a thread of its own while it works.
  private let queues: [DispatchQueue]
  private let state: Mutex<State>

  init(database: Database, mailbox: Mailbox, threads: Int) {
    self.database = database
    self.mailbox = mailbox
    queues = (0..<max(1, threads)).map { DispatchQueue(label: "ringkv.io.\($0)") }
    state = Mutex(State(idle: Array(queues.indices)))
  }

  func submit(_ load: Load) {
    let now = DispatchTime.now().uptimeNanoseconds
    let index = state.withLock { state in
      state.loads.append((load, now))
      return state.idle.popLast()
    }
    if let index { queues[index].async { self.run(index) } }
  }

  /// Something rare that may wait for the disk too.
  func submit(_ work: @escaping @Sendable () -> Void) { queues[0].async(execute: work) }

  /// Returns once everything submitted before has been answered.
  func drain() { for queue in queues { queue.sync {} } }

  private func run(_ index: Int) {
    while let (load, submittedAt) = next(index) {
      let outcome = perform(load)
      mailbox.post(.loaded(load, outcome, ns: DispatchTime.now().uptimeNanoseconds - submittedAt))
    }
  }

  private func next(_ index: Int) -> (Load, submittedAt: UInt64)? {
    state.withLock { state in
      guard state.head < state.loads.count else {
        state.loads.removeAll(keepingCapacity: state.loads.capacity <= 1_024)
        state.head = 0
        state.idle.append(index)
        return nil
      }
      let load = state.loads[state.head]
      state.head += 1
      if state.head >= 1_024, state.head * 2 > state.loads.count {
        state.loads.removeFirst(state.head)
        state.head = 0
      }
      return load
    }
  }

  private func perform(_ load: Load) -> Load.Outcome {
    switch load {
    case .record(let key):
      switch database.get(.data, key.bytes, .disk, { [UInt8]($0) }) {
      case .found(let bytes): .record(bytes)
      case .absent: .record([])
      case .failed(let error): .failed(error)
      }
    case .request(let id, let key): find(id, key)
    case .leaf(let place, let geometry, let after, let limit, _): list(place, geometry, after: after, limit: limit)
    case .hints(let query, let geometry, _): database.list(query, geometry)
    case .expired(let wall, let after, let limit, _): database.listExpired(upTo: wall, after: after, limit: limit)
    case .rescan(let query, let geometry, _): database.rescan(query, geometry)
    case .digests(let keys, let geometry, _): digests(of: keys, geometry)
    case .scrub(let after, let bytes, _):
      answer(database.scrub(after: after, bytes: bytes)) { .scrubbed($0.page, damaged: $0.damaged) }
    case .inspect(let key, let geometry):
      answer(database.inspect(LeafPlace(of: key, geometry), geometry)) { .inspected($0) }
    case .locate(let file): .located(database.plan(toDrop: file))
    case .drop(let plan): .dropped(database.drop(plan))
    case .recount(let partition, let geometry): answer(database.recount(partition, geometry)) { .recounted($0) }
    }
  }

  private func answer<Value>(
    _ result: Result<Value, RocksDBError>, _ outcome: (Value) -> Load.Outcome
  ) -> Load.Outcome {
    switch result {
    case .success(let value): outcome(value)
    case .failure(let error): .failed(error)
    }
  }

  private func digests(of keys: [Key], _ geometry: ShardGeometry) -> Load.Outcome {
    var damaged: [Key] = []
    let digests = keys.map { key -> Digest in
      let state = database.state(of: key, geometry)
      if state == .damaged { damaged.append(key) }
      return state.digest
    }
    return .digests(digests, damaged: damaged)
  }

  /// A leaf is one range of the data, since they lie in ring order.
  private func list(_ place: LeafPlace, _ geometry: ShardGeometry, after: Key?, limit: Int) -> Load.Outcome {
    var start: [UInt8] = []
    start.append(bigEndian: place.firstToken(geometry))
    if let after, start.lexicographicallyPrecedes(after.bytes) { start = after.bytes + [0] }
    var entries: [LeafPage.Entry] = []
    var isLast = true
    let error = database.scan(.data, from: start) { bytes, value in
      guard let key = Key(stored: bytes), LeafPlace(of: key, geometry) == place else { return false }
      if entries.count == limit {
        isLast = false
        return false
      }
      let record = try? EncodedRecord.decode(value)
      let digest = record?.digest(of: key, seed: geometry.digestSeed) ?? .zero
      entries.append(LeafPage.Entry(key: key, digest: digest))
      return true
    }
    if let error { return .failed(error) }
    return .leaf(LeafPage(entries: entries, isLast: isLast))
  }

  private func find(_ id: RequestID, _ key: Key) -> Load.Outcome {
    switch database.get(.data, key.bytes, .disk, { try? EncodedRecord.decode($0) }) {
    case .failed(let error): return .failed(error)
    case .found(nil): return .damaged
    case .found(let record?) where record.versions.contains(where: { $0.requestID == id }): return .request(seen: true)
    case .found, .absent: break
    }
    switch database.remembers(id) {
    case .success(let seen): return .request(seen: seen)
    case .failure(let error): return .failed(error)
    }
  }
}
