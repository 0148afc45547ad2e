/// The causal object of one key: what was ever seen of it (`context`) and the versions that nothing seen replaces.
///
/// A dotted version vector set (Preguiça et al., "Dotted Version Vectors", 2010; Almeida et al., DAIS 2014):
///
/// ```
///            a:1 ──► a:2 ──┐                    context {a:2 b:1}
///             │            ├── concurrent  ⇒    versions [a:2, b:1]
///             └────► b:1 ──┘
/// ```
///
/// The join of two records keeps a version that both have, or that one has and the other has not seen. It is
/// commutative, associative and idempotent, and a version leaves only when a context covers its dot.
public struct Record: Hashable, Sendable {
  /// Invariant: covers the dot of every version.
  public private(set) var context: VersionVector
  /// Invariant: strictly ascending by dot.
  public private(set) var versions: [Version]

  /// The record of a key that was never written.
  public init() {
    context = VersionVector()
    versions = []
  }

  /// A record from its parts; `versions` in any order, each dot once.
  public init(context: VersionVector, versions: [Version]) {
    self.context = context
    self.versions = versions.sorted { $0.dot < $1.dot }
    for version in versions { self.context.add(version.dot) }
  }

  init(canonicalContext context: VersionVector, versions: [Version]) {
    self.context = context
    self.versions = versions
  }

  public var isEmpty: Bool { context.isEmpty }

  /// Merges another replica's state of the same key.
  public mutating func join(_ other: Record) {
    if other.isEmpty { return }
    if isEmpty {
      self = other
      return
    }
    var kept: [Version] = []
    kept.reserveCapacity(versions.count + other.versions.count)
    var mine = versions[...]
    var theirs = other.versions[...]
    while let a = mine.first, let b = theirs.first {
      if a.dot == b.dot {
        kept.append(Record.settle(a, b))
        mine.removeFirst()
        theirs.removeFirst()
      } else if a.dot < b.dot {
        if !other.context.covers(a.dot) { kept.append(a) }
        mine.removeFirst()
      } else {
        if !context.covers(b.dot) { kept.append(b) }
        theirs.removeFirst()
      }
    }
    kept.append(contentsOf: mine.filter { !other.context.covers($0.dot) })
    kept.append(contentsOf: theirs.filter { !context.covers($0.dot) })
    versions = kept
    context.join(other.context)
  }

  public func joined(_ other: Record) -> Record {
    var result = self
    result.join(other)
    return result
  }

  /// One dot, one value, for ever; the only difference that two copies may have is that one was swept, and swept wins.
  private static func settle(_ a: Version, _ b: Version) -> Version { a.yields(to: b) ? b : a }

  /// Adds a freshly minted version that replaces what `superseding` covers; the rest stays beside it as siblings.
  public mutating func add(_ version: Version, superseding: VersionVector) {
    invariant(!context.covers(version.dot) && !superseding.covers(version.dot), "dot \(version.dot) minted twice")
    versions.removeAll { superseding.covers($0.dot) }
    context.join(superseding)
    context.add(version.dot)
    let place = versions.firstIndex { version.dot < $0.dot } ?? versions.count
    versions.insert(version, at: place)
  }

  /// Drops the bytes of the values that expired by `wall`. The digest does not change.
  public mutating func sweep(at wall: WallTime) {
    for index in versions.indices {
      if case .value = versions[index].content, versions[index].isExpired(at: wall) { versions[index].content = .swept }
    }
  }

  /// The versions, newest first by (stamp, dot): the order in which users see siblings.
  public var newestFirst: [Version] {
    versions.count < 2 ? versions : versions.sorted { Version.isNewer($0, than: $1) }
  }

  /// The highest stamp of any version. Since a version's stamp exceeds those that it superseded, nothing that the
  /// context covers was stamped later.
  public var highestStamp: Stamp { versions.reduce(.zero) { max($0, $1.stamp) } }

  public var valueBytes: Int { versions.reduce(0) { $0 + $1.valueBytes } }

  /// What `other` holds and this record has not seen, nil when it has seen all: what an acknowledgement names, so that
  /// an overwrite can supersede it.
  public func beside(in other: Record) -> Beside? {
    let missing = other.versions.contains { !context.covers($0.dot) }
    return missing ? Beside(history: other.context, stamp: other.highestStamp) : nil
  }
}

extension Record {
  /// The digest of this state of `key`, keyed by `seed`, over a frozen encoding of its logical content: context, then
  /// for each version dot, stamp, expiry, tombstone or not, request id, checksum. A swept value counts as the value.
  ///
  /// The encoding never changes, whatever the stored revision, so that mixed releases agree (HAZARDS.md rows 14, 52).
  public func digest(of key: Key, seed: UInt64) -> Digest {
    if isEmpty { return .zero }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(key.bytes.count + 8 + context.entries.count * 20 + versions.count * 64)
    bytes.append(integer: UInt16(key.bytes.count))
    bytes.append(contentsOf: key.bytes)
    context.encode(into: &bytes)
    for version in versions {
      bytes.append(integer: version.dot.actor.node.value)
      bytes.append(integer: version.dot.actor.epoch)
      bytes.append(
        fields: (
          version.dot.counter.littleEndian, version.stamp.bits.littleEndian,
          (version.expiry?.milliseconds ?? 0).littleEndian
        ))
      bytes.append(bool: version.isTombstone)
      version.requestID.encode(into: &bytes)
      bytes.append(integer: version.checksum)
    }
    return Digest.of(bytes, seed: seed)
  }
}
