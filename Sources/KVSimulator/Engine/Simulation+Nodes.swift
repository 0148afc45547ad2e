import KVCore
import KVModel

// The life of a node: made, formed into a cluster, started, crashed, stopped in order; and its turns.
extension Simulation {
  func makeNodes(_ ids: [NodeID]) {
    let geometry = ShardGeometry(of: layout)
    for (index, id) in ids.enumerated() {
      let offset = options.clocks.offsetMs
      let drift = options.clocks.driftMillionths
      let clock = SimulatedClock(
        base: nodeDraws.within(1_000_000_000...1_000_000_000_000),
        driftMillionths: Int64(nodeDraws.within(0...2 * drift)) - Int64(drift),
        wallOffsetMs: Int64(nodeDraws.within(0...2 * offset)) - Int64(offset))
      let count = options.shards[index]
      let disks = (0..<count).map { _ in makeDisk(geometry) }
      nodes.append(
        SimulatedNode(index: index, id: id, shards: count, disks: disks, clock: clock, peers: ids.count))
    }
  }

  func makeDisk(_ geometry: ShardGeometry) -> SimulatedDisk {
    var faults = SimulatedDisk.Faults()
    faults.slowRead = options.disks.slowRead
    faults.readError = options.disks.readError
    return SimulatedDisk(
      geometry: geometry, faults: faults, hintKeysMax: options.hintKeysMax ?? 0, seed: diskDraws.next())
  }

  func now(_ node: SimulatedNode) -> Now { node.clock.now(at: time) }

  // MARK: Forming the cluster

  /// `kvctl cluster init`, before any fault: every node is held for the cluster, then given layout 1.
  func form() {
    let secret = ClusterSecret(low: nodeDraws.next() | 1, high: nodeDraws.next())
    for node in nodes { start(node) }
    for request in [ClientRequest.reserveCluster(layout.cluster), .formCluster(layout, secret)] {
      for node in nodes { stepControl(node, .request(request, from: ClientRef(connection: .max, request: 0))) }
      while nodes.contains(where: { $0.state.layouts.isEmpty && request.frameType == .formCluster }), stepEvent() {}
    }
    while nodes.contains(where: { $0.shards[0].view.current == nil }), stepEvent() {}
    let table = PartitionTableOfKeys(nodes[0].shards[0].view, keys)
    ownersOfKeys = table.owners.map { owners in owners.map { id in nodes.firstIndex { $0.id == id } ?? 0 } }
    for a in nodes.indices { for b in nodes.indices where a < b { planConnect(a, b, soon: true) } }
  }

  // MARK: Starting

  func start(_ node: SimulatedNode) {
    guard node.condition == .stopped, !node.isDiskFull, !node.isLeftOut else { return }
    counts.starts += 1
    node.condition = .running
    node.incarnation += 1
    node.waiting.removeAll()
    for peer in node.links.indices { node.links[peer].isUp = false }
    node.state = node.state.started(nonce: nodeDraws.next())
    node.control = Control()
    node.shards = Array(repeating: Shard(), count: node.shards.count)
    node.acceptedStamp = Array(repeating: .zero, count: node.shards.count)
    node.offered.removeAll()
    node.requests.removeAll()
    trace.line(time) { "\(node.name) starts: epoch \(node.state.epoch), generation \(node.state.generation.number)" }
    trace.mix(time, 0x57 << 8 | UInt64(node.index))
    let member = layout.member(node.id) ?? Simulation.member(node.index, node.id)
    var recovery = ControlRecovery(
      state: node.state, member: member, settings: layout.settings, syncs: true, release: "simulated")
    recovery.placed = [placed]
    recovery.seed = gossipDraws.next()
    recovery.rivalSilence = Span64(nanoseconds: options.rivalSilence)
    node.isReserveAnnounced = false
    stepControl(node, .recovered(recovery))
    measureDisk(of: node)
    for peer in nodes.indices where peer != node.index { planConnect(node.index, peer, soon: true) }
  }

  func stepControl(_ node: SimulatedNode, _ input: Control.Input) {
    var effects: [Control.Effect] = []
    node.control.step(input, at: now(node), into: &effects)
    for effect in effects {
      switch effect {
      case .persist(let state):
        node.state = state
        queue.push(.persisted(node: node.index, incarnation: node.incarnation), at: time + options.disks.sync)
      case .publish(let view): publish(view, to: node)
      case .send(let message, to: let peer): send(message, from: node, to: peer)
      case .schedule(at: let at):
        let due = node.clock.time(of: at)
        if due != .max {
          queue.push(.controlTimer(node: node.index, incarnation: node.incarnation), at: max(due, time + 1))
        }
      case .liveness(let liveness):
        for shard in node.shards.indices where node.isUp { turn(node, shard, .dead(liveness.dead)) }
      case .note(let event): trace.line(time) { "\(node.name) notes \(event)" }
      case .respond, .visit, .exit: break
      }
    }
  }

