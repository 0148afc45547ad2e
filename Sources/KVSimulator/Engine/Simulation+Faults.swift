import KVCore
import KVModel

// Faults: how each begins, and how it ends.
extension Simulation {
  func begin(_ fault: Fault, _ index: Int) {
    guard phase == .faulty else { return }
    counts.faults += 1
    trace.line(time) { "FAULT \(fault.line)" }
    trace.mix(time, UInt64(index))
    let node = nodes[fault.node]
    switch fault.kind {
    case .crash: crash(node, for: fault.lasts, fault.detail)
    case .blackout: for (place, node) in nodes.enumerated() { crash(node, for: fault.lasts, fault.detail >> place) }
    case .restart:
      stopInOrder(node)
      queue.push(.start(node: fault.node), at: time + fault.lasts / 4)
    case .pause: if node.condition == .running { node.condition = .paused }
    case .cut, .cutOneWay, .isolate, .halves: for (from, to) in ways(of: fault) { cut(from, to) }
    case .clog: network[fault.node, fault.peer].clogs += 1
    case .clockStep: step(node, byMs: Int64(fault.detail % 10_001) - 5_000)
    case .clockHourAhead: step(node, byMs: 3_600_000)
    case .clockDayBack:
      crash(node, for: fault.lasts, fault.detail)
      step(node, byMs: -86_400_000)
    case .slowDisk: node.syncFactor = 100
    case .syncFails: node.nextSyncFault = StorageFault(.ioError, path: "log", detail: "the sync failed")
    case .diskFull: node.isDiskFull = true
    case .diskNearlyFull: setDisk(of: node, usedPercent: 96)
    case .bitFlip: for place in damaged(by: fault) { flip(nodes[place], fault.detail) }
    case .bitFlipOnTwo:
      acceptLosses(Array(nodes.indices))
      flip([fault.node, fault.peer], fault.detail)
    case .wipe: wipe(node, for: fault.lasts)
    case .goBack: takeImage(of: node, index, for: fault.lasts)
    case .diskForgets:
      if node.condition == .running, !node.takesNoPart, node.images.isEmpty {
        node.images[index] = (node.state, node.disks.map { $0.image() })
      }
    }
    queue.push(.faultEnds(index), at: time + fault.lasts)
  }

  func end(_ fault: Fault, _ index: Int) {
    guard phase == .faulty else { return }
    trace.line(time) { "fault ends: \(fault.line)" }
    let node = nodes[fault.node]
    switch fault.kind {
    case .crash, .blackout, .restart, .syncFails, .bitFlip, .bitFlipOnTwo, .wipe: break
    case .goBack: restoreImage(of: node, index)
    case .diskForgets: forget(node, index)
    case .pause: resume(node)
    case .cut, .cutOneWay, .isolate, .halves: for (from, to) in ways(of: fault) { mend(from, to) }
    case .clog: release(from: fault.node, to: fault.peer)
    case .clockStep: step(node, byMs: 5_000 - Int64(fault.detail % 10_001))
    case .clockHourAhead: step(node, byMs: -3_600_000)
    case .clockDayBack: step(node, byMs: 86_400_000)
    case .slowDisk: node.syncFactor = 1
    case .diskFull:
      node.isDiskFull = false
      start(node)
    case .diskNearlyFull: setDisk(of: node, usedPercent: 50)
    }
  }

  private func crash(_ node: SimulatedNode, for span: UInt64, _ detail: UInt64) {
    guard node.isUp else { return }
    crash(node, keepsTail: detail & 1 == 1)
    queue.push(.start(node: node.index), at: time + span)
  }

