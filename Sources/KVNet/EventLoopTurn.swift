import CLinux
import Dispatch
import Glibc

/// A visit from Dispatch, and the turns that it takes; the drawing is at `EventLoop`.
extension EventLoop {
  /// The source fired: something in the epoll set is ready. Takes turns until nothing happens for `lingerMilliseconds`.
  func visit() {
    visits += 1
    var turnsLeft = EventLoop.turnsPerVisit
    var wasBusy = true
    while wasBusy && turnsLeft > 0 && !isStopped {
      let timeout = mailbox.sleepIfEmpty() && !hasWork ? waitMilliseconds : 0
      wasBusy = turn(ready: timeout > 0 ? yieldAndWait(milliseconds: timeout) : wait(milliseconds: 0))
      turnsLeft -= 1
    }
    if !isStopped { leave() }
  }

  private func wait(milliseconds: Int32) -> Int {
    Posix.wait(epoll, events, Int32(EventLoop.eventsPerTurn), milliseconds: milliseconds)
  }

  /// Lets others run once before it sleeps. On a busy machine they bring the next requests meanwhile, so that turns are
  /// fuller and nobody has to wake this loop: a GET costs three nodes that share two cores a tenth less CPU. On a
  /// machine with idle cores it costs two short system calls.
  private func yieldAndWait(milliseconds: Int32) -> Int {
    sched_yield()
    let ready = wait(milliseconds: 0)
    return ready > 0 ? ready : wait(milliseconds: milliseconds)
  }

  /// Back to Dispatch: from now on only the epoll set can wake this loop.
  private func leave() {
    armTimer()
    if !mailbox.sleepIfEmpty() || hasWork { requestTurn() }
  }

  /// Something is left for another turn, which must follow at once.
  private var hasWork: Bool {
    !resumed.isEmpty || !closed.isEmpty || !urgent.isEmpty || !dirty.isEmpty
  }

  /// How long `epoll_wait` may take: the linger, or less when a timer is due. Rounded up, so as not to spin at a
  /// deadline's last microseconds.
  private var waitMilliseconds: Int32 {
    guard let wake = wheel.nextWake else { return lingerMilliseconds }
    if wake <= now { return 0 }
    let milliseconds = (wake - now + 999_999) / 1_000_000
    return Int32(min(UInt64(lingerMilliseconds), milliseconds))
  }

  /// One turn. False: there was nothing to do.
  private func turn(ready: Int) -> Bool {
    turnBegan()
    defer { isInTurn = false }
    turns += 1
    readClocks()
    let hadWork = hasWork
    deliverResumed()
    for index in 0..<ready { dispatch(events[index]) }
    let jobs = runJobs()
    let timers = fireTimers()
    if ready == 0 && !hadWork && !jobs && !timers { return false }
    deliverClosed()
    flushUrgent()
    for observer in observers { observer.onTurnEnd() }
    flushUrgent()
    flushDirty()
    deliverClosed()
    busyNanoseconds &+= Posix.nanoseconds(CLOCK_MONOTONIC) &- now
    return true
  }

  private func dispatch(_ event: epoll_event) {
    let key = event.data.u64
    if key == EventLoop.wakeKey || key == EventLoop.timerKey { return }
    pollables[key]?.onEvents(event.events)
  }

  /// Runs what was in the mailbox at this moment; what these jobs post waits for the next turn.
  private func runJobs() -> Bool {
    var jobs: [Mailbox.Job] = []
    swap(&jobs, &runningJobs)
    mailbox.take(into: &jobs)
    if jobs.isEmpty {
      swap(&jobs, &runningJobs)
      return false
    }
    for job in jobs { run(job) }
    jobs.removeAll(keepingCapacity: jobs.capacity <= 4_096)
    swap(&jobs, &runningJobs)
    return true
  }

  func run(_ job: Mailbox.Job) {
    switch job {
    case .closure(let body): body()
    case .task(let job): runTask(job)
    }
  }

  private func fireTimers() -> Bool {
    wheel.advance(to: now, into: &fired)
    if fired.isEmpty { return false }
    var firing: [TimerWheel.Firing] = []
    swap(&firing, &fired)
    for timer in firing { timerClients[timer.client]?.onTimer(timer.token) }
    firing.removeAll(keepingCapacity: firing.capacity <= 4_096)
    swap(&firing, &fired)
    return true
  }

  // MARK: connections

  func markDirty(_ connection: Connection) {
    if connection.isUrgent { urgent.append(connection) } else { dirty.append(connection) }
    requestTurn()
  }

  func markResumed(_ connection: Connection) {
    resumed.append(connection)
    requestTurn()
  }

  func markClosed(_ connection: Connection) {
    closed.append(connection)
    requestTurn()
  }

  /// Sends what the peer links hold. What becomes dirty meanwhile waits on the list.
  private func flushUrgent() {
    if urgent.isEmpty { return }
    var flushing = takeBatch()
    swap(&flushing, &urgent)
    for connection in flushing { connection.onFlush() }
    giveBack(&flushing)
  }

  /// The same for all others.
  private func flushDirty() {
    if dirty.isEmpty { return }
    var flushing = takeBatch()
    swap(&flushing, &dirty)
    for connection in flushing { connection.onFlush() }
    giveBack(&flushing)
  }

  private func deliverResumed() {
    if resumed.isEmpty { return }
    var delivering = takeBatch()
    swap(&delivering, &resumed)
    for connection in delivering { connection.onResumed() }
    giveBack(&delivering)
  }

  /// Tells handlers that their connections are closed. One pass: a handler that at once connects again, and fails at
  /// once again, must not hold the turn for ever.
  func deliverClosed() {
    if closed.isEmpty { return }
    var delivering = takeBatch()
    swap(&delivering, &closed)
    for connection in delivering { connection.tellClosed() }
    giveBack(&delivering)
  }

  private func takeBatch() -> [Connection] {
    var result: [Connection] = []
    swap(&result, &batch)
    return result
  }

  private func giveBack(_ list: inout [Connection]) {
    list.removeAll(keepingCapacity: list.capacity <= 4_096)
    swap(&list, &batch)
  }

  // MARK: after stop

  /// The loop is gone: the mailbox empties itself through the bare queue, now and for every later job.
  func runLeftovers() {
    var jobs: [Mailbox.Job] = []
    mailbox.take(into: &jobs)
    for job in jobs { run(job) }
  }
}
