import KVModel
import Testing

@testable import KVClient

@Suite struct `Which node a call goes to` {
  private typealias Candidate = RouteChoice.Candidate

  /// How often each of them is chosen.
  private func shares(_ candidates: [Candidate], _ draws: Int = 3_000) -> [Int] {
    var random = PRNG(seed: 11)
    var counts = [Int](repeating: 0, count: candidates.count)
    for _ in 0..<draws {
      guard let place = RouteChoice.leastBusyOfTwo(candidates, atWorst: .avoided, random: &random) else { continue }
      counts[place] += 1
    }
    return counts
  }

  @Test func `a write goes to the first healthy one, always`() {
    let owners = [Candidate(standing: .avoided), Candidate(standing: .up, inFlight: 99), Candidate(standing: .up)]
    #expect(RouteChoice.first(owners, atWorst: .unfit) == 1)
    #expect(RouteChoice.first(owners, atWorst: .up) == 1)
    #expect(RouteChoice.first([Candidate(standing: .tried)], atWorst: .unfit) == nil)
    #expect(RouteChoice.first([] as [Candidate], atWorst: .unfit) == nil)
  }

  @Test func `idle nodes share the reads`() {
    let shares = shares([Candidate(standing: .up), Candidate(standing: .up), Candidate(standing: .up)])
    #expect(shares.allSatisfy { (800...1_200).contains($0) }, "\(shares)")
  }

  @Test func `of two the less busy one is chosen, so the busiest gets nothing`() {
    let shares = shares((0..<4).map { Candidate(standing: .up, inFlight: $0) })
    #expect(shares[3] == 0)
    #expect(shares[0] > shares[1] && shares[1] > shares[2] && shares[2] > 0, "\(shares)")
  }

  @Test func `near ones come first, healthy ones before near ones`() {
    #expect(shares([Candidate(standing: .up), Candidate(standing: .up, isNear: true, inFlight: 9)])[0] == 0)
    #expect(shares([Candidate(standing: .up), Candidate(standing: .avoided, isNear: true)])[1] == 0)
  }

  @Test func `nobody is chosen when none is good enough`() {
    var random = PRNG(seed: 1)
    #expect(RouteChoice.leastBusyOfTwo([Candidate(standing: .unfit)], atWorst: .up, random: &random) == nil)
  }
}

@Suite struct `The latency after which a read is hedged` {
  @Test func `too few reads say nothing`() {
    var window = LatencyWindow()
    for _ in 0..<99 { window.record(.milliseconds(1)) }
    #expect(window.p95 == nil)
    window.record(.milliseconds(1))
    #expect(window.p95 != nil)
  }

  @Test func `it is the 95th percentile within a fifth`() throws {
    var window = LatencyWindow()
    var random = PRNG(seed: 3)
    for _ in 0..<20_000 { window.record(.microseconds(random.within(100...2_100))) }
    let p95 = try #require(window.p95).nanoseconds / 1_000
    #expect((1_800...2_500).contains(p95), "\(p95) µs")
  }

  @Test func `what is old is forgotten`() throws {
    var window = LatencyWindow()
    for _ in 0..<2_000 { window.record(.milliseconds(50)) }
    for _ in 0..<8_000 { window.record(.milliseconds(1)) }
    #expect(try #require(window.p95) < .milliseconds(2))
  }

  @Test func `each latency lies within the bounds of its bucket`() {
    for microseconds: UInt64 in [0, 1, 15, 16, 17, 19, 20, 31, 32, 100, 1_000, 65_535, 1_000_000] {
      let latency = Span64.microseconds(microseconds)
      let bucket = LatencyWindow.bucket(of: latency)
      #expect(latency <= LatencyWindow.upperBound(of: bucket))
      if bucket > 0 { #expect(latency >= LatencyWindow.upperBound(of: bucket - 1)) }
    }
    #expect(LatencyWindow.bucket(of: Span64(nanoseconds: .max)) == LatencyWindow.buckets - 1)
  }
}

@Suite struct `Timer tokens` {
  @Test func `each comes back as it was`() {
    let tokens: [TimerToken] = [
      .call(1 << 32, .deadline), .call((1 << 29 - 1) << 32 | 77, .patience), .call(3, .hedge), .call(4, .retry),
      .link(0, attempt: 1, .connect), .link(1 << 28, attempt: .max, .reconnect), .link(5, attempt: 0, .heartbeat),
    ]
    for token in tokens { #expect(TimerToken(bits: token.bits) == token) }
    #expect(Set(tokens.map(\.bits)).count == tokens.count)
  }
}