  /// The directions that a fault cuts.
  private func ways(of fault: Fault) -> [(Int, Int)] {
    switch fault.kind {
    case .cut: return [(fault.node, fault.peer), (fault.peer, fault.node)]
    case .cutOneWay: return [(fault.node, fault.peer)]
    case .isolate:
      return nodes.indices.filter { $0 != fault.node }.flatMap { [(fault.node, $0), ($0, fault.node)] }
    case .halves:
      var ways: [(Int, Int)] = []
      for a in nodes.indices {
        for b in nodes.indices where a != b && fault.detail >> a & 1 != fault.detail >> b & 1 { ways.append((a, b)) }
      }
      return ways
    case .crash, .blackout, .restart, .pause, .clog, .clockStep, .clockDayBack, .clockHourAhead, .slowDisk, .syncFails,
      .diskFull, .diskNearlyFull, .bitFlip, .wipe, .goBack, .diskForgets, .bitFlipOnTwo:
      return []
    }
  }

  private func step(_ node: SimulatedNode, byMs: Int64) {
    node.clock.wallOffsetMs += byMs
    // A clock that was set says nothing about stamps from before.
    node.acceptedStamp = Array(repeating: .zero, count: node.acceptedStamp.count)
    node.offered.removeAll()
  }

  func resume(_ node: SimulatedNode) {
    guard node.condition == .paused else { return }
    node.condition = .running
    measureDisk(of: node)
    let waiting = node.waiting
    node.waiting = []
    for event in waiting { queue.push(event, at: time) }
  }

  /// One node; every other time all but one, where each copy has every write.
  private func damaged(by fault: Fault) -> [Int] {
    let isOfMany = options.writeQuorum == options.copies && fault.detail >> 24 & 1 == 1
    return isOfMany ? nodes.indices.filter { $0 != fault.peer } : [fault.node]
  }

  /// Fewer copies of a record at a time than a write quorum has: what W of them have lost the others may never have had.
  private func flip(_ node: SimulatedNode, _ detail: UInt64) {
    guard !node.takesNoPart else { return }
    let key = keys[Int(detail % UInt64(keys.count))]
    let others = nodes.filter { $0.index != node.index }
    let lost = others.count { $0.disks.contains { lacks(key, $0) } }
    guard lost < max(1, options.writeQuorum - 1), others.allSatisfy(hasCaughtUp) else { return }
    for disk in node.disks where disk.damage(key, byte: Int(detail >> 32)) { hasDamage = true }
  }

  /// On these, where all copies are the same.
  private func flip(_ places: [Int], _ detail: UInt64) {
    let key = keys[Int(detail % UInt64(keys.count))]
    let records = nodes.map { node in
      node.disks.flatMap { $0.snapshot().records }.first { $0.key == key.bytes }?.record
    }
    guard let first = records[0], records.allSatisfy({ $0 == first }), (try? first.decoded()) != nil,
      nodes.allSatisfy({ !$0.takesNoPart && !$0.disks.contains { lacks(key, $0) } })
    else { return }
    for place in places {
      for disk in nodes[place].disks where disk.damage(key, byte: Int(detail >> 32)) { hasDamage = true }
    }
  }

  /// Copies a node's disks, and starts it again, so that its peers hear of a later start.
  private func takeImage(of node: SimulatedNode, _ fault: Int, for span: UInt64) {
    guard node.condition == .running, !node.takesNoPart else { return }
    node.images[fault] = (node.state, node.disks.map { $0.image() })
    crash(node, keepsTail: true)
    queue.push(.start(node: node.index), at: time + span / 8)
  }

  /// Puts the copy back, once every other member has heard of a later start: with fewer, whoever has heard of it could
  /// be out of reach, and nobody could tell. And only one at a time: a second one would take what the first is to be
  /// rebuilt from.
  private func restoreImage(of node: SimulatedNode, _ fault: Int) {
    guard let image = node.images.removeValue(forKey: fault), !node.takesNoPart else { return }
    let others = nodes.filter { $0.index != node.index && !$0.takesNoPart }
    let haveHeard = others.allSatisfy { other in
      other.state.knownStart(of: node.id).map { $0.number > image.state.generation.number } ?? false
    }
    guard haveHeard, others.allSatisfy(hasCaughtUp), !others.contains(where: isDamaged) else { return }
    if node.isUp { crash(node, keepsTail: false) }
    trace.line(time) { "\(node.name) goes back to generation \(image.state.generation.number)" }
    node.state = image.state
    node.disks = image.disks
    node.livesFrom = image.state.life
    hasDamage = true
    queue.push(.start(node: node.index), at: time + 1_000_000)
  }

