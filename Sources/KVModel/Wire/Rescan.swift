/// What an owner has found by reading some leaves of its copy of a partition again, all of one moment.
///
/// | size | field |
/// |---|---|
/// | 4 | the leaf to go on at; all ones after the last |
/// | 16 | digest of the root of the whole partition's tree, when this was answered |
/// | 4 | leaves whose digest is not that of their data |
/// | 8, 8 | keys, and bytes of their storage keys and records |
/// | 8 | of them, records that are damaged |
/// | 8, 8 | tombstones, and the bytes that they cost |
/// | 8, 8 | versions whose bytes were dropped after their expiry, and what they still cost |
public struct Rescan: Hashable, Sendable {
  /// Nil after the partition's last leaf.
  public var nextLeaf: UInt32?
  public var root: Digest
  /// 0, or tree and data have drifted apart (HAZARDS.md row 13). A leaf with a damaged record is not counted: what it
  /// should be is not known.
  public var differingLeaves: UInt32 = 0
  public var keys: UInt64 = 0
  public var bytes: UInt64 = 0
  public var damaged: UInt64 = 0
  public var tombstones = Dead()
  public var swept = Dead()

  /// Versions that no reader sees any more.
  public struct Dead: Hashable, Sendable {
    public var versions: UInt64 = 0
    /// Their entries in records; and where a key has nothing else, all of its record and storage key.
    public var bytes: UInt64 = 0

    public init() {}

    public init(versions: UInt64, bytes: UInt64) {
      self.versions = versions
      self.bytes = bytes
    }
  }

  public init(nextLeaf: UInt32? = nil, root: Digest = .zero) {
    self.nextLeaf = nextLeaf
    self.root = root
  }

  /// Bytes that are read for one answer, at most: what a node can read in a fraction of a second.
  public static let bytesMax = 8 << 20
  /// Leaves of one answer, at most.
  public static let leavesMax = 1_024

  /// Counts a stored record of a key; nil when it is damaged.
  public mutating func count(_ record: Record?, keyBytes: Int, recordBytes: Int) {
    keys += 1
    bytes += UInt64(keyBytes + recordBytes)
    guard let record else {
      damaged += 1
      return
    }
    for version in record.versions {
      switch version.content {
      case .value: break
      case .tombstone: tombstones.add(bytes: EncodedRecord.versionBytes)
      case .swept: swept.add(bytes: EncodedRecord.versionBytes)
      }
    }
    let isDead = record.versions.allSatisfy { if case .value = $0.content { false } else { true } }
    guard isDead, let newest = record.newestFirst.first else { return }
    let rest = UInt64(keyBytes + recordBytes - record.versions.count * EncodedRecord.versionBytes)
    if newest.content == .swept { swept.bytes += rest } else { tombstones.bytes += rest }
  }

  /// The sum of two answers about the same copy; the later one's root and place.
  public mutating func add(_ next: Rescan) {
    nextLeaf = next.nextLeaf
    root = next.root
    differingLeaves += next.differingLeaves
    keys += next.keys
    bytes += next.bytes
    damaged += next.damaged
    tombstones.add(next.tombstones)
    swept.add(next.swept)
  }
}

extension Rescan.Dead {
  mutating func add(bytes: Int) {
    versions += 1
    self.bytes += UInt64(bytes)
  }

  public mutating func add(_ other: Rescan.Dead) {
    versions += other.versions
    bytes += other.bytes
  }
}

extension Rescan {
  public func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: nextLeaf ?? .max)
    root.encode(into: &bytes)
    bytes.append(integer: differingLeaves)
    for number in [
      keys, self.bytes, damaged, tombstones.versions, tombstones.bytes, swept.versions, swept.bytes,
    ] { bytes.append(integer: number) }
  }

  public init(from reader: inout ByteReader) throws(DecodeError) {
    let next = try reader.u32()
    self.init(nextLeaf: next == .max ? nil : next, root: try Digest(from: &reader))
    differingLeaves = try reader.u32()
    keys = try reader.u64()
    bytes = try reader.u64()
    damaged = try reader.u64()
    tombstones = Dead(versions: try reader.u64(), bytes: try reader.u64())
    swept = Dead(versions: try reader.u64(), bytes: try reader.u64())
  }
}