  /// The first view opens the shards; each gets every view.
  private func publish(_ view: ClusterView, to node: SimulatedNode) {
    guard view.current != nil else { return }
    let isFirst = node.shards[0].view.current == nil
    for shard in node.shards.indices {
      if isFirst {
        var settings = ShardSettings()
        settings.inlineBytesMax = options.inlineBytesMax
        settings.leaseSequences = 64
        settings.exchangeInterval = .milliseconds(options.exchangeInterval / 1_000_000)
        settings.keepsHints = options.hintKeysMax != nil
        settings.sweepInterval = .milliseconds(options.sweeps.intervalMs)
        settings.sweepMargin = .milliseconds(options.sweeps.marginMs)
        settings.sweepKeysPerSecond = Int(options.sweeps.keysPerSecond)
        settings.scrubBytesPerSecond = options.scrubBytesPerSecond
        settings.pullBytesPerSecond = options.pullBytesPerSecond
        let recovery = ShardRecovery(
          identity: ShardIdentity(node: node.id, shard: shard, shards: node.shards.count),
          actor: Actor(node: node.id, epoch: node.state.epoch), lease: node.disks[shard].recoveredLease,
          settings: settings, seed: nodeDraws.next())
        turn(node, shard, .recovered(recovery))
      }
      turn(node, shard, .view(view))
    }
    if isFirst { stepControl(node, .shardsOpened) }
  }

  // MARK: Ending

  /// The process dies. `keepsTail`: the log may hold a beginning of what was not synced.
  func crash(_ node: SimulatedNode, keepsTail: Bool) {
    guard node.isUp else { return }
    trace.line(time) { "\(node.name) crashes" }
    end(node)
    for shard in node.disks.indices { node.disks[shard] = node.disks[shard].crash(keepsTail: keepsTail) }
  }

  /// Everything that was under way is synced, and the next start may go on where this one ended.
  func stopInOrder(_ node: SimulatedNode) {
    guard node.condition == .running, node.state.hasShards else { return }
    trace.line(time) { "\(node.name) stops in order" }
    var unheard: [StorageCompletion] = []
    for shard in node.disks.indices {
      node.disks[shard].endTurn(results: &unheard)
      if node.disks[shard].isSyncing { node.disks[shard].finishSync() }
      if node.disks[shard].wantsSync {
        node.disks[shard].beginSync()
        node.disks[shard].finishSync()
      }
      node.disks[shard] = node.disks[shard].crash(keepsTail: false)
    }
    node.state.stoppedCleanly = true
    end(node)
  }

  private func end(_ node: SimulatedNode) {
    if phase == .faulty { hasLostProcess = true }
    trace.mix(time, 0xde << 8 | UInt64(node.index))
    node.condition = .stopped
    node.waiting.removeAll()
    dropRequests(of: node)
    for peer in nodes.indices where peer != node.index { onProcessGone(node.index, peer) }
  }

  // MARK: Turns

  /// One turn of a shard's loop, as its host takes it: the input, all that follows at once, then the log gets what was
  /// gathered.
  func turn(_ node: SimulatedNode, _ shard: Int, _ input: Shard.Input) {
    step(node, shard, input)
    endTurn(node, shard)
  }

  /// What the disk has to say is heard in one turn.
  private func turnWithResults(_ node: SimulatedNode, _ shard: Int) {
    node.disks[shard].collect(results: &results)
    stepResults(node, shard)
    endTurn(node, shard)
  }

  private func step(_ node: SimulatedNode, _ shard: Int, _ input: Shard.Input) {
    var effects = self.effects
    self.effects = []
    node.shards[shard].step(input, at: now(node), into: &effects)
    carryOut(&effects, node, shard)
    self.effects = effects
    stepResults(node, shard)
  }

