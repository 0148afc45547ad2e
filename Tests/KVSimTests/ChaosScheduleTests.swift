import Testing

@testable import kvsim

@Suite struct ChaosScheduleTests {
  /// What a schedule does to a cluster, followed event by event.
  private struct Cluster {
    var down: Set<Int> = []
    var leaving: Set<Int> = []
    var stopped: Set<Int> = []
    var drops: [String: Int] = [:]
    var clocks: [Int: Int] = [:]
    var images: Set<Int> = []

    var away: Int { down.union(stopped).count }
    var isWell: Bool { down.isEmpty && leaving.isEmpty && stopped.isEmpty && drops.isEmpty && clocks.isEmpty }

    /// False when it makes no sense.
    mutating func apply(_ action: ChaosSchedule.Action) -> Bool {
      switch action {
      case .kill(let node), .terminate(let node):
        return !stopped.contains(node) && down.insert(node).inserted
      case .losePower(let node): return down.contains(node)
      case .start(let node): return down.remove(node) != nil
      case .stop(let node): return !down.contains(node) && stopped.insert(node).inserted
      case .resume(let node): return stopped.remove(node) != nil
      case .clock(let node, 0): return clocks.removeValue(forKey: node) != nil
      case .clock(let node, let aheadMs): return clocks.updateValue(aheadMs, forKey: node) == nil
      case .keepImage(let node):
        images.insert(node)
        return down.contains(node)
      case .restoreImage(let node): return down.contains(node) && images.contains(node)
      case .drop(0, let from, let to): return drops.removeValue(forKey: "\(from)→\(to)") != nil
      case .drop(let percent, let from, let to):
        return from != to && (1...100).contains(percent) && drops.updateValue(percent, forKey: "\(from)→\(to)") == nil
      case .announce: return true
      }
    }
  }

  private static let settings = [
    ChaosSchedule.Setting(milliseconds: 120_000), ChaosSchedule.Setting(nodes: 5, milliseconds: 300_000),
    ChaosSchedule.Setting(nodes: 7, expendable: 2, milliseconds: 60_000),
    ChaosSchedule.Setting(milliseconds: 12_000, hasLinks: false, hasFaultShim: false),
  ]

  @Test(arguments: settings)
  func `every action makes sense, each fault begins in a healthy cluster, all is healed in time`(
    setting: ChaosSchedule.Setting
  ) {
    for seed in 1...200 as ClosedRange<UInt64> {
      var cluster = Cluster()
      var last: UInt64 = 0
      for event in ChaosSchedule(seed: seed, setting).events {
        #expect(event.at >= last, "seed \(seed): \(event)")
        last = event.at
        if case .announce = event.action { #expect(cluster.isWell, "seed \(seed): \(event)") }
        let makesSense = cluster.apply(event.action)
        #expect(makesSense, "seed \(seed): \(event)")
      }
      #expect(cluster.isWell, "seed \(seed)")
      #expect(last <= setting.milliseconds)
    }
  }

  @Test func `more nodes than may be away are away only where the kind says so`() {
    let wide: Set<ChaosSchedule.Kind> = [.blackout, .powerBlackout, .pauseMany, .mixed]
    for seed in 1...200 as ClosedRange<UInt64> {
      var cluster = Cluster()
      var kind = ChaosSchedule.Kind.crash
      for event in ChaosSchedule(seed: seed, ChaosSchedule.Setting(nodes: 5, milliseconds: 120_000)).events {
        if case .announce(let next, _) = event.action { kind = next }
        _ = cluster.apply(event.action)
        #expect(cluster.away <= 1 || wide.contains(kind), "seed \(seed): \(event)")
      }
    }
  }

  @Test func `equal seeds give equal schedules, others others`() {
    let setting = ChaosSchedule.Setting(milliseconds: 120_000)
    #expect(ChaosSchedule(seed: 5, setting) == ChaosSchedule(seed: 5, setting))
    #expect(ChaosSchedule(seed: 5, setting) != ChaosSchedule(seed: 6, setting))
  }

  @Test func `six minutes see every kind of fault`() {
    for seed in 1...20 as ClosedRange<UInt64> {
      let kinds = ChaosSchedule(seed: seed, ChaosSchedule.Setting(milliseconds: 360_000)).events.compactMap {
        if case .announce(let kind, _) = $0.action { kind } else { nil }
      }
      #expect(Set(kinds) == Set(ChaosSchedule.Kind.allCases), "seed \(seed)")
    }
  }

  @Test func `without links and without the fault shim nothing asks for them`() {
    let setting = ChaosSchedule.Setting(milliseconds: 600_000, hasLinks: false, hasFaultShim: false)
    for event in ChaosSchedule(seed: 1, setting).events {
      switch event.action {
      case .drop, .losePower, .clock: Issue.record("\(event)")
      case .announce(let kind, _): #expect(!kind.needsLinks && !kind.needsFaultShim)
      case .kill, .terminate, .start, .stop, .resume, .keepImage, .restoreImage: break
      }
    }
  }

  @Test func `the lines are those that the script reads`() {
    let lines = [
      ChaosSchedule.Event(at: 10, action: .announce(.cutOneWay, "n1→n2 for 5 ms")), .init(at: 10, action: .kill(1)),
      .init(at: 10, action: .losePower(1)), .init(at: 11, action: .start(1)), .init(at: 12, action: .terminate(2)),
      .init(at: 13, action: .stop(3)), .init(at: 14, action: .resume(3)),
      .init(at: 15, action: .drop(percent: 30, from: .clients, to: .node(2))),
      .init(at: 16, action: .clock(2, aheadMs: -120)), .init(at: 17, action: .keepImage(3)),
      .init(at: 18, action: .restoreImage(3)),
    ].map(\.description)
    #expect(
      lines == [
        "10 fault cut-one-way n1→n2 for 5 ms", "10 kill 1", "10 power 1", "11 start 1", "12 term 2", "13 stop 3",
        "14 cont 3", "15 drop 30 c 2", "16 clock 2 -120", "17 image 3", "18 restore 3",
      ])
  }
}
