import KVModel

/// A shard's storage without a disk: the same promises, with the sync in the caller's hands. Core tests and the
/// simulator's disk stand on it.
///
/// ```
///   submit ──► gathered ──endTurn──► handed ──sync()──► durable ──► collect(): .synced
///              └───────── lost by crash() ────────┘     └─ kept by crash()
/// ```
public final class MemoryStorage: ShardStorage {
  /// What survives a crash.
  private struct Durable {
    var records: [Key: Stored] = [:]
    /// By partition, then by leaf: most partitions of a small store have nothing.
    var leaves: [PartitionID: [UInt32: Digest]] = [:]
    var expiries: Set<StorageSnapshot.Expiry> = []
    /// By minute, as `RequestMemory` keeps them.
    var requests: [UInt64: [RequestID: WallTime]] = [:]
    var lease: Lease?
    var hints: Set<StorageSnapshot.Hint> = []
    var marks: Set<StorageSnapshot.Mark> = []
    var gaps: [Gap.Part: Gap] = [:]
    var life: (number: UInt64, until: WallTime) = (0, WallTime(milliseconds: 0))
    var quarantined: [Key: EncodedRecord] = [:]
  }

  private enum Stored {
    case intact(StoredRecord)
    /// With what its leaf still has of it: what a scan of the leaf would find too much there.
    case damaged(EncodedRecord, Digest)

    var encoded: EncodedRecord {
      switch self {
      case .intact(let stored): stored.encoded
      case .damaged(let encoded, _): encoded
      }
    }

    var isDamaged: Bool { if case .damaged = self { true } else { false } }
  }

  /// A join not yet durable, and the batch that will make it so.
  private struct Unsynced {
    var record: Record
    var batch: UInt64
  }

  private struct Write {
    var key: Key
    var record: StoredRecord
    var delta: RecordDelta
  }

  private enum HintChange {
    case put(StorageSnapshot.Hint)
    case drop(StorageSnapshot.Hint)
    case mark(StorageSnapshot.Mark)
    case unmark(StorageSnapshot.Mark)
  }

  private struct Batch {
    var number: UInt64
    var writes: [Write] = []
    var lease: Lease?
    var hints: [HintChange] = []
    /// Of the last hint noted in it.
    var hintSequence: UInt64 = 0
    var gaps: [GapIndex.Write] = []
    /// Of the last gap noted in it.
    var gapSequence: UInt64 = 0
    var quarantined: [(key: Key, bytes: EncodedRecord)] = []
    var staleExpiries: [StorageSnapshot.Expiry] = []
    var answers: [StorageCompletion] = []

    var isEmpty: Bool { answers.isEmpty && writes.isEmpty && gaps.isEmpty }
  }

  public let geometry: ShardGeometry
  /// While true, nothing becomes durable before `sync()`; else `endTurn` makes it so.
  public var holdsSyncs = false
  /// The next sync fails with this, once, and the store is dead.
  public var nextSyncFails: StorageFault?
  /// Called when `collect` has something to give again.
  public var onResults: (() -> Void)?

  private var durable = Durable()
  private var unsynced: [Key: Unsynced] = [:]
  private var gathered = Batch(number: 1)
  /// Ended turns that wait for the sync, oldest first.
  private var handed: [Batch] = []
  private var done: [StorageCompletion] = []
  private var isDead = false
  private var hints: HintIndex
  /// Of the last hint that is synced.
  private var hintsSynced: UInt64 = 0
  private var gaps: GapIndex
  /// Of the last gap whose note is synced.
  private var gapsSynced: UInt64 = 0

  /// `hintKeysMax`: hints of keys; beyond it leaves are marked.
  public init(geometry: ShardGeometry, hintKeysMax: Int = 1_000_000) {
    self.geometry = geometry
    hints = HintIndex(keysMax: hintKeysMax)
    gaps = GapIndex(geometry, actor: nil)
  }

