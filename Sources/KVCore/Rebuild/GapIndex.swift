import KVModel

/// The gaps of a store in memory: what every store asks before it answers for its records. Newest state, what is not yet
/// synced included, since a copy that has lost something must not speak from the moment when that is known.
public struct GapIndex: Sendable {
  private struct Entry: Sendable {
    var gap: Gap
    var sequence: UInt64
  }

  /// What of the index is to be written.
  public enum Write: Equatable, Sendable {
    case put(Gap)
    case remove(Gap.Part)
    case forgotten(life: UInt64, until: WallTime)
  }

  private var partitions: [PartitionID: Entry] = [:]
  private var keys: [Key: Entry] = [:]
  private let partitionBits: Int
  /// Who mints, as far as the store has seen: the actor of the last lease.
  private var actor: Actor?
  /// The last loss of the whole memory that was noted.
  public private(set) var life: UInt64 = 0
  /// Request ids from before are not known, until then.
  public private(set) var forgetfulUntil = WallTime(milliseconds: 0)
  /// Counts what was noted.
  public private(set) var sequence: UInt64 = 0
  private var quarantined: UInt64 = 0
  private var filesDropped: UInt64 = 0

  public init(_ geometry: ShardGeometry, actor: Actor?) {
    partitionBits = geometry.partitionBits
    self.actor = actor
  }

  /// There is nothing to ask: the usual case, and the cheap one.
  public var isEmpty: Bool { partitions.isEmpty && keys.isEmpty }

  // MARK: Asked before an answer

  /// The copy of the key may lack something.
  public func isOpen(_ key: Key) -> Bool {
    if isEmpty || planted(.rebuildServesEarly) { return false }
    return keys[key]?.gap.isOpen ?? false
      || partitions[key.token.partition(bits: partitionBits)]?.gap.isOpen ?? false
  }

  /// The whole copy of a partition may lack something.
  public func isOpen(_ partition: PartitionID) -> Bool { partitions[partition]?.gap.isOpen ?? false }

  /// Whether a version may be minted onto what is here.
  public func mayMint(_ key: Key, as actor: Actor) -> Bool {
    if isEmpty || planted(.quarantinedMints) { return true }
    let entries = [keys[key], partitions[key.token.partition(bits: partitionBits)]]
    return entries.allSatisfy { entry in entry.map { !$0.gap.isOpen && $0.gap.barred != actor } ?? true }
  }

  // MARK: Changed

  /// A part has lost something, now: whatever was pulled into it before does not count.
  public mutating func note(_ part: Gap.Part, needsRescan: Bool = false) -> Write {
    sequence += 1
    let gap = Gap(part: part, barred: actor, needsRescan: needsRescan)
    self[part] = Entry(gap: gap, sequence: sequence)
    return .put(gap)
  }

  /// A partition has lost what follows from its records, and none of them. One that has lost records too stays open.
  public mutating func noteDerived(_ partition: PartitionID) -> Write {
    sequence += 1
    var gap = Gap(part: .partition(partition), barred: nil, needsRescan: true, hasRecords: true)
    if let known = partitions[partition]?.gap {
      gap = known
      gap.needsRescan = true
      // A closed one waits for another actor, and still has to when the scan is done.
      if !known.isOpen { (gap.isOpen, gap.hasRecords) = (true, true) }
    }
    partitions[partition] = Entry(gap: gap, sequence: sequence)
    return .put(gap)
  }

  /// A damaged record was put aside.
  public mutating func quarantine(_ key: Key) -> Write {
    quarantined += 1
    return note(.key(key))
  }

  public mutating func onFilesDropped(_ count: Int) { filesDropped += UInt64(count) }

