import KVModel
import Testing

@testable import KVCore

struct ReachabilityTests {
  private let start = Instant(nanoseconds: 5_000_000_000)
  private let peer = NodeID(2)

  private func linked() -> Reachability {
    var reachability = Reachability()
    reachability.adopt([peer, NodeID(3)])
    reachability.onLink(peer, isUp: true, at: start)
    return reachability
  }

  @Test func `a peer is away until its link is up, and again when it is lost`() {
    var reachability = linked()
    #expect(reachability.standing(of: peer, at: start) == .near)
    #expect(reachability.standing(of: NodeID(3), at: start) == .away)
    #expect(reachability.standing(of: NodeID(4), at: start) == .away)
    reachability.onLink(peer, isUp: false, at: start)
    #expect(reachability.standing(of: peer, at: start) == .away)
  }

  @Test func `a peer that was asked and answers nothing for half a second is slow, until it answers`() {
    var reachability = linked()
    reachability.onAsked(peer, at: start)
    let late = start.advanced(by: Reachability.slowAfter)
    #expect(reachability.standing(of: peer, at: start.advanced(by: .milliseconds(499))) == .near)
    #expect(reachability.standing(of: peer, at: late) == .slow)
    reachability.onHeard(peer, isAnswer: true, at: late)
    #expect(reachability.standing(of: peer, at: late) == .near)
    // The silence counts from the next question on.
    #expect(reachability.standing(of: peer, at: late.advanced(by: Reachability.slowAfter)) == .near)
  }

  /// One-way loss: the peer is heard, but hears nothing. Its own questions prove nothing; pings go on until one is
  /// answered.
  @Test func `hazard 50: a peer that asks and does not answer is slow, and is pinged`() {
    var reachability = linked()
    reachability.onAsked(peer, at: start)
    let late = start.advanced(by: Reachability.slowAfter)
    reachability.onHeard(peer, isAnswer: false, at: late)
    #expect(reachability.standing(of: peer, at: late) == .slow)
    #expect(reachability.quiet(for: .milliseconds(250), at: late) == [peer])
    reachability.onHeard(peer, isAnswer: true, at: late)
    #expect(reachability.standing(of: peer, at: late) == .near)
    #expect(reachability.quiet(for: .milliseconds(250), at: late).isEmpty)
  }

  @Test func `a peer that answers everything is never slow`() {
    var reachability = linked()
    for _ in 0..<3 { reachability.onAsked(peer, at: start) }
    #expect(reachability.outstanding(peer) == 3)
    for _ in 0..<5 { reachability.onHeard(peer, isAnswer: true, at: start) }
    #expect(reachability.outstanding(peer) == 0)
    #expect(reachability.standing(of: peer, at: start.advanced(by: .seconds(60))) == .near)
  }

  @Test func `who is known to be dead is away at once, until it answers or shakes hands`() {
    var reachability = linked()
    func said(_ nodes: [NodeID]) -> [[NodeID]] {
      let (lost, found) = reachability.onDead(nodes)
      return [lost, found]
    }
    #expect(said([peer, NodeID(3)]) == [[peer], []])
    #expect(reachability.standing(of: peer, at: start) == .away && !reachability.isLinked(peer))
    #expect(said([peer]) == [[], []], "said before")
    #expect(reachability.quiet(for: .milliseconds(250), at: start.advanced(by: .seconds(1))) == [peer], "still pinged")
    let wasDead = reachability.onHeard(peer, isAnswer: true, at: start)
    #expect(wasDead && reachability.standing(of: peer, at: start) == .near)
    #expect(said([peer]) == [[], []], "an answer counts for more than an old word")
    #expect(said([]) == [[], []])
    #expect(said([peer]) == [[peer], []])
    #expect(said([]) == [[], [peer]])
    _ = reachability.onDead([peer])
    reachability.onLink(peer, isUp: true, at: start)
    #expect(reachability.standing(of: peer, at: start) == .near)
  }

  @Test func `pings do not grow with the cluster, and everybody gets some`() {
    var reachability = Reachability()
    let peers = (2...100).map { NodeID($0) }
    reachability.adopt(peers)
    for peer in peers { reachability.onLink(peer, isUp: true, at: start) }
    var now = start
    var pinged: Set<NodeID> = []
    for _ in 0..<13 {
      now = now.advanced(by: .milliseconds(250))
      let chosen = reachability.quiet(for: .milliseconds(250), at: now, most: 8)
      #expect(chosen.count == 8)
      for peer in chosen {
        reachability.onAsked(peer, at: now)
        reachability.onHeard(peer, isAnswer: true, at: now)
      }
      pinged.formUnion(chosen)
    }
    #expect(pinged.count == 99)
  }

  @Test func `quiet peers with a link are to be pinged`() {
    let reachability = linked()
    #expect(reachability.quiet(for: .milliseconds(250), at: start.advanced(by: .milliseconds(249))) == [])
    #expect(reachability.quiet(for: .milliseconds(250), at: start.advanced(by: .milliseconds(250))) == [peer])
  }
}