  private func stepResults(_ node: SimulatedNode, _ shard: Int) {
    while !results.isEmpty {
      var batch = resultsNext
      swap(&batch, &results)
      var effects = self.effects
      self.effects = []
      for completion in batch where node.isUp {
        trace.line(time) { "\(node.name)/\(shard) disk says: \(completion.result.brief)" }
        if case .merged(let merged) = completion.result, let minted = merged.minted { onMinted(minted, node) }
        node.shards[shard].step(.stored(completion.result, for: completion.id), at: now(node), into: &effects)
        carryOut(&effects, node, shard)
      }
      self.effects = effects
      batch.removeAll(keepingCapacity: true)
      resultsNext = batch
    }
  }

  private func endTurn(_ node: SimulatedNode, _ shard: Int) {
    guard node.isUp else { return }
    repeat {
      node.disks[shard].endTurn(results: &results)
      if results.isEmpty { break }
      stepResults(node, shard)
    } while node.isUp
    planDisk(node, shard)
  }

  private func carryOut(_ effects: inout [Shard.Effect], _ node: SimulatedNode, _ shard: Int) {
    var next = 0
    while next < effects.count {
      let effect = effects[next]
      next += 1
      guard node.isUp else { break }
      switch effect {
      case .respond(let response, to: let client): respond(response, to: client, node)
      case .send(let message, to: let peer, let envelope): send(message, envelope, from: node, shard, to: peer)
      case .store(let operation, let id):
        trace.line(time) { "\(node.name)/\(shard) disk: \(operation.brief)" }
        if case .merge(_, .mint(let mint), _) = operation,
          let violation = checker.onMinting(mint.stamp, by: node, shard, at: now(node))
        {
          fail(violation)
        }
        if case .merge(let key, .sweep(let due, entry: _), _) = operation { checkSweep(of: key, due, by: node) }
        node.disks[shard].submit(operation, id: id, results: &results)
      case .schedule(let timer, at: let at):
        let due = node.clock.time(of: at)
        if due != .max {
          queue.push(
            .timer(node: node.index, incarnation: node.incarnation, shard: shard, timer), at: max(due, time + 1))
        }
      case .note(let event): trace.line(time) { "\(node.name)/\(shard) notes \(event)" }
      case .renewEpoch(after: let epoch): stepControl(node, .renewEpoch(after: epoch))
      case .wentBack(saysPeer: let peer): stepControl(node, .wentBack(saysPeer: peer))
      case .halt(let reason): halt(node, reason)
      }
    }
    effects.removeAll(keepingCapacity: true)
  }

  /// Nobody's clock may show that the bytes are still to be served: not while the clocks are within their bound.
  private func checkSweep(of key: Key, _ due: WallTime, by node: SimulatedNode) {
    guard options.faults.isDisjoint(with: Fault.Kind.steppingClocks) else { return }
    if let behind = nodes.first(where: { $0.isUp && now($0).wall < due }) {
      fail(
        Violation(
          .session,
          "\(node.name) drops what of \(key.text) expires by \(due.milliseconds), and by the clock of "
            + "\(behind.name) that is still to come"))
    }
  }

  /// The node must not go on: its process ends. A supervisor starts it again.
  private func halt(_ node: SimulatedNode, _ reason: String) {
    trace.line(time) { "\(node.name) halts: \(reason)" }
    results.removeAll(keepingCapacity: true)
    crash(node, keepsTail: true)
    queue.push(.start(node: node.index), at: time + Exponential.draw(mean: 200_000_000, &nodeDraws))
  }

  private func onMinted(_ version: Version, _ node: SimulatedNode) {
    if let violation = checker.onMinted(version, by: node) { fail(violation) }
  }

  // MARK: Disks

  private func planDisk(_ node: SimulatedNode, _ shard: Int) {
    let disk = node.disks[shard]
    if disk.wantsSync {
      disk.beginSync()
      counts.syncs += 1
      let span = Exponential.draw(mean: options.disks.sync * node.syncFactor, &diskDraws) + 5_000
      queue.push(.syncEnds(node: node.index, incarnation: node.incarnation, shard: shard), at: time + span)
    }
    if disk.wantsReads, !disk.areReadsPlanned {
      disk.areReadsPlanned = true
      let span = Exponential.draw(mean: 500_000 * node.syncFactor, &diskDraws) + 5_000
      queue.push(.readsEnd(node: node.index, incarnation: node.incarnation, shard: shard), at: time + span)
    }
  }

  func onSyncEnds(_ node: SimulatedNode, _ shard: Int) {
    trace.mix(time, 0x5c << 16 | UInt64(node.index) << 8 | UInt64(shard))
    if node.isDiskFull {
      node.disks[shard].failSync(StorageFault(.diskFull, path: "log", detail: "no space left"))
    } else if let fault = node.nextSyncFault {
      node.nextSyncFault = nil
      node.disks[shard].failSync(fault)
    } else {
      node.disks[shard].finishSync()
    }
    turnWithResults(node, shard)
  }

