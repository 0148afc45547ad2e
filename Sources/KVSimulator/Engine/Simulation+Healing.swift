import KVCore
import KVModel

// The second phase: the faults end, a random core is healed; then every request ends, every key is served, every read
// agrees.
extension Simulation {
  /// Budgets, simulated nanoseconds.
  private static let settlingSpan: UInt64 = 15_000_000_000
  private static let requestSpan: UInt64 = 60_000_000_000
  private static let convergenceSpan: UInt64 = 300_000_000_000

  func heal() {
    phase = .healing
    let core = drawCore()
    trace.line(time) { "the faults end; the core is \(core.map { nodes[$0].name }.joined(separator: " "))" }
    network.healAll()
    for from in nodes.indices {
      for to in nodes.indices where network[from, to].clogs > 0 {
        network[from, to].clogs = 1
        release(from: from, to: to)
      }
    }
    for node in nodes { heal(node, isCore: core.contains(node.index)) }
    for a in nodes.indices { for b in nodes.indices where a < b { planConnect(a, b, soon: true) } }
    for client in clients.indices { clients[client].isResting = true }
    let span = Simulation.settlingSpan + 2 * options.rivalSilence
    if !runEvents(for: span, until: { self.isConnected(core) }), violations.isEmpty {
      fail(Violation(.liveness, "the core is not connected and confirmed though the faults have ended"))
    }
    awaitAcceptance(core)
    finishWorkload()
    endRequests()
    phase = .checking
    runEvents(for: lastFaultyArrival > time ? lastFaultyArrival - time : 0) { false }
    // A slow disk may still be syncing writes that their coordinators have given up.
    runEvents(for: Simulation.settlingSpan) { core.allSatisfy { self.nodes[$0].areDisksIdle } }
    // Who was paused takes everybody for slow until each has answered a ping.
    runEvents(for: Simulation.settlingSpan) { self.areNear(core) }
    awaitAgreement(core)
    awaitRebuild(core)
    awaitConvergence(core)
    if violations.isEmpty { awaitHandoff(core) }
    if violations.isEmpty { checkReceipts(core) }
    if violations.isEmpty { serveEveryKey(core) }
    if violations.isEmpty { checkIdle(core) }
    if violations.isEmpty { awaitHandoff(core) }
    if violations.isEmpty { awaitSweeps(core) }
    if violations.isEmpty { checkQuiet(core) }
    if violations.isEmpty { compareReplicas(core) }
  }

  private func areNear(_ core: [Int]) -> Bool {
    core.allSatisfy { a in
      nodes[a].shards.allSatisfy { shard in
        core.allSatisfy { $0 == a || shard.reachability.standing(of: nodes[$0].id, at: now(nodes[a]).instant) == .near }
      }
    }
  }

  private func isConnected(_ core: [Int]) -> Bool {
    core.allSatisfy { a in
      nodes[a].isUp && nodes[a].shards[0].view.standing == .confirmed
        && core.allSatisfy { $0 == a || isConnected(nodes[a], to: $0) }
    }
  }

  private func isConnected(_ node: SimulatedNode, to peer: Int) -> Bool {
    let link = node.links[peer]
    return link.isUp && link.connection == network[pair: node.index, peer].connection
  }

  /// All members, but for as many as every key can do without: strangers, and others by chance.
  private func drawCore() -> [Int] {
    var core = nodes.indices.filter { !nodes[$0].takesNoPart }
    let spare = options.copies - max(options.readQuorum, options.writeQuorum)
    // A damaged copy counts as away for its key, and is rebuilt from each other owner.
    var missing = nodes.count - core.count
    let majority = nodes.count / 2 + 1
    if hasDamage || nodeDraws.chance(1, of: 2) { return core }
    while missing < spare, core.count > majority, nodeDraws.chance(1, of: 2) {
      core.remove(at: nodeDraws.index(core.count))
      missing += 1
    }
    return core
  }

  private func heal(_ node: SimulatedNode, isCore: Bool) {
    node.syncFactor = 1
    node.isDiskFull = false
    for disk in node.disks { disk.faults.readError = 0 }
    setDisk(of: node, usedPercent: 50)
    node.nextSyncFault = nil
    node.clock.wallOffsetMs = 0
    node.acceptedStamp = Array(repeating: .zero, count: node.acceptedStamp.count)
    node.offered.removeAll()
    resume(node)
    node.isLeftOut = !isCore
    if isCore { start(node) } else { crash(node, keepsTail: true) }
  }

