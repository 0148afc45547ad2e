/// How a `KVClient` finds its cluster and how long it takes for a call.
public struct KVClientConfiguration: Hashable, Sendable {
  /// Some nodes of the cluster, `host:port`; the client learns of the others from the layout.
  public var endpoints: [String]
  /// The most that a call takes in all, unless it says otherwise: queueing, connecting, and the cluster's work.
  public var deadline: Duration = .seconds(1)
  /// The most that one connection takes to be made and greeted, when the call's deadline leaves more.
  public var connectTimeout: Duration = .milliseconds(500)
  /// Calls in flight; a call beyond them fails at once with `overloaded`.
  public var callsInFlightMax = 16_384
  /// Bytes of values in flight; a call beyond them fails at once with `overloaded`.
  public var bytesInFlightMax = 256 << 20
  /// How long a call waits for a `run()` that was started beside it and has not come to run yet. Then it fails.
  package var startGrace: Duration = .milliseconds(250)
  /// Whether calls go to the owners of their keys, as the layout names them. Otherwise to the endpoints and no other
  /// node: for tests that choose the coordinator.
  package var followsLayout = true
  /// What nodes show for this client in their logs.
  public var agent = "ringkv-swift/1"

  public init(endpoints: [String]) { self.endpoints = endpoints }
}
