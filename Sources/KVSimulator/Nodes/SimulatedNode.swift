import KVCore
import KVModel

/// One node: what is on its disks, and, while it runs, its machines.
final class SimulatedNode {
  enum Condition {
    case running
    /// As by SIGSTOP: what arrives waits.
    case paused
    case stopped
  }

  let index: Int
  /// Changes when the disks are wiped.
  var id: NodeID
  var name: String { "n\(index + 1)" }

  // On disk.
  /// Synced.
  var state: NodeState
  var disks: [SimulatedDisk]

  // While it runs.
  var condition = Condition.stopped
  /// Counts starts, so that what was meant for an earlier process is told apart.
  var incarnation: UInt32 = 0
  var control = Control()
  var shards: [Shard]
  var clock: SimulatedClock
  var chatter = Chatter()
  /// What arrived during a pause, oldest first.
  var waiting: [Simulation.Event] = []
  /// By peer.
  var links: [SimulatedLink]
  /// Requests of clients under way here, by `ClientRef.connection` (the client's place); each has one at most.
  var requests: [Int: UInt64] = [:]

  /// Slow disk: syncs take so many times as long.
  var syncFactor: UInt64 = 1
  /// How the next sync ends.
  var nextSyncFault: StorageFault?
  /// The disk is full: syncs fail, and the node does not start.
  var isDiskFull = false
  /// Of the disk in use, percent.
  var diskPercent: UInt64 = 50
  /// The machines have been told that only the reserve is left.
  var isReserveAnnounced = false
  /// Requests of clients that came to this node, an owner, since then, by the client's place.
  var reserveRequests: [Int: (request: UInt64, isPut: Bool)] = [:]
  /// Stays down after the faults: no part of the healed core.
  var isLeftOut = false
  /// Its disks were wiped: it is no member any more.
  var isStranger = false
  /// No member: it must serve nobody any more.
  var takesNoPart: Bool { isStranger }
  /// Copies of its disks, by the fault that will put them back.
  var images: [Int: (state: NodeState, disks: [SimulatedDisk])] = [:]
  /// The `life` of the image that it was put back to; it has caught up when it has begun another and has no gaps.
  var livesFrom: UInt64?
  /// Highest stamp of a peer's write that a shard accepted, for the clock's checker.
  var acceptedStamp: [Stamp]
  /// Fresh versions that peers sent, until it is known whether they were let in.
  var offered: [Offer: (stamp: Stamp, shard: Int)] = [:]

  /// What it has sent by itself.
  struct Chatter {
    /// Messages.
    var gossip: UInt64 = 0
    /// Questions that begin an exchange, or go on with it.
    var comparisons: UInt64 = 0
  }

  struct Offer: Hashable {
    var peer: Int
    var operation: UInt64
  }

  init(index: Int, id: NodeID, shards count: Int, disks: [SimulatedDisk], clock: SimulatedClock, peers: Int) {
    self.index = index
    self.id = id
    self.disks = disks
    self.clock = clock
    state = NodeState(id: id, shards: count)
    shards = Array(repeating: Shard(), count: count)
    links = Array(repeating: SimulatedLink(), count: peers)
    acceptedStamp = Array(repeating: .zero, count: count)
  }

  var isUp: Bool { condition != .stopped }

  var areDisksIdle: Bool { disks.allSatisfy { !$0.isSyncing && !$0.wantsSync && !$0.wantsReads } }
}

/// A node's end of its connection to a peer, as it knows it.
struct SimulatedLink {
  var isUp = false
  /// The connection that this end uses, or used last; counts up.
  var connection: UInt32 = 0
  /// Ended, as this end was told: a notice that an older one is up comes too late.
  var endedConnection: UInt32 = 0
  /// The peer's process at the other end.
  var peerIncarnation: UInt32 = 0
  var peerClock = PeerClock()
}
