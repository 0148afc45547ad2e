import KVModel

/// Draws faults, each as its events in order, counted from its begin; after the last of them all is well.
struct ChaosDraw {
  typealias Kind = ChaosSchedule.Kind
  typealias Event = ChaosSchedule.Event
  typealias End = ChaosSchedule.End

  var prng: PRNG
  private let setting: ChaosSchedule.Setting
  /// Every kind comes once before any comes again: short runs see most of them.
  private var bag: [Kind] = []

  init(seed: UInt64, _ setting: ChaosSchedule.Setting) {
    prng = PRNG(seed: seed)
    self.setting = setting
  }

  mutating func nextKind() -> Kind {
    if bag.isEmpty { bag = Kind.allCases.filter(isPossible) }
    return bag.remove(at: prng.index(bag.count))
  }

  private func isPossible(_ kind: Kind) -> Bool {
    (setting.hasLinks || !kind.needsLinks) && (setting.hasFaultShim || !kind.needsFaultShim)
  }

  mutating func fault(_ kind: Kind) -> [Event] {
    switch kind {
    case .crash: crash(some(), losesPower: false)
    case .powerCut: crash(some(), losesPower: true)
    case .crashLoop: crashLoop(pick(1)[0])
    case .blackout: crash(everyNode, losesPower: false)
    case .powerBlackout: crash(everyNode, losesPower: true)
    case .restart: restart(some())
    case .pause: pause(some())
    case .pauseMany: pause(pick(Int(prng.within(UInt64(setting.expendable + 1)...UInt64(setting.nodes)))))
    case .cut: cut(oneWay: false)
    case .cutOneWay: cut(oneWay: true)
    case .isolate: isolate(pick(1)[0])
    case .halves: halves()
    case .loss: loss(of: pick(1)[0])
    case .lossEverywhere: loss(of: nil)
    case .clockStep: clockStep()
    case .clockJump: clockJump(pick(1)[0])
    case .oldImage: oldImage(pick(1)[0])
    case .mixed: mixed()
    }
  }

  // MARK: Whom

  private var everyNode: [Int] { Array(1...setting.nodes) }

  /// So many different nodes, in random order.
  private mutating func pick(_ count: Int, but left: [Int] = []) -> [Int] {
    var rest = everyNode.filter { !left.contains($0) }
    return (0..<min(count, rest.count)).map { _ in rest.remove(at: prng.index(rest.count)) }
  }

  /// No more nodes than may be away.
  private mutating func some() -> [Int] { pick(1 + prng.index(max(1, setting.expendable))) }

  private func names(_ nodes: [Int]) -> String { nodes.map { "n\($0)" }.joined(separator: ",") }

  private func announce(_ kind: Kind, _ text: String) -> Event { Event(at: 0, action: .announce(kind, text)) }

