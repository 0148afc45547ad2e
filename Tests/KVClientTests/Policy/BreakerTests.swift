import KVModel
import Testing

@testable import KVClient

@Suite struct `The circuit breaker` {
  private let start = Instant(nanoseconds: 1_000_000_000)

  private func after(_ milliseconds: UInt64) -> Instant { start.advanced(by: .milliseconds(milliseconds)) }

  /// Chance in the middle: no jitter.
  private let middle = UInt64(1) << 63

  private func expectFailure(_ breaker: inout Breaker, opens: Bool, at now: Instant? = nil) {
    let opened = breaker.onFailure(at: now ?? start, random: middle)
    #expect(opened == opens)
  }

  @Test func `five failures in a row open it, a success between them does not let it come to that`() {
    var breaker = Breaker()
    for _ in 0..<4 { expectFailure(&breaker, opens: false) }
    breaker.onSuccess()
    for _ in 0..<4 { expectFailure(&breaker, opens: false) }
    #expect(breaker.admits(at: start))
    expectFailure(&breaker, opens: true)
    #expect(!breaker.admits(at: start))
  }

  @Test func `without a connection it opens at once`() {
    var breaker = Breaker()
    breaker.trip(at: start, random: middle)
    #expect(!breaker.admits(at: after(99)))
    #expect(breaker.admits(at: after(101)))
  }

  @Test func `after the wait one call goes through, the next ones not before it has told`() {
    var breaker = Breaker()
    breaker.trip(at: start, random: middle)
    breaker.onChosen(at: after(150), random: middle)
    #expect(!breaker.admits(at: after(150)))
    breaker.onSuccess()
    #expect(breaker.admits(at: after(150)))
  }

  @Test func `a probe that fails opens it for twice as long, one that tells nothing is followed by another`() {
    var breaker = Breaker()
    breaker.trip(at: start, random: middle)
    breaker.onChosen(at: after(100), random: middle)
    expectFailure(&breaker, opens: true, at: after(110))
    #expect(!breaker.admits(at: after(400)))
    #expect(breaker.admits(at: after(520)))
    breaker.onChosen(at: after(520), random: middle)
    #expect(!breaker.admits(at: after(600)))
    #expect(breaker.admits(at: after(520 + 801)))
  }

  @Test func `a call that has no other node to go to is no probe`() {
    var breaker = Breaker()
    breaker.trip(at: start, random: middle)
    let before = breaker
    breaker.onChosen(at: start, random: middle)
    #expect(breaker == before)
  }

  @Test func `the waits have a jitter of a fifth, and a success makes them short again`() {
    var (early, late) = (Breaker(), Breaker())
    let dues = [early.trip(at: start, random: 0), late.trip(at: start, random: .max)]
    #expect(dues == [after(80), after(120)])
    for _ in 0..<10 { late.trip(at: start, random: middle) }
    let longest = late.trip(at: start, random: middle)
    late.onSuccess()
    let shortest = late.trip(at: start, random: middle)
    #expect([longest, shortest] == [after(5_000), after(100)])
  }
}

@Suite struct `Signs of life` {
  private func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
  private var heartbeat: Heartbeat { Heartbeat(pingAfter: .milliseconds(200), lostAfter: .milliseconds(600)) }

  private func expectLook(
    _ heartbeat: inout Heartbeat, at now: UInt64, heardAt: UInt64, awaitedSince: Instant?,
    _ expected: Heartbeat.Verdict
  ) {
    let verdict = heartbeat.look(at: at(now), heardAt: at(heardAt), awaitedSince: awaitedSince)
    #expect(verdict == expected)
  }

  @Test func `nothing is asked of a connection on which nothing is awaited`() {
    var heartbeat = heartbeat
    expectLook(&heartbeat, at: 100_000, heardAt: 0, awaitedSince: nil, .idle)
  }

  @Test func `silence brings one ping, then the end`() {
    var heartbeat = heartbeat
    expectLook(&heartbeat, at: 1_100, heardAt: 0, awaitedSince: at(1_000), .look(at: at(1_200)))
    expectLook(&heartbeat, at: 1_200, heardAt: 0, awaitedSince: at(1_000), .ping(lookAgainAt: at(1_600)))
    expectLook(&heartbeat, at: 1_300, heardAt: 0, awaitedSince: at(1_000), .look(at: at(1_600)))
    expectLook(&heartbeat, at: 1_600, heardAt: 0, awaitedSince: at(1_000), .lost)
  }

  @Test func `a client that was not listening itself asks before it gives a node up`() {
    var heartbeat = heartbeat
    expectLook(&heartbeat, at: 9_000, heardAt: 0, awaitedSince: at(1_000), .ping(lookAgainAt: at(9_200)))
    expectLook(&heartbeat, at: 9_199, heardAt: 0, awaitedSince: at(1_000), .look(at: at(9_200)))
    expectLook(&heartbeat, at: 9_200, heardAt: 0, awaitedSince: at(1_000), .lost)
  }

  @Test func `any byte begins a new silence`() {
    var heartbeat = heartbeat
    expectLook(&heartbeat, at: 1_200, heardAt: 0, awaitedSince: at(1_000), .ping(lookAgainAt: at(1_600)))
    expectLook(&heartbeat, at: 1_600, heardAt: 1_250, awaitedSince: at(1_000), .ping(lookAgainAt: at(1_850)))
    expectLook(&heartbeat, at: 1_860, heardAt: 1_700, awaitedSince: at(1_000), .look(at: at(1_900)))
  }
}

@Suite struct `When the layout is fetched` {
  private let now = Instant(nanoseconds: 1_000_000_000)

  private func expectFetch(_ refresh: inout LayoutRefresh, _ version: UInt32, at now: Instant, _ expected: Bool) {
    let begins = refresh.onNewer(version, at: now)
    #expect(begins == expected)
  }

  @Test func `once for a newer version, however many replies speak of it`() {
    var refresh = LayoutRefresh()
    var begun = 0
    for _ in 0..<5 where refresh.onNewer(7, at: now) { begun += 1 }
    #expect(begun == 1)
    refresh.onFetched(inForce: 7, at: now)
    expectFetch(&refresh, 8, at: now, true)
  }

  @Test func `again after a failure, but not by each reply; at once for a version that is newer still`() {
    var refresh = LayoutRefresh()
    expectFetch(&refresh, 7, at: now, true)
    refresh.onFetched(inForce: 6, at: now)
    expectFetch(&refresh, 7, at: now.advanced(by: .milliseconds(499)), false)
    expectFetch(&refresh, 7, at: now.advanced(by: .milliseconds(500)), true)
    refresh.onFetched(inForce: 6, at: now)
    expectFetch(&refresh, 8, at: now, true)
  }
}