  /// Handles events for a span of simulated time, or until `isDone`; false when the time was over first.
  @discardableResult
  func runEvents(for span: UInt64, until isDone: () -> Bool) -> Bool {
    let end = time + span
    while violations.isEmpty {
      if isDone() { return true }
      guard let next = queue.nextAt, next <= end else {
        time = end
        return false
      }
      _ = stepEvent()
    }
    return false
  }

  /// What the faults kept clients from completing is completed now.
  private func finishWorkload() {
    guard violations.isEmpty, completed < options.workload.operations else { return }
    for client in clients.indices {
      clients[client].isResting = false
      queue.push(.clientTurn(client: client), at: time)
    }
    let isDone = runEvents(for: 600_000_000_000) { self.completed >= self.options.workload.operations }
    if !isDone, violations.isEmpty {
      fail(Violation(.liveness, "only \(completed) operations were completed, though the faults have ended"))
    }
  }

  private func endRequests() {
    for client in clients.indices { clients[client].isResting = true }
    let haveEnded = runEvents(for: Simulation.requestSpan) { self.clients.allSatisfy { $0.current == nil } }
    if !haveEnded, violations.isEmpty { fail(Violation(.liveness, "a request has not ended within its deadline")) }
  }

  /// One after the other, every key is read, written, and read again.
  private func serveEveryKey(_ core: [Int]) {
    let isWhole = core.count == nodes.count
    for key in keys.indices where violations.isEmpty {
      ask("read") { self.read(key, .quorum, at: 0) }
      if key % 2 == 0 { ask("write") { self.write(key, .put, context: nil, at: 0) } }
      ask("read again") { self.read(key, isWhole ? .all : .quorum, at: 0) }
    }
  }

  private func ask(_ what: String, _ begin: () -> Void) {
    guard violations.isEmpty else { return }
    begin()
    let place = history.operations.count - 1
    runEvents(for: Simulation.requestSpan) { self.clients[0].current == nil }
    let operation = history.operations[place]
    guard violations.isEmpty, operation.outcome != .ok else { return }
    fail(
      Violation(
        .liveness,
        "cannot \(what) \(history.keys[operation.key]) though the faults have ended: \(operation.error ?? "no answer")",
        operations: [place]))
  }

  /// Nothing is under way any more, and nothing was forgotten.
  private func checkIdle(_ core: [Int]) {
    runEvents(for: 70_000_000_000) { core.allSatisfy { self.nodes[$0].shards.allSatisfy { $0.inFlight == 0 } } }
    for index in core {
      for (shard, machine) in nodes[index].shards.enumerated() where machine.inFlight > 0 {
        let kinds = machine.inFlightByKind.filter { $0.count > 0 }.map { "\($0.count) \($0.kind)" }
        return fail(
          Violation(
            .bounded, "\(nodes[index].name) shard \(shard) still has under way: \(kinds.joined(separator: ", "))"))
      }
    }
  }

  /// Owners compare their copies by themselves, or hand over what others missed: without a read all copies become equal,
  /// and so do the trees.
  private func awaitConvergence(_ core: [Int]) {
    guard options.exchangeInterval > 0 || doHintsSuffice(core), !isDamaged(core) else { return }
    let healers = options.exchangeInterval > 0 ? "exchanges do" : "hints do"
    let end = time + Simulation.convergenceSpan
    while violations.isEmpty, let difference = difference(among: core) {
      if time >= end { return fail(Violation(.convergence, "\(difference), and \(healers) not mend it")) }
      runEvents(for: 250_000_000) { false }
    }
  }

  /// What expired while the workload went on has been due for long: no copy that can be read has its bytes yet, and no
  /// entry stands for bytes that are gone.
  private func awaitSweeps(_ core: [Int]) {
    guard options.sweeps.intervalMs > 0 else { return }
    let end = time + Simulation.convergenceSpan
    while violations.isEmpty, let late = nodeWithExpiredBytes(among: core) {
      if time >= end {
        return fail(Violation(.bounded, "\(late) keeps the bytes, or the entry, of what expired long ago"))
      }
      runEvents(for: 250_000_000) { false }
    }
  }

