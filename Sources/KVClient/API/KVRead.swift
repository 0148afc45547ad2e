package import KVModel

/// One of the concurrent versions of a key.
public struct KVVersion: Hashable, Sendable {
  /// nil: deleted or expired.
  public var value: [UInt8]?
  /// When it was written by the clock of the node that took the write, milliseconds since 1970.
  public var writtenAtMs: UInt64
  /// When it expires, milliseconds since 1970; nil = never.
  public var expiresAtMs: UInt64?

  /// A version, for those who make a ``KVStore`` of their own.
  public init(value: [UInt8]?, writtenAtMs: UInt64, expiresAtMs: UInt64? = nil) {
    self.value = value
    self.writtenAtMs = writtenAtMs
    self.expiresAtMs = expiresAtMs
  }
}

/// A key that has a value.
public struct KVRead: Hashable, Sendable {
  /// The newest version that is alive.
  public var value: [UInt8]
  /// Every concurrent version, newest first; more than one after writes that did not know of each other.
  public var versions: [KVVersion]
  /// For the write that replaces what was read.
  public var context: KVContext

  /// A read, for those who make a ``KVStore`` of their own.
  public init(value: [UInt8], versions: [KVVersion], context: KVContext) {
    self.value = value
    self.versions = versions
    self.context = context
  }
}

/// What a read found, the absence of a key included.
public struct KVState: Hashable, Sendable {
  /// nil: the key is absent.
  public var value: [UInt8]?
  /// Every concurrent version, newest first; empty when the key was never written.
  public var versions: [KVVersion]
  /// For the write that replaces what was read; there is one for an absent key too.
  public var context: KVContext

  /// A state, for those who make a ``KVStore`` of their own.
  public init(value: [UInt8]?, versions: [KVVersion], context: KVContext) {
    self.value = value
    self.versions = versions
    self.context = context
  }
}

/// What an acknowledged write brought about.
public struct KVReceipt: Hashable, Sendable {
  /// Covers the write and what it replaced, and nothing that its author has not seen: for the next write. Versions of
  /// others may lie beside all the same, see `siblings`. Nil when no context can leave those out; then read first.
  public var context: KVContext?
  /// The write's time by the clock of the node that took it, milliseconds since 1970.
  public var writtenAtMs: UInt64
  /// Owners on which it is durable.
  public var acknowledgements: Int
  /// Owners that were missed and will be told later.
  public var hints: Int
  /// Whether versions of others lie beside it.
  public var siblings: Siblings
  /// An earlier attempt of the call had been applied, and its retry found it.
  public var wasFound: Bool

  /// Whether other versions lay beside a write at the owners that acknowledged it, when they did.
  ///
  /// Of two acknowledged writes of a key of which neither replaced the other, at most one is told `absent`, so that at
  /// least one of their authors knows that there is something to merge. The other one's author hears of it by a read.
  public enum Siblings: String, Hashable, Sendable {
    /// A majority of the owners acknowledged the write, and none of them held another version.
    case absent
    /// At least one of them held another version: a read shows it, at the latest when its own write is acknowledged.
    case present
    /// Fewer than a majority acknowledged and saw none; or the write was found applied, and nobody looked.
    case unknown
  }

  /// A receipt, for those who make a ``KVStore`` of their own.
  public init(
    context: KVContext?, writtenAtMs: UInt64, acknowledgements: Int, hints: Int, siblings: Siblings = .unknown,
    wasFound: Bool = false
  ) {
    self.context = context
    self.writtenAtMs = writtenAtMs
    self.acknowledgements = acknowledgements
    self.hints = hints
    self.siblings = siblings
    self.wasFound = wasFound
  }
}

extension KVState {
  /// Takes a node's answer, after each value was held against its checksum.
  package init(_ answer: ReadAnswer) throws(KVError) {
    versions = []
    versions.reserveCapacity(answer.siblings.count)
    for sibling in answer.siblings {
      if let value = sibling.value, Checksum.of(value) != sibling.checksum {
        throw KVError(.checksumMismatch, "a value came back other than its writer sent it; the read can be repeated")
      }
      versions.append(
        KVVersion(
          value: sibling.value?.copied, writtenAtMs: sibling.stamp.wall.milliseconds,
          expiresAtMs: sibling.expiry?.milliseconds))
    }
    value = answer.value
    context = KVContext(answer.context)
  }
}

extension KVReceipt {
  package init(_ receipt: Receipt) {
    self.init(
      context: receipt.context.map { KVContext($0) }, writtenAtMs: receipt.stamp.wall.milliseconds,
      acknowledgements: Int(receipt.acknowledgements), hints: Int(receipt.hints),
      siblings: Siblings(receipt.siblings), wasFound: receipt.wasFound)
  }
}

extension KVReceipt.Siblings {
  fileprivate init(_ siblings: Receipt.Siblings) {
    switch siblings {
    case .absent: self = .absent
    case .present: self = .present
    case .unknown: self = .unknown
    }
  }
}
