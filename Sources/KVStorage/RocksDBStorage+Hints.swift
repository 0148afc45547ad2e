import KVCore
import KVModel

/// What `listHints` asks of a thread that may wait for the disk.
struct HintQuery: Sendable {
  let target: NodeID
  let token: Token
  let after: Key?
  let limit: Int
  /// Of what was synced when it was asked.
  let sequence: UInt64

  init(_ target: NodeID, _ token: Token, _ after: Key?, _ limit: Int, _ sequence: UInt64) {
    self.target = target
    self.token = token
    self.after = after
    self.limit = limit
    self.sequence = sequence
  }
}

// Hints: noted in the batch of their record, or in one of their own; listed and forgotten.
extension RocksDBStorage {
  /// Notes in a batch that these owners may have missed something of a key.
  func note(_ targets: [NodeID], _ key: Key, _ place: LeafPlace, in batch: WriteBatch) {
    for target in targets {
      switch hints.note(target, key, place) {
      case .key: HintSpace.encode(target, key, into: &scratch)
      case .mark(let place): HintSpace.encode(target, place, into: &scratch)
      case .nothing: continue
      }
      batch.put(.hints, scratch, [])
    }
    let last = pending.count - 1
    pending[last].hintSequence = hints.sequence
    pending[last].bytes += targets.count * (key.bytes.count + 16)
    addUnsynced(bytes: targets.count * (key.bytes.count + 16))
  }

  /// The same without a record.
  func note(_ targets: [NodeID], _ key: Key, id: StorageID) {
    note(targets, key, LeafPlace(of: key, geometry), in: openBatch())
    acknowledge(id)
  }

  func forget(_ target: NodeID, _ keys: [Key], upTo sequence: UInt64, id: StorageID) {
    let batch = openBatch()
    for key in hints.forget(target, keys, upTo: sequence) {
      HintSpace.encode(target, key, into: &scratch)
      batch.delete(.hints, scratch)
    }
    acknowledge(id)
  }

  func forgetMarks(_ target: NodeID, _ partition: PartitionID, upTo sequence: UInt64, id: StorageID) {
    let batch = openBatch()
    for place in hints.forgetMarks(target, partition, upTo: sequence) {
      HintSpace.encode(target, place, into: &scratch)
      batch.delete(.hints, scratch)
    }
    acknowledge(id)
  }

  /// Answers when the batch that is being filled is synced.
  private func acknowledge(_ id: StorageID) {
    pending[pending.count - 1].answers.append(StorageCompletion(id: id, result: .synced))
  }

  /// Counts what an earlier start left: a scan of at most as many entries as hints may be kept.
  static func hints(
    of database: Database, _ geometry: ShardGeometry, keysMax: Int
  ) throws(StorageOpenError) -> HintIndex {
    var index = HintIndex(keysMax: keysMax)
    var isSound = true
    let failure = database.scan(.hints) { key, _ in
      switch try? HintSpace.decode(key) {
      case .key(let target, let key)?: index.load(target, key)
      case .mark(let target, let place)?: index.load(target, place)
      case nil: isSound = false
      }
      return isSound
    }
    if let failure { throw StorageOpenError(failure, in: database.directory) }
    guard isSound else { throw .damaged(path: database.directory, detail: "a hint cannot be read") }
    return index
  }
}

extension Database {
  /// Hints for a target from a token on, with what this store has of their keys.
  func list(_ query: HintQuery, _ geometry: ShardGeometry) -> Load.Outcome {
    var start = HintSpace.start(query.target, query.token)
    if let after = query.after {
      var next: [UInt8] = []
      HintSpace.encode(query.target, after, into: &next)
      next.append(0)
      if start.lexicographicallyPrecedes(next) { start = next }
    }
    var keys: [Key] = []
    var isLast = true
    let error = scan(.hints, from: start) { bytes, _ in
      guard case .key(query.target, let key)? = try? HintSpace.decode(bytes) else { return false }
      isLast = keys.count < query.limit
      if isLast { keys.append(key) }
      return isLast
    }
    if let error { return .failed(error) }
    var damaged: [Key] = []
    let entries = keys.map { key in
      let state = state(of: key, geometry)
      if state == .damaged { damaged.append(key) }
      return HintOffer.Entry(key: key, digest: state.digest, bytes: state.bytes)
    }
    return .hints(HintPage(entries: entries, isLast: isLast, sequence: query.sequence), damaged: damaged)
  }

  /// What of a record can be said in short.
  enum RecordState: Equatable {
    case sound(Digest, bytes: UInt32)
    case none
    case damaged
    /// The disk did not give it back.
    case unread

    /// Of nothing when there is none or it cannot be read.
    var digest: Digest { if case .sound(let digest, _) = self { digest } else { .zero } }
    var bytes: UInt32 { if case .sound(_, let bytes) = self { bytes } else { 0 } }
  }

  func state(of key: Key, _ geometry: ShardGeometry) -> RecordState {
    let lookup = get(.data, key.bytes, .disk) { bytes -> RecordState in
      guard let record = try? EncodedRecord.decode(bytes) else { return .damaged }
      return .sound(record.digest(of: key, seed: geometry.digestSeed), bytes: UInt32(bytes.count))
    }
    switch lookup {
    case .found(let state): return state
    case .absent: return .none
    case .failed(let error): return error.kind == .corruption ? .damaged : .unread
    }
  }
}
