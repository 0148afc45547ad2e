import KVModel
import KVNet
import Testing

@testable import KVServer

@Suite struct AdmissionTests {
  @Test func `there are so many places, and fewer for those who have not greeted`() throws {
    let admission = Admission(connections: 3, beforeHello: 2)
    var first = try #require(admission.admit())
    var second = try #require(admission.admit())
    #expect(admission.admit() == nil, "two have not greeted")
    first.onGreeted()
    second.onGreeted()
    second.onGreeted()
    var third = try #require(admission.admit())
    #expect(admission.snapshot == .init(all: 3, greeting: 1, refused: 0, refusedGreeting: 1))
    third.onGreeted()
    #expect(admission.admit() == nil, "all places are taken")
    #expect(admission.snapshot == .init(all: 3, greeting: 0, refused: 1, refusedGreeting: 1))
  }

  @Test func `a place is given back once, greeted or not`() throws {
    let admission = Admission(connections: 2, beforeHello: 2)
    var first = try #require(admission.admit())
    var second = try #require(admission.admit())
    first.onGreeted()
    for _ in 0..<3 {
      first.free()
      second.free()
    }
    second.onGreeted()
    #expect(admission.snapshot == .init(all: 0, greeting: 0, refused: 0, refusedGreeting: 0))
  }
}

@Suite struct FairShareTests {
  @Test func `a client alone has the whole budget, many have one frame each`() {
    var share = FairShare(framesATurn: 16)
    var windows = [UInt32](repeating: 0, count: 33)
    #expect(share.frames(&windows[0]) == 16)
    #expect(share.frames(&windows[0]) == 16, "counted once a window")
    #expect(share.frames(&windows[1]) == 8)
    #expect(share.frames(&windows[0]) == 8)
    for index in 2..<32 { _ = share.frames(&windows[index]) }
    #expect(share.frames(&windows[32]) == 1)
  }

  @Test func `who was active in the last window still counts, who was before does not`() {
    var share = FairShare(framesATurn: 16)
    var windows = [UInt32](repeating: 0, count: 8)
    for index in windows.indices { _ = share.frames(&windows[index]) }
    share.onTick()
    #expect(share.frames(&windows[0]) == 2)
    share.onTick()
    #expect(share.frames(&windows[0]) == 16)
  }
}

@Suite struct LimitOptionsTests {
  @Test func `a client may have a whole record more than its limit unsent, a peer its backlog`() {
    var limits = NodeConfiguration.Limits()
    limits.bytesPerConnection = 2 << 20
    limits.peerBacklogBytes = 100 << 20
    limits.idleProbeMs = 1_500
    #expect(limits.clientOptions.outputBytesMax > (2 << 20) + KVModel.Limits.recordBytesMax)
    #expect(limits.clientOptions.keepAlive && limits.clientOptions.keepAliveIdleSeconds == 1)
    #expect(limits.peerOptions.outputBytesMax == 100 << 20 && limits.peerOptions.isUrgent)
  }
}
