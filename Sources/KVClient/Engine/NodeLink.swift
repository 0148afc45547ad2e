internal import KVModel
internal import KVNet
internal import Logging

/// The one connection to a node: connected on demand, greeted, multiplexed, made anew when it is lost.
///
/// ```
/// closed ──connect──► connecting ──WELCOME──► up ──GOAWAY──► leaving
///    ▲                     │                   │                │
///    └─── refused, late ───┴── lost, silent ───┴── lost, empty ─┘
/// ```
///
/// After a loss or a failed connect the breaker says when the next connect is due: doubling waits, ±20 %.
final class NodeLink {
  /// What a WELCOME told.
  struct Greeting {
    var welcome: Welcome
    /// The node's monotonic milliseconds less ours.
    var clockOffsetMs: Int64
  }

  enum State {
    case closed
    /// The address is looked up, the connection is made, the greeting is out. `attempt` tells a late timer from ours.
    case connecting(attempt: UInt32, Connection?, helloAt: Instant?)
    case up(Connection, Greeting)
    /// The node takes nothing new; what is open ends first.
    case leaving(Connection, Greeting)
  }

  let address: Address
  /// Its place among the engine's links.
  let number: UInt32
  unowned let engine: ClientEngine
  /// The member that the layout expects here.
  var member: Member?
  /// It is in the client's own zone.
  var isNear = false
  var state = State.closed
  var breaker = Breaker()
  var heartbeat: Heartbeat
  var isHeartbeatArmed = false
  /// Since when an answer has been awaited without a break.
  var awaitedSince: Instant?
  /// Attempts that wait for the connection.
  var waiting: [Attempt] = []
  /// Addresses of the host that the current attempt to connect has still to try.
  var untried: [SocketAddress] = []
  /// Attempts that were sent and have not ended.
  var sentCount = 0
  /// Attempts to connect.
  var connects: UInt32 = 0

  /// The longest body of a reply: a record with all of its siblings.
  static let replyBytesMax = Limits.recordBytesMax + (64 << 10)

  init(_ address: Address, _ engine: ClientEngine, number: UInt32) {
    self.address = address
    self.number = number
    self.engine = engine
    heartbeat = engine.configuration.heartbeat
  }

  /// Requests that wait for this node.
  var inFlight: Int { sentCount + waiting.count }

  /// For people.
  var name: String { member?.name ?? address.description }

  /// The node at the other end.
  var node: NodeID? { greeting?.welcome.node }

  var greeting: Greeting? {
    switch state {
    case .up(_, let greeting), .leaving(_, let greeting): greeting
    case .closed, .connecting: nil
    }
  }

  var connection: Connection? {
    switch state {
    case .closed: nil
    case .connecting(_, let connection, _): connection
    case .up(let connection, _), .leaving(let connection, _): connection
    }
  }

  /// Whether a call of `cluster` can be sent right now; `.none` is any cluster.
  func isUp(for cluster: ClusterID) -> Bool {
    if case .up(_, let greeting) = state { NodeLink.fits(greeting, cluster) } else { false }
  }

  /// Neither connected nor connecting.
  var isIdle: Bool { if case .closed = state { true } else { false } }

  /// How fit it is to take a call of `cluster`.
  func standing(for cluster: ClusterID, at now: Instant) -> RouteChoice.Standing {
    switch state {
    case .up(_, let greeting):
      guard NodeLink.fits(greeting, cluster) else { return .unfit }
      return breaker.admits(at: now) ? .up : .avoided
    case .closed, .connecting: return breaker.admits(at: now) ? .fresh : .avoided
    case .leaving: return .unfit
    }
  }

  static func fits(_ greeting: Greeting, _ cluster: ClusterID) -> Bool {
    greeting.welcome.cluster != .none && (cluster == .none || greeting.welcome.cluster == cluster)
  }
}
