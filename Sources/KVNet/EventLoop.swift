import CLinux
import Dispatch
import Glibc

/// Fires for the timers of one `TimerClient`.
public protocol TimerHandler: AnyObject {
  /// A timer's time has come. A token that is no longer wanted is ignored here: that is how a timer is cancelled.
  func onTimer(_ token: UInt64)
}

/// Hears the end of each turn.
public protocol TurnObserver: AnyObject {
  /// All inputs of this turn are handled and the urgent connections flushed; what is written from here still leaves in
  /// this turn.
  func onTurnEnd()
}

/// What an epoll key stands for.
protocol Pollable: AnyObject {
  func onEvents(_ events: UInt32)
  func onLoopStopped()
}

/// One serial queue, one epoll set, and one Dispatch source that watches the set.
///
/// ```
///   Dispatch ──source fires──▶ visit: ┌▶ epoll_wait (≤ linger) ─▶ turn ─┐     nothing for `linger`: arm the
///      ▲                              └────────── something ◀──────────┘ ──▶ timerfd, return to Dispatch
///      └───────────────────────────────────────────────────────────────────────────┘
///
///   turn:  ready descriptors · mailbox · timers  →  flush urgent connections (peer links)
///          →  turn observers (storage takes its batch)  →  flush all dirty connections, once
/// ```
///
/// Why so: a source per connection costs three times the CPU (it re-arms the descriptor, asks FIONREAD and wakes a
/// worker at each event); staying in `epoll_wait` for a millisecond spares nearly all visits to Dispatch under load.
///
/// Everything but `execute`, `stop` and the resolver is confined to the loop's queue. Give it work with `execute`, not
/// with `queue.async`: a busy loop returns to Dispatch only every `turnsPerVisit` turns. A loop lives until `stop()`.
public final class EventLoop: @unchecked Sendable {
  public let label: String
  /// The serial queue that every callback of this loop runs on.
  public let queue: DispatchQueue
  /// How long a visit stays in `epoll_wait` with nothing to do.
  public let lingerMilliseconds: Int32
  /// `CLOCK_MONOTONIC` in nanoseconds, read once a turn. Loop only.
  public internal(set) var now: UInt64

  /// The scratch buffer into which every connection of this loop reads, bytes.
  public static let scratchBytes = 256 << 10
  static let turnsPerVisit = 4_096
  static let eventsPerTurn = 256
  static let wakeKey = UInt64.max
  static let timerKey = UInt64.max - 1

  // Descriptors. Epoll's is closed in the source's cancel handler; the eventfd lives as long as this object, since any
  // thread that holds it may still write to it.
  let epoll: Int32
  private let wakeEvent: Int32
  private let timer: Int32
  let source: any DispatchSourceRead

  let mailbox = Mailbox()
  var runningJobs: [Mailbox.Job] = []
  let events: UnsafeMutablePointer<epoll_event>
  let scratch: UnsafeMutableRawPointer

  // Who is registered.
  var pollables = SlotTable<any Pollable>()
  var timerClients = SlotTable<any TimerHandler>()
  var observers: [any TurnObserver] = []

  // Work of this turn. Each list has a twin to swap with, so that neither allocates once it is warm.
  var urgent: [Connection] = []
  var dirty: [Connection] = []
  var resumed: [Connection] = []
  var closed: [Connection] = []
  var batch: [Connection] = []

  var wheel: TimerWheel
  var fired: [TimerWheel.Firing] = []
  /// The timerfd's deadline; `UInt64.max` when it is not armed.
  private var armedAt = UInt64.max

  var isInTurn = false
  /// A wake is on its way that was asked for outside a turn.
  private var isPoked = false
  var isStopped = false
  private var isCancelled = false
  private var stopCompletions: [@Sendable () -> Void] = []
  private var wallCache: UInt64 = 0

  /// Turns taken since the start; for tests and metrics. Loop only.
  public internal(set) var turns: UInt64 = 0
  /// Visits from Dispatch since the start. Loop only.
  public internal(set) var visits: UInt64 = 0
  /// Nanoseconds spent in turns that had something to do, since the start: over time, how busy this loop is. Loop only.
  public internal(set) var busyNanoseconds: UInt64 = 0

  /// Makes a running loop.
  public init(label: String, lingerMilliseconds: Int32 = 1) throws(SystemError) {
    let descriptors = try LoopDescriptors()
    self.label = label
    self.lingerMilliseconds = max(0, lingerMilliseconds)
    epoll = descriptors.epoll
    wakeEvent = descriptors.wake
    timer = descriptors.timer
    queue = DispatchQueue(label: label)
    source = DispatchSource.makeReadSource(fileDescriptor: descriptors.epoll, queue: queue)
    events = .allocate(capacity: EventLoop.eventsPerTurn)
    scratch = .allocate(byteCount: EventLoop.scratchBytes, alignment: 64)
    now = Posix.nanoseconds(CLOCK_MONOTONIC)
    wheel = TimerWheel(now: now)
    source.setEventHandler { self.visit() }
    source.setCancelHandler { self.onCancelled() }
    source.activate()
  }

  deinit {
    Posix.close(wakeEvent)
    Posix.close(timer)
    events.deallocate()
    scratch.deallocate()
  }

  /// `CLOCK_REALTIME` in milliseconds, read at most once a turn. Loop only.
  public var wallMilliseconds: UInt64 {
    if wallCache == 0 { wallCache = Posix.nanoseconds(CLOCK_REALTIME) / 1_000_000 }
    return wallCache
  }

  func readClocks() {
    now = Posix.nanoseconds(CLOCK_MONOTONIC)
    wallCache = 0
  }

  // MARK: any thread

