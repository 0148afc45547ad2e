import Testing

@testable import kvctl

/// Schroeder et al., "Open versus closed: a cautionary tale", NSDI 2006: the two loops.
@Suite struct `Pacing` {
  private let second: UInt64 = 1_000_000_000

  @Test func `a closed loop begins whenever somebody is free`() {
    var pacer = Pacer(start: 100, end: 1_000, rate: nil)
    #expect(pacer.next(at: 50) == .wait(until: 100))
    #expect(pacer.next(at: 100) == .begin(intended: 100))
    #expect(pacer.next(at: 100) == .begin(intended: 100))
    #expect(pacer.next(at: 999) == .begin(intended: 999))
    #expect(pacer.next(at: 1_000) == .done)
    #expect(pacer.begun == 3)
    #expect(pacer.backlog(at: 5_000) == 0)
  }

  @Test func `an open loop keeps its rate whatever the answers do`() {
    var pacer = Pacer(start: second, end: 2 * second, rate: 1_000)
    #expect(pacer.next(at: second) == .begin(intended: second))
    #expect(pacer.next(at: second) == .wait(until: second + 1_000_000))
    #expect(pacer.next(at: second + 999_999) == .wait(until: second + 1_000_000))
    #expect(pacer.next(at: second + 1_000_000) == .begin(intended: second + 1_000_000))
  }

  @Test func `an operation that begins late counts from when it was meant to begin`() {
    var pacer = Pacer(start: 0, end: second, rate: 100)
    #expect(pacer.next(at: 0) == .begin(intended: 0))
    // Nobody was free for 35 ms: three operations should have begun meanwhile.
    let now: UInt64 = 35_000_000
    #expect(pacer.backlog(at: now) == 2)
    var latencies: [UInt64] = []
    while case .begin(let intended) = pacer.next(at: now) { latencies.append(now + 1_000_000 - intended) }
    #expect(latencies == [26_000_000, 16_000_000, 6_000_000])
    #expect(pacer.backlog(at: now) == 0)
  }

  @Test func `a stall of the server stands in every latency that it cost (no coordinated omission)`() {
    // One user, 1,000 operations a second, each takes 0.1 ms; the one at 0.5 s takes 300 ms.
    var pacer = Pacer(start: 0, end: second, rate: 1_000)
    var tally = BenchTally()
    var now: UInt64 = 0
    loop: while true {
      switch pacer.next(at: now) {
      case .begin(let intended):
        now += pacer.begun == 501 ? 300_000_000 : 100_000
        tally.onDone(.read, start: intended, end: now, found: true)
      case .wait(let until): now = until
      case .done: break loop
      }
    }
    #expect(tally.operations == 1_000)
    // Some 330 of 1,000 waited: those of the stall, and those behind it until the backlog was worked off.
    #expect(tally[.read].percentileUs(50) < 110)
    #expect(tally[.read].percentileUs(90) > 200_000)
    #expect(tally[.read].maxUs > 299_000)
    // Measured from its real beginning, only one of them would show it.
    var (closed, clock) = (BenchTally(), UInt64(0))
    for place in 1...1_000 {
      let start = clock
      clock += place == 501 ? 300_000_000 : 100_000
      closed.onDone(.read, start: start, end: clock, found: true)
    }
    #expect(closed[.read].percentileUs(99.8) < 110)
  }

  @Test func `what never began is the backlog at the end`() {
    var pacer = Pacer(start: 0, end: second, rate: 500)
    for _ in 0..<100 { _ = pacer.next(at: second) }
    #expect(pacer.backlog(at: second) == 400)
    #expect(pacer.backlog(at: 9 * second) == 400)
    while case .begin = pacer.next(at: 9 * second) {}
    #expect(pacer.begun == 500)
    #expect(pacer.next(at: 9 * second) == .done)
  }
}

@Suite struct `Lanes of a node` {
  @Test func `no lane carries more than its depth while another has room`() {
    var pool = LanePool(depth: 2)
    for lane in 0..<3 { pool.add(lane) }
    var carried = [0, 0, 0]
    for _ in 0..<6 { if let lane = pool.take() { carried[lane] += 1 } }
    #expect(carried == [2, 2, 2])
    #expect(pool.inFlight == 6)
    // Keys crowd at this node: they go over the depth, spread out.
    for _ in 0..<3 { if let lane = pool.take() { carried[lane] += 1 } }
    #expect(carried == [3, 3, 3])
    carried[1] -= 1
    pool.giveBack(1, carried: carried[1], isReady: true)
    carried[1] -= 1
    pool.giveBack(1, carried: carried[1], isReady: true)
    #expect(pool.take() == 1)
  }

  @Test func `a batch is refilled when all of it is answered`() {
    var pool = LanePool(depth: 3, refill: .batch)
    #expect(!pool.isWaiting)
    pool.add(0)
    for _ in 0..<3 { #expect(pool.take() == 0) }
    #expect(pool.isWaiting)
    pool.giveBack(0, carried: 2, isReady: true)
    pool.giveBack(0, carried: 1, isReady: true)
    #expect(pool.isWaiting)
    pool.giveBack(0, carried: 0, isReady: true)
    #expect(!pool.isWaiting)
    for _ in 0..<3 { #expect(pool.take() == 0) }
    // Without a lane nobody waits: what begins fails.
    pool.remove(0)
    #expect(!pool.isWaiting)
  }

  @Test func `a lane that is gone gets nothing, and gives back what it carried`() {
    var pool = LanePool(depth: 1)
    #expect(pool.take() == nil)
    pool.add(0)
    pool.add(1)
    let first = pool.take()
    #expect(first == 1)
    pool.remove(1)
    pool.giveBack(1, carried: 0, isReady: false)
    #expect(pool.inFlight == 0)
    #expect(pool.take() == 0)
    #expect(pool.take() == 0)
    pool.remove(0)
    #expect(pool.take() == nil)
    #expect(!pool.isReady)
  }
}
