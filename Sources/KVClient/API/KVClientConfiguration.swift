internal import KVModel

/// How a `KVClient` finds its cluster, how long it takes for a call, and how hard it tries.
///
/// Only `endpoints` has to be given; every other value has a default that suits a cluster in one data centre.
public struct KVClientConfiguration: Hashable, Sendable {
  /// Some nodes of the cluster, `host:port`; the client learns of the others from the layout.
  public var endpoints: [String]
  /// The most that a call takes in all, unless it says otherwise: queueing, connecting, retries, and the cluster's work.
  public var deadline: Duration = .seconds(1)
  /// The most that one connection takes to be made and greeted, when the call's deadline leaves more.
  public var connectTimeout: Duration = .milliseconds(500)
  /// Calls in flight; a call beyond them fails at once with `overloaded`.
  public var callsInFlightMax = 16_384
  /// Bytes of values in flight; a call beyond them fails at once with `overloaded`.
  public var bytesInFlightMax = 256 << 20
  /// The zone that this client runs in, as the layout names it: reads prefer its nodes. Nil: no preference.
  public var zone: String?
  /// What nodes show for this client in their logs.
  public var agent = "ringkv-swift/1"

  /// Attempts of one call, the first one included; 1 means no retries.
  public var attemptsMax = 4
  /// The wait before the first retry is drawn between zero and this, before the second between zero and twice this, …
  public var retryWaitBase: Duration = .milliseconds(10)
  /// … and never above this.
  public var retryWaitMax: Duration = .milliseconds(250)
  /// In the long run, retries for a hundred calls: a cluster in trouble is not given much more to do.
  public var retryBudgetPercent = 20
  /// Retries that may be saved up for a bad moment: when a node dies, what it had in flight is tried elsewhere.
  public var retryBurstMax = 1_000
  /// Hedges for a hundred reads: a read that takes longer than 95 % of them is asked of a second owner too, and the
  /// first answer counts. 0 means none.
  public var hedgeBudgetPercent = 10

  /// A connection on which an answer is awaited and nothing came for so long is asked for a sign of life.
  public var pingAfter: Duration = .milliseconds(200)
  /// After so long without a byte, or a sign of life, the connection counts as lost.
  public var silenceMax: Duration = .milliseconds(600)

  /// How long a call waits for a `run()` that was started beside it and has not come to run yet. Then it fails.
  package var startGrace: Duration = .milliseconds(250)
  /// Whether calls go to the owners of their keys, as the layout names them. Otherwise to the endpoints and no other
  /// node: for tests that choose the coordinator.
  package var followsLayout = true
  /// How long a call waits for its first answer before it asks another node beside; nil: half of its deadline.
  package var patience: Duration?

  /// A configuration with every default.
  public init(endpoints: [String]) { self.endpoints = endpoints }
}

extension KVClientConfiguration {
  var retryPolicy: RetryPolicy {
    RetryPolicy(attemptsMax: max(1, attemptsMax), base: Span64(retryWaitBase), most: Span64(retryWaitMax))
  }

  var retryBudget: TokenBudget {
    TokenBudget(percent: retryBudgetPercent, burst: retryBurstMax, saved: retryBurstMax)
  }

  /// Little is saved up: a hedge is for the slow one of twenty, not for the moment in which all are slow.
  var hedgeBudget: TokenBudget {
    TokenBudget(percent: hedgeBudgetPercent, burst: hedgeBudgetPercent > 0 ? 10 : 0, saved: 0)
  }

  var heartbeat: Heartbeat { Heartbeat(pingAfter: Span64(pingAfter), lostAfter: Span64(silenceMax)) }
}
