import KVModel
import KVNet
import Testing

@testable import KVServer

@Suite struct AdmissionTests {
  private static let somewhere = SocketAddress(v4: 0x0a00_0001, port: 1)

  private static func place(_ admission: Admission, _ address: SocketAddress = somewhere) -> Admission.Place? {
    if case .admitted(let place) = admission.admit(address) { place } else { nil }
  }

  @Test func `there are so many places, and fewer for those who have not greeted`() throws {
    let admission = Admission(connections: 3, beforeHello: 2)
    var first = try #require(Self.place(admission))
    var second = try #require(Self.place(admission))
    #expect(Self.place(admission) == nil, "two have not greeted")
    first.onGreeted()
    second.onGreeted()
    second.onGreeted()
    var third = try #require(Self.place(admission))
    #expect(admission.snapshot == .init(all: 3, greeting: 1, refused: 0, refusedGreeting: 1))
    third.onGreeted()
    #expect(Self.place(admission) == nil, "all places are taken")
    #expect(admission.snapshot == .init(all: 3, greeting: 0, refused: 1, refusedGreeting: 1))
  }

  @Test func `a place is given back once, greeted or not`() throws {
    let admission = Admission(connections: 2, beforeHello: 2, perAddress: 2)
    var first = try #require(Self.place(admission))
    var second = try #require(Self.place(admission))
    first.onGreeted()
    for _ in 0..<3 {
      first.free()
      second.free()
    }
    second.onGreeted()
    #expect(admission.snapshot == .init(all: 0, greeting: 0, refused: 0, refusedGreeting: 0))
    #expect(Self.place(admission) != nil && Self.place(admission) != nil)
  }

  @Test func `an address has so many places, whatever its ports, and others have theirs`() throws {
    let admission = Admission(connections: 10, beforeHello: 10, perAddress: 2)
    var first = try #require(Self.place(admission))
    _ = try #require(Self.place(admission, Self.somewhere.with(port: 2)))
    guard case .refused(let refusal) = admission.admit(Self.somewhere.with(port: 3)) else {
      Issue.record("a third one of the address is admitted")
      return
    }
    #expect(refusal.reason == .tooManyConnections && refusal.retryAfterMs > 0)
    #expect(refusal.detail.contains("2 connections of 10.0.0.1"))
    #expect(Self.place(admission, SocketAddress(v4: 0x0a00_0002, port: 1)) != nil)
    first.free()
    #expect(Self.place(admission) != nil)
    #expect(admission.snapshot == .init(all: 3, greeting: 3, refusedAddress: 1))
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
