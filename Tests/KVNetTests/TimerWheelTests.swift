import Testing

@testable import KVNet

/// Laws of the wheel, against a list that is searched from end to end.
struct TimerWheelTests {
  /// The naive model: fires what is due, by tick, then by insertion.
  private struct Model {
    var current: UInt64
    var waiting: [(tick: UInt64, order: Int, token: UInt64)] = []
    var order = 0

    mutating func insert(at deadline: UInt64, _ token: UInt64) {
      waiting.append((max((deadline + 999_999) / 1_000_000, current + 1), order, token))
      order += 1
    }

    mutating func advance(to now: UInt64) -> [UInt64] {
      current = max(current, now / 1_000_000)
      let due = waiting.filter { $0.tick <= current }.sorted { ($0.tick, $0.order) < ($1.tick, $1.order) }
      waiting.removeAll { $0.tick <= current }
      return due.map(\.token)
    }
  }

  @Test(arguments: 0..<200 as Range<UInt64>)
  func `the wheel fires what a naive list fires, in the same order`(seed: UInt64) {
    var random = Seeded(seed)
    var now = random.next() >> UInt64.random(in: 14...40, using: &random)
    var wheel = TimerWheel(now: now)
    var model = Model(current: now / 1_000_000)
    for token in 0..<400 as Range<UInt64> {
      let width = UInt64.random(in: 0...44, using: &random)
      let deadline = now + UInt64.random(in: 0...(1 << width), using: &random)
      wheel.insert(at: deadline, client: 7, token: token)
      model.insert(at: deadline, token)
      if Bool.random(using: &random) {
        now += UInt64.random(in: 0...(1 << UInt64.random(in: 0...42, using: &random)), using: &random)
        check(&wheel, &model, now)
      }
    }
    while let wake = wheel.nextWake {
      now = max(now, wake)
      check(&wheel, &model, now)
    }
    #expect(model.waiting.isEmpty)
    #expect(wheel.count == 0)
  }

  private func check(_ wheel: inout TimerWheel, _ model: inout Model, _ now: UInt64) {
    var fired: [TimerWheel.Firing] = []
    wheel.advance(to: now, into: &fired)
    let expected = model.advance(to: now)
    #expect(fired.map(\.token) == expected)
    #expect(fired.allSatisfy { $0.client == 7 })
    #expect(wheel.count == model.waiting.count)
    if let earliest = model.waiting.map(\.tick).min() {
      #expect((wheel.nextWake ?? .max) <= earliest * 1_000_000)
      #expect((wheel.nextWake ?? 0) > now / 1_000_000 * 1_000_000)
    }
  }

  @Test func `a timer never fires early`() {
    var wheel = TimerWheel(now: 0)
    var fired: [TimerWheel.Firing] = []
    wheel.insert(at: 5_000_001, client: 1, token: 9)
    wheel.advance(to: 5_999_999, into: &fired)
    #expect(fired.isEmpty)
    wheel.advance(to: 6_000_000, into: &fired)
    #expect(fired == [TimerWheel.Firing(client: 1, token: 9)])
  }

  @Test func `a deadline in the past fires at the next tick, and the farthest one is kept`() {
    var wheel = TimerWheel(now: 10_000_000)
    var fired: [TimerWheel.Firing] = []
    wheel.insert(at: 0, client: 1, token: 1)
    wheel.insert(at: .max, client: 1, token: 2)
    wheel.advance(to: 10_999_999, into: &fired)
    #expect(fired.isEmpty)
    wheel.advance(to: 11_000_000, into: &fired)
    #expect(fired.map(\.token) == [1])
    #expect(wheel.count == 1)
    #expect(wheel.nextWake != nil)
  }

  @Test func `a clock that steps back fires nothing and loses nothing`() {
    var wheel = TimerWheel(now: 10_000_000)
    var fired: [TimerWheel.Firing] = []
    wheel.insert(at: 20_000_000, client: 1, token: 1)
    wheel.advance(to: 1_000_000, into: &fired)
    #expect(fired.isEmpty)
    wheel.advance(to: 20_000_000, into: &fired)
    #expect(fired.count == 1)
  }
}