  /// Once peers hold what the node has not minted then, by which it will be told, and all that it forgets; and only one
  /// node at a time.
  private func forget(_ node: SimulatedNode, _ fault: Int) {
    guard let image = node.images.removeValue(forKey: fault), node.condition == .running,
      nodes.allSatisfy({ !$0.takesNoPart && hasCaughtUp($0) && !isDamaged($0) }), image.state.life == node.state.life,
      image.disks.indices.contains(where: { hasMinted(node, beyond: image.disks[$0], shard: $0) }),
      haveAll(besides: node, beyond: image.disks)
    else { return }
    crash(node, keepsTail: false)
    trace.line(time) { "\(node.name)'s disks forget what they synced last" }
    node.disks = image.disks
    node.livesFrom = node.state.life
    hasDamage = true
    queue.push(.start(node: node.index), at: time + 1_000_000)
  }

  /// Whether each other node's copies are those of `node` wherever those have changed since `disks`.
  private func haveAll(besides node: SimulatedNode, beyond disks: [SimulatedDisk]) -> Bool {
    func records(_ disks: [SimulatedDisk]) -> [[UInt8]: EncodedRecord] {
      Dictionary(disks.flatMap { $0.snapshot().records }.map { ($0.key, $0.record) }) { first, _ in first }
    }
    let before = records(disks)
    let changed = records(node.disks).filter { before[$0.key] != $0.value }
    return nodes.filter { $0.index != node.index }.allSatisfy { other in
      let theirs = records(other.disks)
      return changed.allSatisfy { theirs[$0.key] == $0.value }
    }
  }

  private func hasMinted(_ node: SimulatedNode, beyond disk: SimulatedDisk, shard: Int) -> Bool {
    // What it minted in an earlier life it has lost before.
    guard let lease = disk.recoveredLease,
      UInt64(lease.actor.epoch) >= node.state.life * NodeState.epochsPerStart
    else { return false }
    let others = nodes.filter { $0.index != node.index }
    return others.flatMap(\.disks).flatMap { $0.snapshot().records }.contains { entry in
      guard let key = entry.key.withUnsafeBytes(Key.init(stored:)), let record = try? entry.record.decoded() else {
        return false
      }
      let partition = key.token.partition(bits: options.partitionBits)
      return partition.shard(of: node.shards.count) == shard
        && record.context[lease.actor] > lease.sequence << 8 | 0xff
    }
  }

  private func lacks(_ key: Key, _ disk: SimulatedDisk) -> Bool {
    let snapshot = disk.snapshot()
    return snapshot.openGaps.contains { $0.part == .key(key) } || snapshot.damaged.contains { $0.key == key.bytes }
  }

  func hasCaughtUp(_ node: SimulatedNode) -> Bool {
    guard let livesFrom = node.livesFrom else { return true }
    return node.state.life > livesFrom && !node.disks.contains { !$0.snapshot().openGaps.isEmpty }
  }

  private func isDamaged(_ node: SimulatedNode) -> Bool {
    node.disks.contains { disk in
      let snapshot = disk.snapshot()
      return !snapshot.openGaps.isEmpty || !snapshot.damaged.isEmpty
    }
  }

  /// The node's disks are lost while it is down; what starts again is a node that nobody knows.
  private func wipe(_ node: SimulatedNode, for span: UInt64) {
    guard !node.takesNoPart else { return }
    if node.isUp { crash(node, keepsTail: false) }
    let geometry = ShardGeometry(of: layout)
    node.id = NodeID(nodeDraws.next() | 1)
    node.state = NodeState(id: node.id, shards: node.shards.count)
    node.disks = node.disks.map { _ in makeDisk(geometry) }
    node.isStranger = true
    queue.push(.start(node: node.index), at: time + span)
  }
}