  public mutating func apply(_ changes: [GapChange]) -> [Write] {
    var writes: [Write] = []
    for change in changes {
      switch change {
      case .note(let part):
        if self[part].map({ !$0.gap.isOpen || $0.gap.hasRecords }) ?? true { writes.append(note(part)) }
      case .pulled(let part, let sequence, let node, let isWhole):
        guard var entry = self[part], entry.sequence == sequence, entry.gap.isOpen else { continue }
        entry.gap.pulled.removeAll { $0 == node }
        entry.gap.partly.removeAll { $0 == node }
        if isWhole { entry.gap.pulled.append(node) } else { entry.gap.partly.append(node) }
        entry.gap.pulled.sort()
        entry.gap.partly.sort()
        self[part] = entry
        writes.append(.put(entry.gap))
      case .close(let part, let sequence):
        guard let entry = self[part], entry.sequence == sequence, entry.gap.isOpen else { continue }
        writes.append(close(entry))
      case .forgotten(let life, let until, let partitions):
        if life <= self.life { continue }
        (self.life, forgetfulUntil) = (life, until)
        writes.append(.forgotten(life: life, until: until))
        for partition in partitions { writes.append(note(.partition(partition))) }
      }
    }
    return writes
  }

  private mutating func close(_ entry: Entry) -> Write {
    var entry = entry
    guard let barred = entry.gap.barred, barred == actor else {
      self[entry.gap.part] = nil
      return .remove(entry.gap.part)
    }
    entry.gap.isOpen = false
    entry.gap.pulled = []
    entry.gap.partly = []
    self[entry.gap.part] = entry
    return .put(entry.gap)
  }

  /// The leaves of a partition agree with its data again.
  public mutating func onRescanned(_ partition: PartitionID) -> Write? {
    guard var entry = partitions[partition], entry.gap.needsRescan else { return nil }
    entry.gap.needsRescan = false
    // It is ready when the leaves are synced that go with this.
    sequence += 1
    entry.sequence = sequence
    if entry.gap.hasRecords {
      entry.gap.hasRecords = false
      return close(entry)
    }
    partitions[partition] = entry
    return .put(entry.gap)
  }

  /// From now on this actor mints: closed gaps that were waiting for one go.
  public mutating func onLeased(_ actor: Actor) -> [Write] {
    if self.actor == actor { return [] }
    self.actor = actor
    let gone = entries.map(\.gap).filter { !$0.isOpen && $0.barred != actor }
    for gap in gone { self[gap.part] = nil }
    return gone.map { .remove($0.part) }
  }

  // MARK: What an earlier start left

  public mutating func load(_ gap: Gap) { self[gap.part] = Entry(gap: gap, sequence: 0) }

  public mutating func load(life: UInt64, until: WallTime) { (self.life, forgetfulUntil) = (life, until) }

  // MARK: Counted

  /// By part.
  private var entries: [Entry] {
    partitions.values.sorted { $0.gap.part < $1.gap.part } + keys.values.sorted { $0.gap.part < $1.gap.part }
  }

  public var gaps: [Gap] { entries.map(\.gap) }

  /// Partitions that were noted to be scanned again.
  public var partitionsToRescan: [PartitionID] {
    partitions.filter { $0.value.gap.needsRescan }.keys.sorted()
  }

  /// All that is noted; `synced` is the sequence of what is synced.
  public func census(synced: UInt64) -> GapCensus {
    var census = GapCensus()
    census.quarantined = quarantined
    census.filesDropped = filesDropped
    census.forgetfulUntil = forgetfulUntil
    for entry in entries {
      if entry.gap.isOpen {
        let isReady = entry.sequence <= synced && !entry.gap.needsRescan
        census.open.append(.init(gap: entry.gap, sequence: entry.sequence, isReady: isReady))
      } else if let barred = entry.gap.barred, !census.barred.contains(barred) {
        census.barred.append(barred)
      }
    }
    return census
  }

  private subscript(part: Gap.Part) -> Entry? {
    get {
      switch part {
      case .partition(let partition): partitions[partition]
      case .key(let key): keys[key]
      }
    }
    set {
      switch part {
      case .partition(let partition): partitions[partition] = newValue
      case .key(let key): keys[key] = newValue
      }
    }
  }
}