  public func submit(_ operation: StorageOperation, id: StorageID, results: inout [StorageCompletion]) {
    if isDead { return }
    switch operation {
    case .read(let key): results.append(StorageCompletion(id: id, result: read(key)))
    case .merge(let key, let change, let targets): merge(key, change, targets, id: id, results: &results)
    case .extendLease(let lease):
      gathered.lease = lease
      gathered.gaps += gaps.onLeased(lease.actor)
      gathered.answers.append(StorageCompletion(id: id, result: .leased))
    case .findRequest(let request, let key):
      results.append(StorageCompletion(id: id, result: find(request, key)))
    case .digests(let partition, let nodes):
      results.append(StorageCompletion(id: id, result: .digests(nodes.map { digest(of: $0, partition) })))
    case .roots(let partitions):
      results.append(StorageCompletion(id: id, result: .digests(partitions.map { digest(of: .root, $0) })))
    case .listLeaf(let place, after: let after, limit: let limit):
      results.append(StorageCompletion(id: id, result: .listed(list(place, after: after, limit: limit))))
    case .hint(let key, let targets):
      note(targets, key)
      gathered.answers.append(StorageCompletion(id: id, result: .synced))
    case .listHints(let target, let token, after: let after, limit: let limit):
      results.append(StorageCompletion(id: id, result: .hints(listHints(target, token, after, limit))))
    case .forgetHints(let target, let keys, let sequence):
      for key in hints.forget(target, keys, upTo: sequence) {
        gathered.hints.append(.drop(.init(target: target, key: key.bytes)))
      }
      gathered.answers.append(StorageCompletion(id: id, result: .synced))
    case .forgetMarks(let target, let partition, let sequence):
      for place in hints.forgetMarks(target, partition, upTo: sequence) {
        gathered.hints.append(.unmark(.init(target: target, place: place)))
      }
      gathered.answers.append(StorageCompletion(id: id, result: .synced))
    case .countHints: results.append(StorageCompletion(id: id, result: .census(hints.census(synced: hintsSynced))))
    case .keyDigests(let keys):
      results.append(StorageCompletion(id: id, result: .digests(keys.map { digest(of: $0) })))
    case .listExpired(let wall, after: let after, limit: let limit):
      results.append(StorageCompletion(id: id, result: .expired(listExpired(wall, after, limit))))
    case .rescan(let partition, from: let leaf, let bytesMax):
      results.append(StorageCompletion(id: id, result: .rescanned(rescan(partition, leaf, bytesMax))))
    case .listGaps: results.append(StorageCompletion(id: id, result: .gaps(gaps.census(synced: gapsSynced))))
    case .changeGaps(let changes):
      write(gaps.apply(changes))
      gathered.answers.append(StorageCompletion(id: id, result: .synced))
    case .scrub(after: let after, bytes: let bytes):
      results.append(StorageCompletion(id: id, result: .scrubbed(scrub(after: after, bytes: bytes))))
    }
  }

  private func rescan(_ partition: PartitionID, _ first: UInt32, _ bytesMax: Int) -> Rescan {
    var rescan = Rescan(nextLeaf: first, root: digest(of: .root, partition))
    let last = min(UInt32(1) << UInt32(geometry.leafBits), first &+ UInt32(Rescan.leavesMax))
    let filled = Set(durable.records.keys.map { LeafPlace(of: $0, geometry) }.filter { $0.partition == partition })
    while bytesMax > 0, let leaf = rescan.nextLeaf, leaf < last {
      // Empty leaves cost nothing.
      if rescan.bytes >= UInt64(bytesMax), filled.contains(where: { (leaf..<last).contains($0.leaf) }) { break }
      let place = LeafPlace(partition: partition, leaf: leaf)
      var (digest, isSound) = (Digest.zero, true)
      for (key, stored) in durable.records where LeafPlace(of: key, geometry) == place {
        let record: Record? = if case .intact(let stored) = stored { stored.record } else { nil }
        rescan.count(record, keyBytes: key.bytes.count, recordBytes: stored.encoded.bytes.count)
        if let record { digest.combine(record.digest(of: key, seed: geometry.digestSeed)) } else { isSound = false }
      }
      if isSound, digest != syncedLeaf(place) { rescan.differingLeaves += 1 }
      rescan.nextLeaf = leaf + 1
    }
    if rescan.nextLeaf == UInt32(1) << UInt32(geometry.leafBits) { rescan.nextLeaf = nil }
    return rescan
  }

  private func listExpired(_ wall: WallTime, _ after: ExpiryEntry?, _ limit: Int) -> ExpiredPage {
    let due = durable.expiries.filter { $0.at <= wall }
      .compactMap { entry in entry.key.withUnsafeBytes(Key.init(stored:)).map { ExpiryEntry(at: entry.at, key: $0) } }
      .filter { entry in after.map { $0 < entry } ?? true }.sorted()
    return ExpiredPage(entries: Array(due.prefix(limit)), isLast: due.count <= limit)
  }

  // MARK: Gaps

  private func write(_ writes: [GapIndex.Write]) {
    gathered.gaps += writes
    gathered.gapSequence = gaps.sequence
  }

