import KVModel

/// A client's request on its connection, as the shell names it. Opaque to the core.
public struct ClientRef: Hashable, Sendable {
  public var connection: UInt64
  public var request: UInt64

  @inlinable
  public init(connection: UInt64, request: UInt64) {
    self.connection = connection
    self.request = request
  }
}

/// A timer of a machine; the machine ignores one that fires for something that has ended.
public struct TimerID: Hashable, Sendable {
  public var raw: UInt64

  @inlinable
  public init(raw: UInt64) { self.raw = raw }
}

/// What a shard starts from.
public struct ShardRecovery: Equatable, Sendable {
  public var identity: ShardIdentity
  /// Under which this start mints.
  public var actor: Actor
  /// The last lease that was synced, of whatever actor; nil in a new store.
  public var lease: Lease?
  public var settings: ShardSettings
  /// The one source of randomness.
  public var seed: UInt64

  public init(identity: ShardIdentity, actor: Actor, lease: Lease?, settings: ShardSettings, seed: UInt64) {
    self.identity = identity
    self.actor = actor
    self.lease = lease
    self.settings = settings
    self.seed = seed
  }
}

/// A shard's settings that are no part of the layout.
public struct ShardSettings: Equatable, Sendable {
  /// A longer record is answered by its digest first, bytes.
  public var inlineBytesMax: UInt32 = 4_096
  /// Operations under way before new ones are refused as overload.
  public var operationsMax = 16_384
  /// Reads and joins of this shard's copies under way before peers' are dropped or refused: what a few coordinators
  /// at their own bound can ask.
  public var replicaOperationsMax = 65_536
  /// Counters leased at a time.
  public var leaseSequences: UInt64 = 65_536
  /// How far ahead stamps are leased, milliseconds. Not above what a node may lead: what is leased counts as handed out
  /// after a crash.
  public var leaseStampMs: UInt64 = 200
  /// A read asks another owner no earlier and no later than this, whatever the observed p95.
  public var hedgeAfterMin = Span64.milliseconds(1)
  public var hedgeAfterMax = Span64.milliseconds(100)
  /// How often an exchange with another owner begins while there is nothing to catch up on; zero = never.
  public var exchangeInterval = Span64.milliseconds(100)
  /// Exchanges under way at once, and keys that each of them mends at once.
  public var exchangesMax = 2
  public var mendsMax = 16
  /// Pulls into gaps under way at once, and keys that each of them pulls at once: enough to hide the round trips.
  public var pullsMax = 4
  public var pullMendsMax = 32
  /// Bytes a second that pulls may bring to this shard; 0 = no limit.
  public var pullBytesPerSecond: UInt64 = 16 << 20
  /// Bytes a second that the walk for cold damage reads; 0 = none.
  public var scrubBytesPerSecond: UInt64 = 4 << 20
  /// A round of it begins no sooner after the one before began.
  public var scrubInterval = Span64.seconds(10)
  /// Other owners' questions about trees under way at once; further ones are dropped.
  public var treeQueriesMax = 64
  /// Peers pinged in one period.
  public var pingsMax = 8
  /// Whether owners that miss a write are noted, and get it when they are back.
  public var keepsHints = true
  /// Answered writes that wait to hear from their last owners; further ones get their hint at once.
  public var laggingWritesMax = 16_384
  /// Offers of hints under way at once; further ones are declined.
  public var offersMax = 64
  /// What all holders of hints together may hand to this shard, keys or 4 KiB a second. 240,000 keys are through in 20 s,
  /// and take a fifth of what a core can join.
  public var handoffUnitsPerSecond: UInt64 = 12_000
  /// Keys that one holder may have on their way.
  public var handoffPageKeys = 128
  /// Operations under way per step by which hints get dearer.
  public var handoffLoad = 256
  /// How often what expired is looked for; zero = never.
  public var sweepInterval = Span64.seconds(1)
  /// Bytes are dropped so long after their expiry, by this node's clock. See `Sweep`.
  public var sweepMargin = Sweep.marginDefault
  /// Keys swept a second while the shard has little else to do, and keys swept at once.
  public var sweepKeysPerSecond = 10_000
  public var sweepsMax = 16
  /// Period of the shard's clockwork: pings, hedge delay.
  public var tick = Span64.milliseconds(250)

  public init() {}
}

extension Shard {
  /// What happens to a shard.
  public enum Input: Equatable, Sendable {
    /// First of all; before it nothing is answered.
    case recovered(ShardRecovery)
    case view(ClusterView)
    case request(ClientRequest, from: ClientRef, deadline: Instant)
    /// The client no longer wants the answer, or is gone.
    case cancel(ClientRef)
    case message(PeerMessage, from: NodeID, Envelope)
    case linkChanged(NodeID, isUp: Bool)
    /// The peers that gossip takes for dead; replaces what was said before.
    case dead([NodeID])
    case stored(StorageResult, for: StorageID)
    case timer(TimerID)
  }

  /// What a shard wants done, in this order.
  public enum Effect: Equatable, Sendable {
    case respond(ClientResponse, to: ClientRef)
    case send(PeerMessage, to: NodeID, Envelope)
    case store(StorageOperation, StorageID)
    case schedule(TimerID, at: Instant)
    case note(Event)
    /// Parts of the copy have lost dots of this epoch: another one is wanted to mint under. Answered by a `view`.
    case renewEpoch(after: UInt32)
    /// A peer holds dots that this node has not minted: its data went back in time. The shard takes no part from now on.
    /// Answered by a `view` of another life.
    case wentBack(saysPeer: NodeID)
    /// Nothing is acknowledged any more; the process ends with this message.
    case halt(String)
  }

  /// What goes with a message: the operation that it concerns, at the asker's, and when the asker stops waiting.
  public struct Envelope: Hashable, Sendable {
    public var operation: UInt64
    public var deadline: Instant

    @inlinable
    public init(operation: UInt64, deadline: Instant) {
      self.operation = operation
      self.deadline = deadline
    }
  }

  /// What people may want to know; goes to the log.
  public enum Event: Equatable, Sendable {
    /// A stored record does not agree with its checksums, or the disk does not give it back.
    case damagedRecord(PartitionID)
    /// Damaged records were put aside.
    case quarantined(records: UInt64)
    /// This node's copy has gaps: whole partitions, single keys.
    case rebuildBegins(partitions: Int, keys: Int)
    /// It has none any more.
    case rebuilt(records: UInt64, bytes: UInt64, after: Span64)
    /// Who runs the cluster has said that what is left of these parts has to do.
    case lossAccepted(PartitionID, parts: Int)
    /// A peer sent a record that cannot be decoded.
    case malformedRecord(from: NodeID)
    /// A stamp lies ahead of this node's clock by more than the bound.
    case clockSkew(from: NodeID, aheadMs: UInt64)
  }
}
