import KVCore
import KVModel
import KVStorage

/// What the node shows of itself at one moment. The node fills it; `families` gives it the names that the world sees.
public struct NodeMetrics: Sendable {
  public var release = Release.version
  public var name: String
  public var zone: String
  public var layoutVersion: UInt32 = 0
  public var isReady = false
  public var uptimeMs: UInt64 = 0
  /// Since the partition that waits longest was compared with another owner; nil while one never was.
  public var repairAgeMs: UInt64?
  /// Whether a write is synced before it is acknowledged.
  public var syncs = true
  /// By shard index.
  public var shards: [ShardMetrics] = []
  public var clients = Traffic()
  public var peers = Traffic()
  /// Connections that were turned away or ended by this node, by reason.
  public var refusals: [Tally] = []
  /// Requests that were refused because of a limit, by the limit.
  public var overloads: [Tally] = []
  /// Frames of clients that flood, by the turn in which they were handled.
  public var floodFrames: [Tally] = []
  /// Answers to clients that were failures, by code.
  public var failures: [Tally] = []
  public var peersUp: UInt64 = 0
  public var peersKnown: UInt64 = 0
  public var disk = Disk()
  public var gossip = GossipCounters()
  /// Of the layout's members, as gossip knows them: by state. And how many of them live by another layout.
  public var members: [MemberEntry.State: UInt64] = [:]
  public var membersWithOtherLayout: UInt64 = 0

  public init(name: String, zone: String) {
    self.name = name
    self.zone = zone
  }

  /// Connections of one kind and what goes over them.
  public struct Traffic: Equatable, Sendable {
    public var connections: UInt64 = 0
    /// Of them, those whose HELLO has not come yet.
    public var greeting: UInt64 = 0
    public var accepted: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var bytesOut: UInt64 = 0
    /// Unfinished frames and what waits to be sent, now.
    public var inputBytes: UInt64 = 0
    public var outputBytes: UInt64 = 0

    public init() {}
  }

  /// How often something happened for one reason.
  public struct Tally: Equatable, Sendable {
    public var reason: String
    public var count: UInt64

    public init(_ reason: String, _ count: UInt64) {
      self.reason = reason
      self.count = count
    }
  }

  /// The file system of the data directory.
  public struct Disk: Equatable, Sendable {
    public var usedBytes: UInt64 = 0
    /// What this process may still write.
    public var freeBytes: UInt64 = 0
    public var totalBytes: UInt64 = 0
    /// Clients' values are refused.
    public var isNearlyFull = false

    public init() {}
  }

  /// What one shard's loop says of itself.
  public struct ShardMetrics: Sendable {
    public var counters: ShardCounters
    public var requestsInFlight = 0
    public var requestBytesInFlight = 0
    /// What waits for owners that missed it.
    public var hints = HintCensus()
    public var gaps = GapCensus()
    /// That this shard has a copy of, and those that lack nothing.
    public var partitions: (whole: Int, owned: Int) = (0, 0)
    /// Parts of its copy that stay unread until somebody accepts the loss.
    public var partsBeyondQuorum = 0
    /// Answered writes that wait to hear from their last owners.
    public var lagging = 0
    /// How long the oldest expired bytes have been due to be dropped.
    public var sweepLagMs: UInt64 = 0
    /// Nanoseconds that its loop was busy.
    public var busyNs: UInt64 = 0
    /// nil until the shard is open.
    public var storage: StorageMetrics?
    public var estimates: RocksDBStorage.Estimates?
    /// Bytes of table files in each of `RingShares`; empty before they were first measured.
    public var shareBytes: [UInt64] = []

    public init(counters: ShardCounters) { self.counters = counters }
  }
}

extension NodeMetrics {
  /// Some 400 series, and four for each shard; none for a key, a partition or a client.
  public var families: [MetricFamily] {
    nodeFamilies + gossipFamilies + requestFamilies + eventFamilies + hintFamilies + rebuildFamilies
      + networkFamilies + shardFamilies
      + StorageFamilies.families(shards)
  }

  /// The sum over all shards.
  func sum(_ value: (ShardMetrics) -> UInt64) -> UInt64 { shards.reduce(0) { $0 &+ value($1) } }
}
