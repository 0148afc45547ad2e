import KVModel
import Testing

@testable import KVServer

private func at(_ milliseconds: Double) -> Instant { Instant(nanoseconds: 1_000_000_000 + UInt64(milliseconds * 1e6)) }

@Suite struct BacklogTests {
  @Test func `who has frames waiting for more than half of the time floods, until it has caught up`() {
    var backlog = Backlog()
    backlog.onFrames(at: at(0))
    backlog.onLeft(at: at(1))
    backlog.onLeft(at: at(50))
    #expect(backlog.since == at(1))
    backlog.onFrames(at: at(99))
    #expect(!backlog.isFlood, "the window is not over")
    backlog.onFrames(at: at(100))
    #expect(backlog.isFlood)
    backlog.onCaughtUp(at: at(120))
    backlog.onFrames(at: at(201))
    #expect(!backlog.isFlood && backlog.since == nil)
  }

  @Test func `bursts that are caught up with are no flood`() {
    var backlog = Backlog()
    for burst in 0..<40 {
      let begin = Double(burst) * 10
      backlog.onFrames(at: at(begin))
      backlog.onLeft(at: at(begin))
      backlog.onCaughtUp(at: at(begin + 4))
      #expect(!backlog.isFlood)
    }
  }

  @Test func `catching up for a moment does not end a flood`() {
    var backlog = Backlog()
    for millisecond in 0..<300 {
      backlog.onFrames(at: at(Double(millisecond)))
      backlog.onLeft(at: at(Double(millisecond)))
      if millisecond % 10 == 0 { backlog.onCaughtUp(at: at(Double(millisecond) + 0.5)) }
      if millisecond > 100 { #expect(backlog.isFlood) }
    }
  }
}

@Suite struct FloodQueueTests {
  @Test func `all that flood have together what one of the others has`() {
    var queue = FloodQueue()
    for client in 1...3 { queue.add(UInt64(client)) }
    var served: [UInt64] = []
    for frame in 0..<160 {
      guard let next = queue.onOthers(frames: 1, of: 16, at: at(Double(frame) / 10)) else { continue }
      served.append(next)
      queue.add(next)
    }
    #expect(served == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1])
  }

  @Test func `when the others leave the loop free, a turn's budget is theirs, and a frame each at least`() {
    var queue = FloodQueue()
    #expect(queue.onOthers(frames: 1, of: 1, at: at(5)) == nil)
    #expect(queue.due == at(6))
    queue.add(7)
    queue.add(8)
    #expect(queue.onFree(framesATurn: 16) == ([7, 8], 8))
    #expect(queue.isEmpty)
    for client: UInt64 in 0..<40 { queue.add(client) }
    #expect(queue.onFree(framesATurn: 16) == (Array(0..<40), 1))
  }

  @Test func `who has gone is not served`() {
    var queue = FloodQueue()
    queue.add(1)
    queue.add(2)
    queue.remove(1)
    #expect(queue.onOthers(frames: 4, of: 2, at: at(0)) == 2)
    #expect(queue.onOthers(frames: 4, of: 2, at: at(0)) == nil)
  }

  @Test func `who floods is active, but none of the others`() {
    var share = FairShare(framesATurn: 16)
    var windows = [UInt32](repeating: 0, count: 4)
    for index in 0..<3 { _ = share.frames(&windows[index]) }
    #expect(share.frames(&windows[3], isFlood: true) == 4)
    #expect(share.others == 3)
    share.onTick()
    #expect(share.others == 3)
    share.onTick()
    #expect(share.others == 0)
  }
}
