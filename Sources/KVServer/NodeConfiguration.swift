import KVCore
import KVModel
import KVStorage

/// Everything that a node is told from outside. `kvnode` makes it from its file, its environment and its flags, and
/// has checked it whole.
public struct NodeConfiguration: Sendable {
  /// What all nodes must agree on. Used by `kvctl cluster init`; afterwards the layout rules.
  public var cluster = ClusterSettings()
  /// What people call this node; unique in the cluster.
  public var name: String
  public var zone = "default"
  /// The machine; two nodes with one label never hold copies of one partition. The node's name unless set.
  public var host: String?
  /// In hundredths: 100 is weight 1.0.
  public var weight: UInt16 = 100
  public var dataDirectory: String
  /// S, fixed when the data directory is made.
  public var shards = 1
  public var clientListen: Address
  public var peerListen: Address
  public var adminListen: Address
  /// Where others reach this node, when that differs from where it listens.
  public var clientAdvertise: Address?
  public var peerAdvertise: Address?
  /// Peer addresses of nodes that a node without a cluster asks for theirs.
  public var seeds: [Address] = []
  public var limits = Limits()
  /// How often each shard compares a partition with another owner, milliseconds.
  public var exchangeIntervalMs: UInt64 = 100
  /// Hints that this node keeps for owners that missed something, keys; beyond it Merkle leaves are marked. A million
  /// take 30 MB of memory and their keys on the disk, and cover what 24 minutes of 700 writes a second leave.
  public var hintKeysMax = 1_000_000
  /// What other nodes may hand to this one of what it missed, keys or 4 KiB of them a second.
  public var handoffRate = 12_000
  /// Keys a second whose expired bytes are dropped; 0 = never. And how long after their expiry, milliseconds.
  public var sweepRate = 10_000
  public var sweepMarginMs: UInt64 = Sweep.marginDefault.milliseconds
  /// What pulls into this node's own copies may bring, bytes a second; 0 = no limit.
  public var pullBytesPerSecond = 16 << 20
  /// What the walk for damage that nobody reads looks at, bytes a second; 0 = none.
  public var scrubBytesPerSecond = 4 << 20
  /// And how often a round of it begins at most, milliseconds.
  public var scrubIntervalMs: UInt64 = 3_600_000
  public var storage = StorageOptions()

  /// Bounds on what others can make this node hold.
  public struct Limits: Sendable, Equatable {
    /// Client connections, HELLO done or not.
    public var connections = 10_000
    /// Of them, from one address; 0 = as many as there are.
    public var connectionsPerAddress = 0
    /// Connections of the peer port, HELLO done or not.
    public var peerConnections = 4_096
    /// Connections whose HELLO has not come yet, of each of the two ports.
    public var connectionsBeforeHello = 256
    /// Connections that have been told why they end, and flush that, on each shard.
    public var closingConnections = 256
    /// A connection that has not said HELLO by then is closed.
    public var helloTimeoutMs: UInt64 = 5_000
    /// A frame that began must be there whole by then.
    public var frameTimeoutMs: UInt64 = 30_000
    /// A client that has been silent for so long is asked whether it is still there (TCP keep-alive).
    public var idleProbeMs: UInt64 = 60_000
    /// Frames that a loop takes in a turn, divided among the clients that are active.
    public var framesPerTurn = 16
    /// Requests under way on one connection.
    public var requestsPerConnection = 1_024
    /// Bytes of requests under way and of unread replies, on one connection.
    public var bytesPerConnection = 8 << 20
    /// Bytes of requests under way, of unfinished frames and of unread replies, on the node.
    public var bytesInFlight = 256 << 20
    /// Bytes that wait to be sent to one peer; above it the link is made anew.
    public var peerBacklogBytes = 256 << 20
    /// Connections of the admin port, and how long one may last.
    public var adminConnections = 64
    public var adminTimeoutMs: UInt64 = 10_000
    /// Deadline of a request that names none, milliseconds.
    public var defaultDeadlineMs: UInt64 = 5_000
    /// Of the data directory's file system in use, from which on clients' values are refused, percent; 100 = never.
    public var diskPercent = 95
    /// On SIGTERM: how long to wait for what is under way, milliseconds.
    public var drainMs: UInt64 = 3_000

    public init() {}
  }

  public init(
    name: String, dataDirectory: String, clientListen: Address, peerListen: Address, adminListen: Address
  ) {
    self.name = name
    self.dataDirectory = dataDirectory
    self.clientListen = clientListen
    self.peerListen = peerListen
    self.adminListen = adminListen
  }
}