  private func nodeWithExpiredBytes(among core: [Int]) -> String? {
    core.first { node in
      let late = options.sweeps.marginMs + Sweep.marginMin.milliseconds + 2 * options.sweeps.intervalMs
      let due = WallTime(milliseconds: now(nodes[node]).wall.milliseconds - late)
      return nodes[node].disks.contains { disk in
        let snapshot = disk.snapshot()
        if snapshot.expiries.contains(where: { $0.at <= due }) { return true }
        return snapshot.records.contains { entry in
          guard let record = try? entry.record.decoded() else { return false }
          return record.versions.contains { $0.isExpired(at: due) && $0.valueBytes > 0 }
        }
      }
    }.map { nodes[$0].name }
  }

  /// With all members well, every key was read from all its owners: now their copies are equal, byte for byte.
  private func compareReplicas(_ core: [Int]) {
    guard core.count == nodes.count, let difference = difference(among: core) else { return }
    fail(Violation(.convergence, "\(difference), which was read from all owners"))
  }

  /// Of two versions that lie beside each other in the end one at least has learnt of the other from its receipt.
  private func checkReceipts(_ core: [Int]) {
    guard core.count == nodes.count, !hasDamage else { return }
    var joined: [[UInt8]: Record] = [:]
    for entry in nodes.flatMap({ $0.disks.flatMap { $0.snapshot().records } }) {
      guard let record = try? entry.record.decoded() else { continue }
      joined[entry.key] = joined[entry.key]?.joined(record) ?? record
    }
    for record in joined.values {
      let alone = record.versions.map { Int($0.requestID.sequence) }.filter(toldAlone.contains).sorted()
      guard let first = alone.first, let last = alone.last, first != last else { continue }
      let message = "the receipts of puts \(alone) all tell that no version lies beside them"
      return fail(Violation(.session, message, operations: [first, last]))
    }
  }

  /// Where copies of a key differ, or leaves: a partition's owners have equal data and so equal leaves.
  private func difference(among core: [Int]) -> String? {
    var copies: [[UInt8]: (node: String, owners: Int, record: EncodedRecord)] = [:]
    let disks = core.flatMap { node in nodes[node].disks.map { (nodes[node].name, $0.snapshot()) } }
    for (node, snapshot) in disks {
      for entry in snapshot.records {
        guard let first = copies[entry.key] else {
          copies[entry.key] = (node, 1, entry.record)
          continue
        }
        copies[entry.key]?.owners += 1
        if first.record == entry.record || areEqualButForSweeps(first.record, entry.record) { continue }
        return "\(first.node) and \(node) differ in \(Simulation.name(entry.key)): \(first.record.brief) and "
          + entry.record.brief
      }
    }
    for (key, copy) in copies {
      let owners = keys.firstIndex { $0.bytes == key }.map { ownersOfKeys[$0].filter(core.contains).count } ?? 0
      if copy.owners < owners { return "\(owners - copy.owners) owners have nothing of \(Simulation.name(key))" }
    }
    return differenceOfLeaves(disks)
  }

  /// A node whose clock was an hour ahead has dropped bytes that the others drop in an hour: their copies are equal in all
  /// that is compared and answered. Where the clocks were within their bound there is no such difference for long.
  private func areEqualButForSweeps(_ a: EncodedRecord, _ b: EncodedRecord) -> Bool {
    guard !options.faults.isDisjoint(with: Fault.Kind.steppingClocks), var a = try? a.decoded(),
      var b = try? b.decoded()
    else { return false }
    a.sweep(at: WallTime(milliseconds: .max))
    b.sweep(at: WallTime(milliseconds: .max))
    return a == b
  }

  private static func name(_ key: [UInt8]) -> String { String(decoding: key.dropFirst(12), as: UTF8.self) }

  private func differenceOfLeaves(_ disks: [(String, StorageSnapshot)]) -> String? {
    var leaves: [LeafPlace: (node: String, digest: Digest)] = [:]
    for (node, snapshot) in disks {
      for leaf in snapshot.leaves {
        if let first = leaves[leaf.place], first.digest != leaf.digest {
          return "\(first.node) and \(node) have equal data and different leaves"
        }
        leaves[leaf.place] = (node, leaf.digest)
      }
    }
    return nil
  }
}