  /// Puts a damaged record aside. One with a join under way is replaced by that.
  private func quarantine(_ key: Key) {
    guard case .damaged(let bytes, let digest)? = durable.records[key], unsynced[key] == nil else { return }
    var delta = RecordDelta(of: key, from: Record(), to: Record(), seed: geometry.digestSeed)
    if !planted(.leafNotRescanned) { delta.leaf = digest }
    gathered.writes.append(Write(key: key, record: .empty, delta: delta))
    gathered.quarantined.append((key, bytes))
    unsynced[key] = Unsynced(record: Record(), batch: gathered.number)
    let note = gaps.quarantine(key)
    if planted(.rebuildMarkUnsynced) { gathered.gapSequence = gaps.sequence } else { write([note]) }
  }

  private func quarantine(where isTouched: (Key) -> Bool) {
    for key in durable.records.filter({ $0.value.isDamaged && isTouched($0.key) }).keys.sorted() { quarantine(key) }
  }

  private func scrub(after: Key?, bytes: Int) -> ScrubPage {
    let keys = durable.records.keys.filter { key in after.map { $0 < key } ?? true }.sorted()
    var read = 0
    for key in keys {
      quarantine(key)
      read += key.bytes.count + (durable.records[key]?.encoded.bytes.count ?? 0)
      if read >= bytes { return ScrubPage(last: key, bytes: read) }
    }
    return ScrubPage(last: nil, bytes: read)
  }

  private func digest(of key: Key) -> Digest {
    quarantine(key)
    guard case .intact(let stored)? = durable.records[key] else { return .zero }
    return stored.record.digest(of: key, seed: geometry.digestSeed)
  }

  private func note(_ targets: [NodeID], _ key: Key) {
    for target in targets {
      switch hints.note(target, key, LeafPlace(of: key, geometry)) {
      case .key: gathered.hints.append(.put(.init(target: target, key: key.bytes)))
      case .mark(let place): gathered.hints.append(.mark(.init(target: target, place: place)))
      case .nothing: break
      }
    }
    gathered.hintSequence = hints.sequence
  }

  private func listHints(_ target: NodeID, _ token: Token, _ after: Key?, _ limit: Int) -> HintPage {
    let keys = durable.hints.filter { $0.target == target }
      .compactMap { hint in hint.key.withUnsafeBytes(Key.init(stored:)) }
      .filter { key in key.token >= token && after.map { $0 < key } ?? true }.sorted()
    let entries = keys.prefix(limit).map { key in
      quarantine(key)
      guard case .intact(let stored)? = durable.records[key], !gaps.isOpen(key) else {
        return HintOffer.Entry(key: key, digest: .zero, bytes: 0)
      }
      let digest = stored.record.digest(of: key, seed: geometry.digestSeed)
      return HintOffer.Entry(key: key, digest: digest, bytes: UInt32(stored.encoded.bytes.count))
    }
    return HintPage(entries: Array(entries), isLast: keys.count <= limit, sequence: hintsSynced)
  }

  private func digest(of node: TreeNode, _ partition: PartitionID) -> Digest {
    guard let leaves = durable.leaves[partition] else { return .zero }
    var digest = Digest.zero
    for leaf in node.leaves(leafBits: geometry.leafBits) { if let known = leaves[leaf] { digest.combine(known) } }
    return digest
  }

  private func list(_ place: LeafPlace, after: Key?, limit: Int) -> LeafPage {
    quarantine { LeafPlace(of: $0, geometry) == place }
    let keys = durable.records.keys.filter { key in
      LeafPlace(of: key, geometry) == place && after.map { $0 < key } ?? true
    }.sorted()
    let entries = keys.prefix(limit).map { key in
      switch durable.records[key] {
      case .intact(let stored)?:
        LeafPage.Entry(key: key, digest: stored.record.digest(of: key, seed: geometry.digestSeed))
      case .damaged?, nil: LeafPage.Entry(key: key, digest: .zero)
      }
    }
    return LeafPage(entries: Array(entries), isLast: keys.count <= limit)
  }

  public func endTurn(results: inout [StorageCompletion]) {
    if isDead { return }
    if !gathered.isEmpty {
      handed.append(gathered)
      gathered = Batch(number: gathered.number + 1)
    }
    if !holdsSyncs { makeDurable(results: &results) }
  }

  public func collect(results: inout [StorageCompletion]) {
    results.append(contentsOf: done)
    done.removeAll()
  }

  /// Ended turns that wait for `sync()`.
  public var handedCount: Int { isDead ? 0 : handed.count }
  public var awaitsSync: Bool { handedCount > 0 }

  /// Makes ended turns durable: all, or the `count` oldest. The answers come through `collect`.
  public func sync(oldest count: Int = .max) {
    let wasEmpty = done.isEmpty
    makeDurable(oldest: count, results: &done)
    if wasEmpty, !done.isEmpty { onResults?() }
  }

