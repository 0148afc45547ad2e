import Dispatch
import Glibc
import Testing

@testable import KVNet

/// Mailbox, timers, phases and the end of a loop.
struct EventLoopTests {
  @Test func `jobs of each thread run in its order, and none is lost`() throws {
    try withLoop { loop in
      let threads = 8
      let each = 20_000
      let seen = Box([[Int]](repeating: [], count: threads))
      DispatchQueue.concurrentPerform(iterations: threads) { thread in
        for number in 0..<each { loop.execute { seen.value[thread].append(number) } }
      }
      let result = try loop.sync { seen.value }
      for thread in 0..<threads { #expect(result[thread] == Array(0..<each)) }
    }
  }

  @Test func `a loop that sleeps in Dispatch wakes for a job`() throws {
    try withLoop { loop in
      for _ in 0..<20 {
        let visits = try loop.sync { loop.visits }
        // The linger is over when the queue runs something of its own.
        loop.queue.sync {}
        #expect(try loop.sync { loop.visits } > visits)
      }
    }
  }

  @Test func `a job that posts jobs does not keep its turn alive`() throws {
    try withLoop { loop in
      let turns = Box<[UInt64]>([])
      let gate = Gate()
      @Sendable func again(_ left: Int) {
        turns.value.append(loop.turns)
        if left == 0 { gate.open() } else { loop.execute { again(left - 1) } }
      }
      loop.execute { again(50) }
      try gate.wait()
      let seen = try loop.sync { turns.value }
      #expect(Set(seen).count == 51)
    }
  }

  /// Counts down its timers and keeps the order and lateness.
  private final class Ticker: TimerHandler {
    let loop: EventLoop
    var tokens: [UInt64] = []
    var early = 0
    var deadlines: [UInt64: UInt64] = [:]
    var left = 0
    let gate = Gate()
    init(_ loop: EventLoop) { self.loop = loop }

    func onTimer(_ token: UInt64) {
      tokens.append(token)
      if let deadline = deadlines[token], loop.now < deadline { early += 1 }
      left -= 1
      if left == 0 { gate.open() }
    }

    func start(_ delays: [UInt64]) {
      let client = loop.makeTimerClient(self)
      left = delays.count
      for delay in delays {
        deadlines[delay] = loop.now + delay
        loop.schedule(at: loop.now + delay, delay, for: client)
      }
    }
  }

  @Test func `timers fire in order while the loop is idle in Dispatch`() throws {
    try withLoop { loop in
      let ticker = Box(Ticker(loop))
      try loop.sync { ticker.value.start([90_000_000, 1_000_000, 30_000_000, 5_500_000]) }
      try ticker.value.gate.wait()
      let (tokens, early, visits) = try loop.sync { (ticker.value.tokens, ticker.value.early, loop.visits) }
      #expect(tokens == [1_000_000, 5_500_000, 30_000_000, 90_000_000])
      #expect(early == 0)
      #expect(visits > 2)
    }
  }

  /// Sets its alarm anew at each ring, and keeps when it rang.
  private final class Bell {
    var alarm: Alarm?
    /// Delays of the rings to come, the next one last.
    var delays: [UInt64] = []
    var early = 0
    var rings = 0
    let gate = Gate()

    func hang(on loop: EventLoop, _ delays: [UInt64]) throws {
      self.delays = delays.reversed()
      alarm = try Alarm(on: loop) { [unowned self] in
        rings += 1
        // Its own time is over when it rings.
        if alarm?.time != .max { early += 1 }
        setNext(loop)
      }
      setNext(loop)
    }

    private func setNext(_ loop: EventLoop) {
      guard let delay = delays.popLast() else { return gate.open() }
      alarm?.set(at: loop.now + delay)
    }
  }

  @Test func `an alarm rings once for each time that it is set to, below a tick of the timers too`() throws {
    try withLoop { loop in
      let bell = Box(Bell())
      let (began, delays): (UInt64, [UInt64]) = try loop.sync {
        let delays: [UInt64] = [0, 1, 50_000, 300_000, 5_000_000, 60_000_000]
        try bell.value.hang(on: loop, delays)
        return (loop.now, delays)
      }
      try bell.value.gate.wait()
      let (rings, early, ended) = try loop.sync { (bell.value.rings, bell.value.early, loop.now) }
      #expect(rings == delays.count && early == 0)
      #expect(ended - began >= delays.reduce(0, +), "never before its time")
      try loop.sync { bell.value.alarm?.close() }
    }
  }

  @Test func `an alarm that is set anew does not ring at its first time, one that is closed never`() throws {
    try withLoop { loop in
      let (first, second) = (Box(Bell()), Box(Bell()))
      try loop.sync {
        try first.value.hang(on: loop, [1_000_000, 1_000_000])
        try second.value.hang(on: loop, [1_000_000])
        first.value.alarm?.set(at: loop.now + 30_000_000)
        second.value.alarm?.close()
      }
      try first.value.gate.wait()
      #expect(try loop.sync { first.value.rings } == 2)
      #expect(try loop.sync { second.value.rings } == 0)
      try loop.sync { first.value.alarm?.close() }
    }
  }

  @Test func `timers fire while the loop is kept busy`() throws {
    try withLoop { loop in
      let ticker = Box(Ticker(loop))
      let isBusy = Box(true)
      @Sendable func spin() { if isBusy.value { loop.execute(spin) } }
      try loop.sync {
        ticker.value.start([20_000_000, 3_000_000, 10_000_000])
        spin()
      }
      try ticker.value.gate.wait()
      let (tokens, early) = try loop.sync {
        isBusy.value = false
        return (ticker.value.tokens, ticker.value.early)
      }
      #expect(tokens == [3_000_000, 10_000_000, 20_000_000])
      #expect(early == 0)
    }
  }

  @Test func `a busy loop still lets its queue run other blocks`() throws {
    try withLoop { loop in
      let isBusy = Box(true)
      @Sendable func spin() { if isBusy.value { loop.execute(spin) } }
      loop.execute(spin)
      let gate = Gate()
      loop.queue.async {
        isBusy.value = false
        gate.open()
      }
      try gate.wait()
    }
  }

  @Test func `timers of a removed client stay silent`() throws {
    try withLoop { loop in
      let gone = Box(Ticker(loop))
      let stays = Box(Ticker(loop))
      try loop.sync {
        let client = loop.makeTimerClient(gone.value)
        loop.schedule(at: loop.now, 1, for: client)
        loop.removeTimerClient(client)
        stays.value.start([5_000_000])
      }
      try stays.value.gate.wait()
      #expect(try loop.sync { gone.value.tokens.isEmpty })
    }
  }

  @Test func `a timer that is scheduled on the queue outside a turn fires too`() throws {
    try withLoop { loop in
      let ticker = Box(Ticker(loop))
      loop.queue.async { ticker.value.start([2_000_000]) }
      try ticker.value.gate.wait()
    }
  }

  @Test func `a task prefers the loop, and runs on it`() async throws {
    let loop = try EventLoop(label: "executor")
    let answer = await Task(executorPreference: loop) {
      loop.checkIsolated()
      await Task.yield()
      loop.checkIsolated()
      return 42
    }.value
    #expect(answer == 42)
    loop.stop()
  }

  @Test func `jobs given after the stop still run`() throws {
    let loop = try EventLoop(label: "stopped")
    loop.stopAndWait()
    let gate = Gate()
    loop.execute { gate.open() }
    try gate.wait()
    loop.stopAndWait()
  }
}