  func onReadsEnd(_ node: SimulatedNode, _ shard: Int) {
    node.disks[shard].areReadsPlanned = false
    node.disks[shard].finishReads()
    turnWithResults(node, shard)
  }
}

/// The owners of each key, by a view.
struct PartitionTableOfKeys {
  let owners: [[NodeID]]

  init(_ view: ClusterView, _ keys: [Key]) {
    owners = keys.map { key in view.partition(of: key).map { view.owners(of: $0).nodes } ?? [] }
  }
}

extension StorageOperation {
  /// For the trace.
  var brief: String {
    switch self {
    case .read(let key): "read \(key.text)"
    case .merge(let key, .join, let hints): "join \(key.text)\(StorageOperation.brief(hints))"
    case .merge(let key, .mint(let mint), let hints): "mint \(key.text) \(mint.dot)\(StorageOperation.brief(hints))"
    case .extendLease(let lease): "lease up to \(lease.sequence)"
    case .findRequest(let request, _): "find \(request)"
    case .digests(let partition, let nodes): "digests of \(nodes.count) nodes of partition \(partition)"
    case .roots(let partitions): "roots of \(partitions.count) partitions"
    case .listLeaf(let place, _, _): "list leaf \(place.leaf) of partition \(place.partition)"
    case .hint(let key, let targets): "note \(key.text)\(StorageOperation.brief(targets))"
    case .listHints(let target, _, let after, _): "list hints for \(target) after \(after?.text ?? "none")"
    case .forgetHints(let target, let keys, _): "forget hints for \(target): \(keys.map(\.text).joined(separator: " "))"
    case .forgetMarks(let target, let partition, _): "forget marks of partition \(partition) for \(target)"
    case .countHints: "count hints"
    case .keyDigests(let keys): "digests of \(keys.count) keys"
    case .merge(let key, .sweep(let wall, entry: _), _): "sweep \(key.text), due at \(wall.milliseconds)"
    case .listExpired(let wall, _, _): "list what is due at \(wall.milliseconds)"
    case .rescan(let partition, let leaf, _): "read partition \(partition) again from leaf \(leaf)"
    case .listGaps: "list gaps"
    case .changeGaps(let changes): "gaps: \(changes.map { "\($0)" }.joined(separator: ", "))"
    case .scrub(let after, _): "scrub after \(after?.text ?? "none")"
    }
  }

  private static func brief(_ hints: [NodeID]) -> String {
    hints.isEmpty ? "" : ", a hint for \(hints.map(\.description).joined(separator: " "))"
  }
}

extension EncodedRecord {
  /// For the trace: its versions, and the context behind them.
  var brief: String {
    guard let record = try? decoded() else { return "damaged" }
    let versions = record.versions.map { "\($0.dot)\($0.content == .tombstone ? " deleted" : "")" }
    let context = record.context.entries.map { "\($0.actor):\($0.counter >> 8)/\($0.counter & 0xff)" }
    return "[\(versions.joined(separator: ", "))] of {\(context.joined(separator: " "))}"
  }
}

extension Key {
  /// For the trace: simulated keys are text.
  var text: String { String(decoding: partitionKey, as: UTF8.self) }
}

extension StorageResult {
  /// For the trace.
  var brief: String {
    switch self {
    case .record(let record): record.brief
    case .incomplete(let record): "incomplete: \(record.brief)"
    case .unreadable: "unreadable"
    case .merged(let merged):
      "merged into \(merged.record.brief)\(merged.minted.map { ", minted \($0.dot) at \($0.stamp)" } ?? "")"
    case .synced: "synced"
    case .refused(let failure): "refused: \(failure.code)"
    case .leased: "leased"
    case .digests: "digests"
    case .listed(let page): "\(page.entries.count) keys"
    case .hints(let page): "\(page.entries.count) hints"
    case .census(let census): "\(census.keys) hints, \(census.marks) marks"
    case .expired(let page): "\(page.entries.count) due"
    case .rescanned(let rescan): "\(rescan.keys) keys read again"
    case .gaps(let census): "\(census.open.count) gaps, barred \(census.barred)"
    case .scrubbed(let page): "scrubbed \(page.bytes) bytes up to \(page.last?.text ?? "the end")"
    case .request(let seen): seen ? "seen" : "not seen"
    case .failed(let fault): "failed: \(fault.detail)"
    }
  }
}