  /// The store as a power cut leaves it: what was synced, and nothing of the process. Of what was not synced the log
  /// may hold a beginning, whole batches from the oldest on: `keeping` so many.
  public func crash(keeping count: Int = 0) -> MemoryStorage {
    let survivor = MemoryStorage(geometry: geometry, hintKeysMax: hints.keysMax)
    survivor.durable = durable
    var unheard: [StorageCompletion] = []
    for batch in handed.prefix(count) { survivor.apply(batch, results: &unheard) }
    survivor.hintsSynced = 0
    for hint in survivor.durable.hints {
      if let key = hint.key.withUnsafeBytes(Key.init(stored:)) { survivor.hints.load(hint.target, key) }
    }
    for mark in survivor.durable.marks { survivor.hints.load(mark.target, mark.place) }
    survivor.gaps = GapIndex(geometry, actor: survivor.durable.lease?.actor)
    survivor.gapsSynced = 0
    survivor.gaps.load(life: survivor.durable.life.number, until: survivor.durable.life.until)
    for gap in survivor.durable.gaps.values { survivor.gaps.load(gap) }
    return survivor
  }

  public var recoveredLease: Lease? { durable.lease }

  /// The digest of a leaf over what is durable.
  public func syncedLeaf(_ place: LeafPlace) -> Digest { durable.leaves[place.partition]?[place.leaf] ?? .zero }

  /// Flips a bit of a stored record; false when there is none.
  public func damage(_ key: Key, byte: Int) -> Bool {
    guard let stored = durable.records[key] else { return false }
    var bytes = stored.encoded.bytes
    bytes[byte % bytes.count] ^= 1
    let digest =
      switch stored {
      case .intact(let whole): whole.record.digest(of: key, seed: geometry.digestSeed)
      case .damaged(_, let digest): digest
      }
    durable.records[key] = .damaged(EncodedRecord(unverified: bytes), digest)
    return true
  }

