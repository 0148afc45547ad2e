import KVModel

/// What `Control` starts from.
public struct ControlRecovery: Equatable, Sendable {
  /// The state of this start, already synced.
  public var state: NodeState
  /// This node as a member: name, addresses, zone, host, weight.
  public var member: Member
  /// What this node's configuration says that all must agree on; used until there is a layout.
  public var settings: ClusterSettings
  public var syncs: Bool
  public var release: String
  /// Of the disk in use, from which on clients' values are refused; 100 = never.
  public var diskLimitPercent = 95
  /// Layouts whose preference lists are known already: they cost milliseconds to work out. The simulator's nodes share
  /// them.
  public var placed: [ClusterView.LiveLayout] = []
  /// The one source of randomness.
  public var seed: UInt64 = 0
  /// For how long no rival may have been heard of before a node whose data went back in time begins anew.
  public var rivalSilence = Span64.seconds(10)
  /// Where a node without a cluster asks for one: peer addresses.
  public var seeds: [Address] = []

  public init(state: NodeState, member: Member, settings: ClusterSettings, syncs: Bool, release: String) {
    self.state = state
    self.member = member
    self.settings = settings
    self.syncs = syncs
    self.release = release
  }
}

extension Control {
  /// What happens to the node.
  public enum Input: Equatable, Sendable {
    /// First of all.
    case recovered(ControlRecovery)
    case request(ClientRequest, from: ClientRef)
    /// The state of the last `persist` is synced.
    case persisted
    case linkChanged(NodeID, isUp: Bool)
    /// A node with another id answers at a member's address.
    case linkRefused(NodeID, Refusal)
    /// A peer of `cluster` dialled this node expecting `node`.
    case mistaken(for: NodeID, of: ClusterID)
    /// A peer's word.
    case message(ControlMessage, from: NodeID)
    /// What a seed has told, which is `node`; nothing when it belongs to no cluster.
    case visited(Visit?, from: NodeID, at: Address)
    /// A seed has refused to say anything.
    case visitRefused(Refusal, at: Address)
    /// The time that a `schedule` asked for has come.
    case timer
    /// What the shell measured, and which linked peers are slow to answer.
    case measured(NodeDescription.Measurements, slow: [NodeID])
    /// The databases of all shards are open, and were made if they had to be.
    case shardsOpened
    /// A shard must not mint in this epoch any more.
    case renewEpoch(after: UInt32)
    /// A shard has met dots of its own, in a peer's record, that it has not minted.
    case wentBack(saysPeer: NodeID)
    /// The process is asked to end.
    case drain
    /// Everything that was under way has ended.
    case drained
  }

  /// What `Control` wants done, in this order.
  public enum Effect: Equatable, Sendable {
    case respond(ClientResponse, to: ClientRef)
    /// Sync this state, then answer with `.persisted`.
    case persist(NodeState)
    /// To a peer that is linked; lost without a word when it is not.
    case send(ControlMessage, to: NodeID)
    /// Ask whoever listens there which cluster it belongs to; answer with `.visited` or `.visitRefused`, or not at all.
    case visit(Address)
    /// Answer with `.timer` then.
    case schedule(at: Instant)
    /// The shards, the links and the handshakes live by this from now on.
    case publish(ClusterView)
    /// Who lives, and where the members are; replaces what was said before.
    case liveness(Liveness)
    case note(Event)
    /// The clean stop is on disk: the process may end.
    case exit
  }

  /// What people may want to know; goes to the log.
  public enum Event: Equatable, Sendable {
    case peerUp(NodeID, name: String)
    case peerUnreachable(NodeID, name: String)
    case peerReplaced(NodeID, name: String, detail: String)
    case joined(ClusterID, layoutVersion: UInt32, members: Int)
    case settingsDiffer(configured: ClusterSettings, layout: ClusterSettings)
    /// This node's data directory is new, and a cluster expects another node here.
    case stranger(expected: NodeID, of: ClusterID)
    /// A majority of the layout has accepted this start.
    case confirmed(Generation)
    /// A peer knows of a start that this one does not descend from.
    case overtaken(by: Generation, saysPeer: String)
    /// A peer holds what this node has not minted.
    case wentBack(saysPeer: String)
    /// Nobody has heard of a rival: this node goes on as the successor of that start, and rebuilds all of its copies.
    case begunAnew(Generation, after: Generation)
    /// Clients' values are refused from now on, or taken again.
    case diskRoom(DiskRoom)
    /// This node knows of a later start of a peer than the one that claims to be it.
    case peerOvertaken(NodeID, name: String, claimed: Generation, known: Generation)
    /// What is known of a member has changed.
    case member(NodeID, name: String, MemberEntry.State)
    /// A member is reached at other addresses than before.
    case moved(NodeID, name: String, peerAddress: Address)
    /// A member lives by another layout than this node, or does so no more.
    case layout(NodeID, name: String, differs: Bool)
    /// Another process with this node's id is connected to a peer.
    case duplicate(saysPeer: String, detail: String)
    /// A seed has told this node, which belongs to no cluster, of one.
    case learnt(ClusterID, layoutVersion: UInt32, members: Int, from: Address)
    case seed(SeedFault, at: Address)
  }

  /// Why a seed is of no use.
  public enum SeedFault: Equatable, Sendable {
    /// It belongs to no cluster either.
    case hasNoCluster
    /// It is this node itself.
    case isSelf
    /// Of another cluster than this node, or than the seed that answered first.
    case otherCluster(ClusterID, own: ClusterID)
    case refused(Refusal)
  }
}
