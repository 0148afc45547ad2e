import Testing

@testable import KVModel

/// Kulkarni et al., "Logical Physical Clocks", 2014; DESIGN.md §5.
@Suite struct HybridClockTests {
  private func wall(_ ms: UInt64) -> WallTime { WallTime(milliseconds: ms) }

  @Test func `every tick exceeds all that were handed out or observed, whatever the wall clock does`() {
    var random = PRNG(seed: 30)
    for _ in 0..<200 {
      var clock = HybridClock(floor: Stamp(bits: random.below(1 << 40)))
      var highest = clock.last
      var now = random.below(1 << 30)
      for _ in 0..<200 {
        now = random.chance(1, of: 10) ? random.below(1 << 30) : now + random.below(3)
        if random.chance(1, of: 3) {
          let foreign = Stamp(bits: (now &+ random.below(1_000)) << 16 | random.below(1 << 16))
          guard HybridClock.accepts(foreign, at: wall(now)) else { continue }
          clock.observe(foreign)
          highest = max(highest, foreign)
        } else {
          let stamp = clock.tick(at: wall(now))
          #expect(stamp > highest && stamp >= Stamp(wall(now)))
          highest = stamp
        }
      }
    }
  }

  @Test func `a tick follows the wall clock when that is ahead, and counts within a millisecond`() {
    var clock = HybridClock()
    #expect(clock.tick(at: wall(5)).description == "5.0")
    #expect(clock.tick(at: wall(5)).description == "5.1")
    #expect(clock.tick(at: wall(9)).description == "9.0")
    #expect(clock.tick(at: wall(7)).description == "9.1")
  }

  @Test func `after 65,536 ticks in a millisecond the counter borrows from the next`() {
    var clock = HybridClock()
    var last = Stamp.zero
    for _ in 0..<65_536 { last = clock.tick(at: wall(5)) }
    #expect(last.description == "5.65535")
    #expect(clock.tick(at: wall(5)).description == "6.0")
    #expect(clock.tick(at: wall(6)).description == "6.1")
  }

  /// Crdb#136613. The bound is inclusive: 500 ms ahead is let in, 501 is not.
  @Test func `hazard 23: a stamp forged an hour ahead is not accepted, one within the bound is`() {
    let now: UInt64 = 1_700_000_000_000
    #expect(!HybridClock.accepts(Stamp(wall(now + 3_600_000)), at: wall(now)))
    #expect(!HybridClock.accepts(Stamp(bits: .max), at: wall(now)))
    #expect(HybridClock.accepts(Stamp(wall(now + Limits.clockSkewMsMax)), at: wall(now)))
    #expect(HybridClock.accepts(Stamp(bits: Stamp(wall(now + 500)).bits | 0xffff), at: wall(now)))
    #expect(!HybridClock.accepts(Stamp(wall(now + 501)), at: wall(now)))
    #expect(HybridClock.accepts(.zero, at: wall(now)))
  }

  /// Repair carries old and odd stamps into records; nothing of that touches the clock.
  @Test func `hazard 23: joining a record with a forged stamp leaves the clock where it was`() {
    var clock = HybridClock()
    var random = PRNG(seed: 31)
    _ = clock.tick(at: wall(1_000))
    var forged = random.version(Dot(actor: Actor(node: NodeID(1), epoch: 0), counter: 1))
    forged.stamp = Stamp(wall(1_000 + 3_600_000))
    let record = Record().joined(Record(context: VersionVector(), versions: [forged]))
    #expect(record.highestStamp == forged.stamp)
    #expect(clock.tick(at: wall(1_000)).wall == wall(1_000))
  }

  /// Crdb#23214, 25109: at a restart the floor is the leased upper bound, so a clock a day back cannot repeat a stamp.
  @Test func `hazard 24: the wall clock steps back a day, in a run or at a restart, and ticks still rise`() {
    let day: UInt64 = 86_400_000
    var clock = HybridClock()
    var last = clock.tick(at: wall(10 * day))
    for step in 0..<1_000 as Range<UInt64> {
      let stamp = clock.tick(at: wall(9 * day + step))
      #expect(stamp > last)
      last = stamp
    }
    var restarted = HybridClock(floor: last)
    #expect(restarted.tick(at: wall(8 * day)) > last)
  }

  @Test func `planted: hazard 24: a clock without memory repeats itself after a step back`() {
    #expect(!(Stamp(wall(9)) > Stamp(wall(10))))
    var forgetful = HybridClock()
    #expect(!(forgetful.tick(at: wall(9)) > Stamp(wall(10))))
  }

  @Test func `stamps order by milliseconds, then by counter, and the last of all has no next`() {
    let stamps = [Stamp.zero, Stamp(bits: 1), Stamp(bits: 0xffff), Stamp(wall(1)), Stamp(bits: .max)]
    #expect(stamps.reversed().sorted() == stamps)
    #expect(Stamp(bits: 0xffff).next == Stamp(wall(1)))
    #expect(Stamp(bits: .max).next == Stamp(bits: .max))
    #expect(Stamp(wall(77)).wall == wall(77))
  }

  @Test func `the newest version is that of the highest stamp, and of equal stamps that of the highest dot`() {
    var random = PRNG(seed: 32)
    for _ in 0..<500 {
      let record = random.record()
      let newest = record.newestFirst
      #expect(newest.map(\.dot).sorted() == record.versions.map(\.dot))
      for (a, b) in zip(newest, newest.dropFirst()) {
        #expect(a.stamp > b.stamp || (a.stamp == b.stamp && a.dot > b.dot))
      }
    }
  }
}