  /// All that is durable.
  public func snapshot() -> StorageSnapshot {
    var result = StorageSnapshot()
    result.records = durable.records.map { StorageSnapshot.Entry(key: $0.key.bytes, record: $0.value.encoded) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    for (partition, leaves) in durable.leaves {
      result.leaves += leaves.map {
        StorageSnapshot.Leaf(place: LeafPlace(partition: partition, leaf: $0.key), digest: $0.value)
      }
    }
    result.leaves.sort { $0.place < $1.place }
    result.expiries = durable.expiries.sorted()
    result.requests = durable.requests.values.joined().map { RequestMemory.Entry(id: $0.key, until: $0.value) }.sorted()
    result.lease = durable.lease
    result.hints = durable.hints.sorted()
    result.marks = durable.marks.sorted()
    result.gaps = durable.gaps.values.sorted { $0.part < $1.part }
    result.quarantined = durable.quarantined.map { .init(key: $0.key.bytes, record: $0.value) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    return result
  }

  /// Versions that had been swept and got their bytes back. Never: in a join swept wins.
  public private(set) var unsweptVersions = 0

  private func countUnswept(_ write: Write) {
    guard case .intact(let old)? = durable.records[write.key] else { return }
    for version in old.record.versions where version.content == .swept {
      let new = write.record.record.versions.first { $0.dot == version.dot }
      if let new, new.content != .swept { unsweptVersions += 1 }
    }
  }

  /// What of `snapshot` is asked for often.
  public var durableHints: Set<StorageSnapshot.Hint> { durable.hints }
  public var durableMarks: Set<StorageSnapshot.Mark> { durable.marks }

  /// Forgets the request ids of minutes that are over.
  public func forgetRequests(at wall: WallTime) {
    durable.requests = durable.requests.filter { $0.key >= RequestMemory.minute(of: wall) }
  }

  private func read(_ key: Key) -> StorageResult {
    if planted(.unsyncedReadable), let entry = unsynced[key] { return .record(EncodedRecord(entry.record)) }
    quarantine(key)
    if durable.records[key]?.isDamaged == true { return .unreadable }
    let encoded = durable.records[key]?.encoded ?? .empty
    return gaps.isOpen(key) ? .incomplete(encoded) : .record(encoded)
  }

  private func find(_ request: RequestID, _ key: Key) -> StorageResult {
    quarantine(key)
    if gaps.isOpen(key) { return .unreadable }
    switch durable.records[key] {
    case .damaged: return .unreadable
    case .intact(let stored) where stored.record.versions.contains(where: { $0.requestID == request }):
      return .request(seen: true)
    case nil, .intact: return .request(seen: durable.requests.values.contains { $0[request] != nil })
    }
  }

  private func merge(
    _ key: Key, _ change: Change, _ targets: [NodeID], id: StorageID, results: inout [StorageCompletion]
  ) {
    quarantine(key)
    if case .mint(let mint) = change, !gaps.mayMint(key, as: mint.dot.actor) {
      results.append(StorageCompletion(id: id, result: .unreadable))
      return
    }
    let current = current(key)
    switch Merge.step(change, onto: current, hasGap: gaps.isOpen(key), id: id, results: &results) {
    case .changed(let stored):
      note(targets, key)
      gather(key, from: current, to: stored, id: id)
    case .unchanged:
      if let at = change.staleExpiry(of: current) {
        gathered.staleExpiries.append(.init(at: at, key: key.bytes))
      } else if targets.isEmpty {
        return acknowledgeUnchanged(key, id: id, results: &results)
      } else {
        note(targets, key)
      }
      gathered.answers.append(StorageCompletion(id: id, result: .synced))
    case .refused: break
    }
  }

  /// The newest state of a key, unsynced joins included.
  private func current(_ key: Key) -> Record {
    if let entry = unsynced[key] { return entry.record }
    guard case .intact(let stored)? = durable.records[key] else { return Record() }
    return stored.record
  }

  private func gather(_ key: Key, from old: Record, to new: StoredRecord, id: StorageID) {
    let delta = RecordDelta(of: key, from: old, to: new.record, seed: geometry.digestSeed)
    gathered.writes.append(Write(key: key, record: new, delta: delta))
    gathered.answers.append(StorageCompletion(id: id, result: .synced))
    unsynced[key] = Unsynced(record: new.record, batch: gathered.number)
  }

  private func acknowledgeUnchanged(_ key: Key, id: StorageID, results: inout [StorageCompletion]) {
    let answer = StorageCompletion(id: id, result: .synced)
    guard let entry = unsynced[key] else {
      results.append(answer)
      return
    }
    if let waiting = handed.firstIndex(where: { $0.number == entry.batch }) {
      handed[waiting].answers.append(answer)
    } else {
      gathered.answers.append(answer)
    }
  }

  private func makeDurable(oldest count: Int = .max, results: inout [StorageCompletion]) {
    if isDead || handed.isEmpty { return }
    if let fault = nextSyncFails {
      isDead = true
      let id = handed.lazy.flatMap(\.answers).first?.id ?? StorageID(raw: 0)
      results.append(StorageCompletion(id: id, result: .failed(fault)))
      return
    }
    for batch in handed.prefix(count) { apply(batch, results: &results) }
    handed.removeFirst(min(count, handed.count))
  }

  private func apply(_ batch: Batch, results: inout [StorageCompletion]) {
    // Before the writes of the same batch: an entry that one of them brings is not stale.
    durable.expiries.subtract(batch.staleExpiries)
    for write in batch.writes {
      countUnswept(write)
      durable.records[write.key] = write.record.encoded.isEmpty ? nil : .intact(write.record)
      let place = LeafPlace(of: write.key, geometry)
      durable.leaves[place.partition, default: [:]][place.leaf, default: .zero].combine(write.delta.leaf)
      for at in write.delta.expiriesDropped { durable.expiries.remove(.init(at: at, key: write.key.bytes)) }
      for at in write.delta.expiriesAdded { durable.expiries.insert(.init(at: at, key: write.key.bytes)) }
      for entry in write.delta.requestsReplaced {
        durable.requests[RequestMemory.minute(of: entry.until), default: [:]][entry.id] = entry.until
      }
      if unsynced[write.key]?.batch == batch.number { unsynced[write.key] = nil }
    }
    if let lease = batch.lease { durable.lease = lease }
    for change in batch.hints { apply(change) }
    for change in batch.gaps { apply(change) }
    for (key, bytes) in batch.quarantined { durable.quarantined[key] = bytes }
    gapsSynced = max(gapsSynced, batch.gapSequence)
    hintsSynced = max(hintsSynced, batch.hintSequence)
    results.append(contentsOf: batch.answers)
  }

  private func apply(_ change: GapIndex.Write) {
    switch change {
    case .put(let gap): durable.gaps[gap.part] = gap
    case .remove(let part): durable.gaps[part] = nil
    case .forgotten(let life, let until): durable.life = (life, until)
    }
  }

  private func apply(_ change: HintChange) {
    switch change {
    case .put(let hint): durable.hints.insert(hint)
    case .drop(let hint): durable.hints.remove(hint)
    case .mark(let mark): durable.marks.insert(mark)
    case .unmark(let mark): durable.marks.remove(mark)
    }
  }
}
