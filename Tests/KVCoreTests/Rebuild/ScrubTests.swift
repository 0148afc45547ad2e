import KVModel
import Testing

@testable import KVCore

/// The walk for damage that nobody reads: how fast it goes, and when it begins again.
struct ScrubTests {
  private struct Walker {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    /// When the next timer of the walk fires.
    var due: Instant?
    var asked: [StorageOperation] = []

    init(interval: Span64) {
      var settings = ShardSettings()
      settings.scrubBytesPerSecond = 1 << 20
      settings.scrubInterval = interval
      step(.recovered(settings))
    }

    mutating func step(_ input: Shard.Input) {
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      for effect in effects {
        switch effect {
        case .schedule(TimerID(raw: Shard.scrubID.raw), at: let at): due = at
        case .store(let operation, StorageID(raw: Shard.scrubID.raw)): asked.append(operation)
        default: break
        }
      }
    }

    /// The timer fires, and the store has read `bytes` up to `last`.
    mutating func read(_ bytes: Int, upTo last: Key?) throws {
      now.instant = try #require(due)
      step(.timer(TimerID(raw: Shard.scrubID.raw)))
      step(.stored(.scrubbed(ScrubPage(last: last, bytes: bytes)), for: StorageID(raw: Shard.scrubID.raw)))
    }
  }

  @Test func `it reads no more a second than it may, and goes on where it was`() throws {
    var walker = Walker(interval: .seconds(3_600))
    let key = try Key(Array("k".utf8))
    try walker.read(256 << 10, upTo: key)
    #expect(walker.due == walker.now.instant.advanced(by: .milliseconds(250)))
    try walker.read(256 << 10, upTo: nil)
    guard case .scrub(after: let after, bytes: _)? = walker.asked.last else {
      Issue.record("nothing was read")
      return
    }
    #expect(after == key)
  }

  @Test func `a round begins no sooner after the one before than its interval`() throws {
    var walker = Walker(interval: .seconds(3_600))
    let began = try #require(walker.due)
    try walker.read(256 << 10, upTo: try Key(Array("k".utf8)))
    try walker.read(1_000, upTo: nil)
    #expect(walker.due == began.advanced(by: .seconds(3_600)))
  }

  @Test func `a round that took longer than the interval is followed at the pace of its last bytes`() throws {
    var walker = Walker(interval: .milliseconds(100))
    try walker.read(256 << 10, upTo: try Key(Array("k".utf8)))
    try walker.read(512 << 10, upTo: nil)
    #expect(walker.due == walker.now.instant.advanced(by: .milliseconds(500)))
  }
}