  /// Runs `job` on the loop, after all jobs that this thread gave it before. Never lost: after `stop` it still runs, on
  /// the bare queue.
  public func execute(_ job: @escaping @Sendable () -> Void) {
    post(.closure(job))
  }

  func post(_ job: Mailbox.Job) {
    switch mailbox.post(job) {
    case .nothing: break
    case .wake: Posix.signal(event: wakeEvent)
    case .run: queue.async { self.runLeftovers() }
    }
  }

  /// Closes every connection and listener (reason `.loopStopped`), then the loop itself; `completion` runs on the queue
  /// when no descriptor is watched any more. Idempotent.
  public func stop(_ completion: (@Sendable () -> Void)? = nil) {
    execute { self.onStop(completion) }
  }

  // MARK: loop only

  /// Traps in debug builds when the caller is not on the loop.
  @inlinable
  public func assertInLoop() {
    #if DEBUG
      dispatchPrecondition(condition: .onQueue(queue))
    #endif
  }

  /// Registers someone who has timers. The loop keeps `handler` until `removeTimerClient`.
  public func makeTimerClient(_ handler: any TimerHandler) -> TimerClient {
    assertInLoop()
    return TimerClient(key: timerClients.insert(handler))
  }

  /// Forgets a client; its timers that still wait fall silent.
  public func removeTimerClient(_ client: TimerClient) {
    assertInLoop()
    timerClients.remove(client.key)
  }

  /// Fires `token` for `client` at `deadline` on the clock of `now`: never before, normally within 1 ms after.
  /// O(1), without an allocation of its own; see `TimerWheel` for what stands in for cancelling.
  public func schedule(at deadlineNanoseconds: UInt64, _ token: UInt64, for client: TimerClient) {
    assertInLoop()
    wheel.insert(at: deadlineNanoseconds, client: client.key, token: token)
    requestTurn()
  }

  /// Adds an observer, after those that are there. The loop keeps it until `removeTurnObserver`.
  public func addTurnObserver(_ observer: any TurnObserver) {
    assertInLoop()
    observers.append(observer)
  }

  public func removeTurnObserver(_ observer: any TurnObserver) {
    assertInLoop()
    observers.removeAll { $0 === observer }
  }

  /// Makes sure that a turn follows. Free inside a turn; callers on the queue but outside a turn (`queue.async`) pay a
  /// wake.
  func requestTurn() {
    if isInTurn || isPoked { return }
    isPoked = true
    Posix.signal(event: wakeEvent)
  }

  func turnBegan() {
    isInTurn = true
    isPoked = false
  }

  // MARK: epoll

  /// Watches `descriptor`; the answer names it in `modify` and `unwatch`.
  func watch(_ descriptor: Int32, events: UInt32, _ target: any Pollable) throws(SystemError) -> UInt64 {
    assertInLoop()
    let key = pollables.insert(target)
    do throws(SystemError) {
      guard !isStopped else { throw SystemError(call: "epoll_ctl", errno: ESHUTDOWN) }
      try Posix.change(epoll, .add, descriptor, events: events, key: key)
    } catch {
      pollables.remove(key)
      throw error
    }
    return key
  }

  func modify(_ descriptor: Int32, events: UInt32, key: UInt64) {
    do { try Posix.change(epoll, .modify, descriptor, events: events, key: key) } catch {
      fatalError("epoll_ctl(mod, \(descriptor)): \(error)")
    }
  }

  /// Stops watching. Events that were fetched already find nothing under `key`.
  func unwatch(_ descriptor: Int32, key: UInt64) {
    pollables.remove(key)
    do { try Posix.change(epoll, .remove, descriptor, events: 0, key: 0) } catch {
      fatalError("epoll_ctl(del, \(descriptor)): \(error)")
    }
  }

  /// Before the loop returns to Dispatch: the timerfd takes over from the timeout. A timerfd that is armed for an
  /// earlier time is left alone; it wakes the loop once in vain and is then armed anew.
  func armTimer() {
    guard let wake = wheel.nextWake else { return }
    if armedAt > now && armedAt <= wake { return }
    do { try Posix.arm(timer: timer, at: wake) } catch { fatalError("timerfd \(timer): \(error)") }
    armedAt = wake
  }

  // MARK: stopping

  private func onStop(_ completion: (@Sendable () -> Void)?) {
    if isCancelled {
      completion?()
      return
    }
    if let completion { stopCompletions.append(completion) }
    if isStopped { return }
    isStopped = true
    for pollable in pollables.values { pollable.onLoopStopped() }
    deliverClosed()
    timerClients = SlotTable()
    observers = []
    source.cancel()
  }

  private func onCancelled() {
    isCancelled = true
    Posix.close(epoll)
    mailbox.retire()
    runLeftovers()
    let completions = stopCompletions
    stopCompletions = []
    for completion in completions { completion() }
  }
}

/// Names a `TimerHandler` on its loop.
public struct TimerClient: Hashable, Sendable {
  let key: UInt64
}

/// A loop's three descriptors: all of them, or none.
private struct LoopDescriptors {
  let epoll: Int32
  let wake: Int32
  let timer: Int32

  init() throws(SystemError) {
    var opened: [Int32] = []
    do throws(SystemError) {
      epoll = try Posix.makeEpoll()
      opened.append(epoll)
      wake = try Posix.makeEvent()
      opened.append(wake)
      timer = try Posix.makeTimer()
      opened.append(timer)
      // Edge-triggered: one event per signal, and no read to silence it.
      let events = Events.readable | Events.edge
      try Posix.change(epoll, .add, wake, events: events, key: EventLoop.wakeKey)
      try Posix.change(epoll, .add, timer, events: events, key: EventLoop.timerKey)
    } catch {
      opened.forEach(Posix.close)
      throw error
    }
  }
}