  private func sorted(_ events: [Event]) -> [Event] {
    // Stable: what was said first at the same time stays first.
    events.enumerated().sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }.map(\.element)
  }

  // MARK: Processes

  private mutating func crash(_ nodes: [Int], losesPower: Bool) -> [Event] {
    let isBlackout = nodes.count == setting.nodes
    let kind: Kind =
      switch (isBlackout, losesPower) {
      case (false, false): .crash
      case (false, true): .powerCut
      case (true, false): .blackout
      case (true, true): .powerBlackout
      }
    var events = [announce(kind, names(nodes))]
    events += nodes.map { Event(at: 0, action: .kill($0)) }
    if losesPower { events += nodes.map { Event(at: 0, action: .losePower($0)) } }
    // All at once, or one while the others are still away.
    let together = prng.chance(1, of: 2)
    let back = prng.within(0...(isBlackout ? 1_500 : 6_000))
    for node in nodes {
      events.append(Event(at: together ? back : back + prng.within(0...2_000), action: .start(node)))
    }
    return sorted(events)
  }

  private mutating func crashLoop(_ node: Int) -> [Event] {
    let times = prng.within(2...5)
    var at: UInt64 = 0
    var events = [announce(.crashLoop, "n\(node) \(times) times")]
    for _ in 0..<times {
      events.append(Event(at: at, action: .kill(node)))
      if setting.hasFaultShim, prng.chance(1, of: 2) { events.append(Event(at: at, action: .losePower(node))) }
      at += prng.within(0...300)
      events.append(Event(at: at, action: .start(node)))
      at += prng.within(10...900)
    }
    return events
  }

  private mutating func restart(_ nodes: [Int]) -> [Event] {
    var events = [announce(.restart, names(nodes))]
    for node in nodes {
      let at = prng.within(0...1_000)
      events.append(Event(at: at, action: .terminate(node)))
      events.append(Event(at: at + prng.within(0...4_000), action: .start(node)))
    }
    return sorted(events)
  }

  private mutating func pause(_ nodes: [Int]) -> [Event] {
    let kind: Kind = nodes.count > setting.expendable ? .pauseMany : .pause
    // Mostly some seconds; now and then long enough for every deadline and timeout to pass.
    let length = prng.chance(1, of: 4) ? prng.within(8_000...30_000) : prng.within(1_000...8_000)
    var events = [announce(kind, "\(names(nodes)) for \(length) ms")]
    events += nodes.map { Event(at: 0, action: .stop($0)) }
    events += nodes.map { Event(at: length + (nodes.count > 1 ? prng.within(0...500) : 0), action: .resume($0)) }
    return sorted(events)
  }

  // MARK: Clocks and disks

  /// All clocks stay within 250 ms of each other.
  private mutating func clockStep() -> [Event] {
    let nodes = pick(1 + prng.index(setting.nodes))
    let length = prng.within(3_000...12_000)
    var events = [announce(.clockStep, "\(names(nodes)) for \(length) ms")]
    for node in nodes {
      let ahead = Int(prng.within(0...240)) - 120
      events.append(Event(at: prng.within(0...1_000), action: .clock(node, aheadMs: ahead == 0 ? 1 : ahead)))
      events.append(Event(at: length + prng.within(0...1_000), action: .clock(node, aheadMs: 0)))
    }
    return sorted(events)
  }

  /// Far beyond the bound: while it runs, or while it is away.
  private mutating func clockJump(_ node: Int) -> [Event] {
    let (ahead, words) = prng.chance(1, of: 2) ? (3_600_000, "an hour ahead") : (-86_400_000, "a day back")
    let length = prng.within(3_000...10_000)
    let whileAway = prng.chance(1, of: 2)
    var events = [announce(.clockJump, "n\(node) \(words) for \(length) ms\(whileAway ? ", at a restart" : "")")]
    for (at, ahead) in [(0, ahead), (length, 0)] {
      if whileAway { events.append(Event(at: at, action: .kill(node))) }
      events.append(Event(at: at, action: .clock(node, aheadMs: ahead)))
      if whileAway { events.append(Event(at: at + 200, action: .start(node))) }
    }
    return events
  }

  /// The node runs between the image and its return, so that its peers know of a later start.
  private mutating func oldImage(_ node: Int) -> [Event] {
    let ran = prng.within(4_000...10_000)
    return [
      announce(.oldImage, "n\(node), as it was \(ran) ms before"), Event(at: 0, action: .kill(node)),
      Event(at: 0, action: .keepImage(node)), Event(at: 0, action: .start(node)), Event(at: ran, action: .kill(node)),
      Event(at: ran, action: .restoreImage(node)), Event(at: ran, action: .start(node)),
    ]
  }

  // MARK: Links

  private mutating func cut(oneWay: Bool) -> [Event] {
    let pair = pick(2)
    let directions = [(End.node(pair[0]), End.node(pair[1])), (.node(pair[1]), .node(pair[0]))]
    let arrow = oneWay ? "→" : "↔"
    return drops(
      oneWay ? .cutOneWay : .cut, "n\(pair[0])\(arrow)n\(pair[1])", Array(directions.prefix(oneWay ? 1 : 2)),
      percent: 100)
  }

  /// From its peers alone, so that clients still find it, or from all; both ways, or in one direction.
  private mutating func isolate(_ node: Int) -> [Event] {
    let withClients = prng.chance(1, of: 2)
    let way = prng.index(4)
    var others = everyNode.filter { $0 != node }.map(End.node)
    if withClients { others.append(.clients) }
    var directions: [(End, End)] = []
    if way != 1 { directions += others.map { ($0, .node(node)) } }
    if way != 2 { directions += others.map { (.node(node), $0) } }
    let from = withClients ? "all" : "its peers"
    let words = way == 1 ? "is not heard by" : way == 2 ? "does not hear" : "and"
    return drops(.isolate, "n\(node) \(words) \(from)", directions, percent: 100)
  }

  private mutating func halves() -> [Event] {
    let left = pick(setting.nodes / 2)
    let right = everyNode.filter { !left.contains($0) }
    var directions: [(End, End)] = []
    for a in left { for b in right { directions += [(.node(a), .node(b)), (.node(b), .node(a))] } }
    return drops(.halves, "\(names(left)) | \(names(right))", directions, percent: 100)
  }

  private mutating func loss(of node: Int?) -> [Event] {
    let percent = Int(prng.within(5...30))
    let ends = everyNode.map(End.node) + [.clients]
    var directions: [(End, End)] = []
    for a in ends {
      for b in ends where a != b {
        if let node, a != .node(node), b != .node(node) { continue }
        directions.append((a, b))
      }
    }
    return drops(
      node == nil ? .lossEverywhere : .loss, "\(percent) % \(node.map { "at n\($0)" } ?? "on every link")", directions,
      percent: percent)
  }

  private mutating func drops(_ kind: Kind, _ text: String, _ directions: [(End, End)], percent: Int) -> [Event] {
    let length = prng.within(2_000...12_000)
    func all(_ percent: Int, at: UInt64) -> [Event] {
      directions.map { Event(at: at, action: .drop(percent: percent, from: $0.0, to: $0.1)) }
    }
    return [announce(kind, "\(text) for \(length) ms")] + all(percent, at: 0) + all(0, at: length)
  }

  // MARK: Several at once

  /// Something that happens to one node each, to two or three nodes, begun within a second; and perhaps a bad network.
  private mutating func mixed() -> [Event] {
    let nodes = pick(setting.nodes > 2 && prng.chance(1, of: 3) ? 3 : 2)
    var events: [Event] = []
    for node in nodes {
      let begin = prng.within(0...1_000)
      let part =
        switch prng.index(4) {
        case 0: crash([node], losesPower: setting.hasFaultShim && prng.chance(1, of: 2))
        case 1: crashLoop(node)
        case 2: restart([node])
        default: pause([node])
        }
      events += shifted(part, by: begin)
    }
    // A direction that is healed by one fault must not be cut by another: links come once.
    if setting.hasLinks, prng.chance(1, of: 2) { events += prng.chance(1, of: 2) ? cut(oneWay: true) : loss(of: nil) }
    return [announce(.mixed, "on \(names(nodes))")] + sorted(events.filter { !$0.isAnnouncement })
  }

  private func shifted(_ events: [Event], by milliseconds: UInt64) -> [Event] {
    events.map { Event(at: $0.at + milliseconds, action: $0.action) }
  }
}

extension ChaosSchedule.Event {
  var isAnnouncement: Bool { if case .announce = action { true } else { false } }
}
