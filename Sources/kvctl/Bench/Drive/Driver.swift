import KVModel
import KVNet

/// Drives load over one event loop: `users` that each do one operation after the other, over lanes to every node.
///
/// ```
///   generator ─► user ─► router ─► lane of that node ─► wire ─► socket        a user whose operation failed pauses
///                  ▲                                              │           until the next tick, so that errors do
///                  └──── latency, by kind ◄── reply, in place ────┘           not become a busy loop
/// ```
///
/// There are lanes × depth users, so in a closed loop so many requests are always under way; in an open loop the pacer
/// says when the next user begins. Per operation there is no task, no closure and no timer: a user is a struct in an
/// array, named by the id of its request.
///
/// Everything but the entry points of `Driver+Entry.swift` is confined to the loop.
final class Driver: @unchecked Sendable {
  struct Options: Sendable {
    /// The addresses of each node of the run, and its name.
    var nodes: [(name: String, addresses: [SocketAddress])]
    var router: Router
    var lanes: Int
    var depth: Int
    /// Batches are for a single node: the next key's node may be the one that waits.
    var refill: LanePool.Refill
    var keySize: Int
    var values: ValuePool
    /// How long a request may take.
    var timeoutNs: UInt64
    var connectLimitNs: UInt64
    /// This driver's number among `drivers`.
    var number: Int
    var drivers: Int
    var seed: UInt64
  }

  /// The read that a write follows, in a read-modify-write.
  struct Replaced {
    var context: ContextToken?
    var wasFound: Bool
  }

  struct User {
    enum State {
      case free
      case reading
      case writing(wasFound: Bool?)
    }

    var state = State.free
    var operation = Operation(kind: .read, record: 0)
    /// What latency counts from.
    var start: UInt64 = 0
    var sentAt: UInt64 = 0
    var lane = 0
    /// Rises with each request, so that a late reply finds nobody.
    var use: UInt32 = 0
  }

  let loop: EventLoop
  let options: Options
  let makeWire: @Sendable () -> any BenchWire
  private(set) var lanes: [BenchLane] = []
  var pools: [LanePool]
  var users: [User]
  var free: [Int] = []
  var paused: [Int] = []

  var random: PRNG
  let keys: KeyMaker
  var key: [UInt8] = []

  var run: StageRun?
  var progress = BenchProgress()
  var ended: ((BenchTally) -> Void)?
  var connected: ((BenchReach) -> Void)?
  private var connectUntil: UInt64 = 0
  private var timers: TimerClient?
  /// Rings when the next operation of an open loop is due.
  private var alarm: Alarm?
  /// How much later than due it rings, ns.
  private var alarmDelayNs: UInt64 = 0
  private var ticks: UInt64 = 0

  /// A tick: pauses end, broken lanes are looked after, what is overdue is given up.
  private static let tickNs: UInt64 = 10_000_000
  /// Each wake costs more than an operation. So operations that are due more often than `alonePeriodNs` wait so long for
  /// a reply to wake the loop, or for the next one, and begin together; their latencies count from when they were due.
  private static let togetherNs: UInt64 = 100_000
  private static let alonePeriodNs: Double = 200_000

  init(_ options: Options, makeWire: @escaping @Sendable () -> any BenchWire) throws(SystemError) {
    self.options = options
    self.makeWire = makeWire
    // It rests in epoll, not in Dispatch, whose wake costs as much as an operation.
    loop = try EventLoop(
      label: "kvctl.bench.\(options.number)", lingerMilliseconds: Int32(Driver.tickNs / 1_000_000))
    pools = options.nodes.map { _ in LanePool(depth: options.depth, refill: options.refill) }
    users = [User](repeating: User(), count: options.lanes * options.depth)
    random = PRNG(seed: options.seed &+ UInt64(options.number))
    keys = KeyMaker(size: options.keySize)
  }

  // MARK: Lanes

  /// Makes every lane; lanes are dealt to the nodes in turn, over all drivers.
  func open() {
    connectUntil = BenchClock.now() + options.connectLimitNs
    let first = options.number * options.lanes
    lanes = (0..<options.lanes).map { index in
      let node = (first + index) % options.nodes.count
      return BenchLane(index, node: node, options.nodes[node].addresses, self)
    }
    timers = loop.makeTimerClient(self)
    onTimer(0)
  }

  func close() {
    for lane in lanes { lane.close() }
    if let timers { loop.removeTimerClient(timers) }
    endPacing()
  }

  // MARK: Pace

  /// The loop's own timers have a tick of a millisecond, which would stand in every latency. `rate`: this driver's own
  /// operations a second.
  func beginPacing(_ rate: Double) {
    endPacing()
    alarmDelayNs = 1e9 / rate < Driver.alonePeriodNs ? Driver.togetherNs : 0
    // Without a descriptor for it operations begin at ticks, late, and their latencies say so.
    alarm = try? Alarm(on: loop) { [unowned self] in pump(BenchClock.now()) }
  }

  func endPacing() {
    alarm?.close()
    alarm = nil
  }

  /// Pumps when the next operation is due.
  func wait(until due: UInt64) { alarm?.set(at: due + alarmDelayNs) }

  func onReady(_ lane: BenchLane) {
    pools[lane.node].add(lane.index)
    reportConnected()
  }

  func onLeaving(_ lane: BenchLane) { pools[lane.node].remove(lane.index) }

  /// A lane is gone, and what it carried with it.
  func onLost(_ lane: BenchLane, _ fault: BenchFault, _ now: UInt64) {
    pools[lane.node].remove(lane.index)
    for user in users.indices where users[user].lane == lane.index && users[user].isBusy {
      onFailed(user, fault, now)
    }
    reportConnected()
  }

  func reconnectWait(_ backoff: inout Backoff) -> UInt64 {
    backoff.nextMilliseconds(random: random.next()) * 1_000_000
  }

  /// Tells who asked for the lanes, once each is made or has failed.
  private func reportConnected() {
    guard let connected, lanes.allSatisfy(\.isSettled) || BenchClock.now() >= connectUntil else { return }
    self.connected = nil
    var reach = BenchReach()
    for lane in lanes {
      let name = options.nodes[lane.node].name
      if pools[lane.node].isReady {
        reach.reached.insert(name)
      } else {
        reach.faults[name] = lane.lastFault ?? BenchFault("unreachable", "no answer in time")
      }
    }
    connected(reach)
  }
}

extension Driver: TimerHandler {
  func onTimer(_ token: UInt64) {
    let now = BenchClock.now()
    ticks += 1
    for lane in lanes { lane.onTick(now, connectLimit: options.connectLimitNs) }
    if ticks % 10 == 0 { giveUpOverdue(now) }
    free.append(contentsOf: paused)
    paused.removeAll(keepingCapacity: true)
    reportConnected()
    pump(now)
    if let timers { loop.schedule(at: now + Driver.tickNs, 0, for: timers) }
  }

  /// A node answers by the deadline that it is told; one that says nothing is not waited for any longer. The connection
  /// goes with the request, since replies may come in order.
  private func giveUpOverdue(_ now: UInt64) {
    let limit = options.timeoutNs + options.timeoutNs / 4
    let late = Set(users.filter { $0.isBusy && now > $0.sentAt &+ limit }.map(\.lane))
    for lane in late.sorted() {
      lanes[lane].fail(BenchFault("timed_out", "no answer within the timeout"), now)
    }
  }
}

extension Driver.User {
  var isBusy: Bool { if case .free = state { false } else { true } }
}
