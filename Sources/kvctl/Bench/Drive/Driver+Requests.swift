import KVModel

/// The stage that a driver is in.
struct StageRun {
  var stage: BenchStage
  var pacer: Pacer
  var source: OperationSource
  var tally = BenchTally()

  /// The part of driver `number` of `drivers`.
  init(_ stage: BenchStage, number: Int, of drivers: Int) {
    self.stage = stage
    source = OperationSource(stage, lane: number, lanes: drivers)
    pacer = Pacer(start: stage.start, end: stage.end, rate: stage.rate.map { $0 / Double(drivers) })
  }

  func counts(_ start: UInt64) -> Bool { start >= stage.measureFrom }

  mutating func onDone(_ operation: Operation, start: UInt64, at now: UInt64, found: Bool?) {
    guard source.settle(operation, isDone: true), counts(start) else { return }
    tally.onDone(operation.kind, start: start, end: now, found: found)
  }

  mutating func onFailed(_ operation: Operation, _ fault: BenchFault, start: UInt64) {
    guard source.settle(operation, isDone: false), counts(start) else { return }
    tally.onFailed(fault)
  }
}

/// An operation's way, from its user's turn to its end.
extension Driver {
  /// Lets every free user begin that may. Called at the end of each batch of replies, at each tick, and when the alarm rings.
  func pump(_ now: UInt64) {
    guard run != nil else { return }
    while let user = free.last, !pools[0].isWaiting, let begun = run?.next(at: now) {
      switch begun {
      case .begin(let operation, let intended):
        free.removeLast()
        users[user].operation = operation
        users[user].start = intended
        send(user, now, replacing: nil)
      case .wait(let until):
        return wait(until: until)
      case .done:
        return finishIfIdle(now)
      }
    }
    // Nobody is free: the next one to become so pumps.
    if now >= run?.stage.drainUntil ?? .max { finish(now) }
  }

  /// The first or the second half of a user's operation goes out.
  private func send(_ user: Int, _ now: UInt64, replacing replaced: Replaced?) {
    let operation = users[user].operation
    let isWrite =
      switch operation.kind {
      case .read: false
      case .update, .insert: true
      case .readModifyWrite: replaced != nil
      }
    keys.make(operation.record, into: &key)
    guard let node = options.router.node(for: key, isWrite: isWrite, pools, &random), let place = pools[node].take()
    else { return onFailed(user, BenchFault("unreachable", "no node can be reached"), now) }
    let lane = lanes[place]
    lane.inFlight += 1
    users[user].lane = place
    users[user].sentAt = now
    users[user].use &+= 1
    users[user].state = isWrite ? .writing(wasFound: replaced?.wasFound) : .reading
    let request = BenchRequest(
      id: UInt64(users[user].use) << 32 | UInt64(user), key: key, deadline: now + options.timeoutNs)
    if isWrite {
      lane.write(request, options.values.next(&random), replacing: replaced?.context)
    } else {
      lane.read(request)
    }
  }

  func onReply(_ reply: BenchReply, _ lane: BenchLane, _ now: UInt64) {
    let user = Int(UInt32(truncatingIfNeeded: reply.id))
    guard user < users.count, users[user].use == UInt32(truncatingIfNeeded: reply.id >> 32), users[user].isBusy else {
      return
    }
    switch (users[user].state, reply.answer) {
    case (_, .failed(let fault)): onFailed(user, fault, now)
    case (.reading, .found(let context)): onRead(user, context, wasFound: true, now)
    case (.reading, .absent(let context)): onRead(user, context, wasFound: false, now)
    case (.writing(let wasFound), .written): onDone(user, found: wasFound, now)
    case (.reading, .written), (.writing, .found), (.writing, .absent), (.free, _):
      onFailed(user, BenchFault("protocol_mismatch", "the node answered another question than was asked"), now)
    }
  }

  private func onRead(_ user: Int, _ context: ContextToken?, wasFound: Bool, _ now: UInt64) {
    guard users[user].operation.kind == .readModifyWrite else { return onDone(user, found: wasFound, now) }
    release(user)
    send(user, now, replacing: Replaced(context: context, wasFound: wasFound))
  }

  private func onDone(_ user: Int, found: Bool?, _ now: UInt64) {
    let (operation, start) = (users[user].operation, users[user].start)
    release(user)
    free.append(user)
    progress.completed += 1
    progress.latencies.record(now > start ? now - start : 0)
    run?.onDone(operation, start: start, at: now, found: found)
  }

  func onFailed(_ user: Int, _ fault: BenchFault, _ now: UInt64) {
    let (operation, start) = (users[user].operation, users[user].start)
    release(user)
    // In an open loop the rate bounds the failures.
    if run?.stage.rate == nil { paused.append(user) } else { free.append(user) }
    progress.completed += 1
    progress.failed += 1
    run?.onFailed(operation, fault, start: start)
  }

  /// The user's request has left its lane.
  private func release(_ user: Int) {
    guard users[user].isBusy else { return }
    users[user].state = .free
    let lane = lanes[users[user].lane]
    lane.inFlight -= 1
    pools[lane.node].giveBack(lane.index, carried: lane.inFlight, isReady: lane.isReady)
  }

  // MARK: The end of a stage

  private func finishIfIdle(_ now: UInt64) {
    let isIdle = free.count + paused.count == users.count
    if isIdle || now >= run?.stage.drainUntil ?? 0 { finish(now) }
  }

  /// Ends the stage; what is still under way or has not begun counts as unfinished.
  func finish(_ now: UInt64) {
    guard let run else { return }
    self.run = nil
    endPacing()
    var tally = run.tally
    let underWay = users.count { $0.isBusy && run.counts($0.start) }
    let unfinished = UInt64(underWay) + run.pacer.backlog(at: now)
    tally.onFailed(BenchFault("unfinished", "not done when the run ended"), count: unfinished)
    ended?(tally)
    ended = nil
  }
}

extension StageRun {
  enum Begun {
    case begin(Operation, intended: UInt64)
    case wait(until: UInt64)
    case done
  }

  mutating func next(at now: UInt64) -> Begun {
    switch pacer.next(at: now) {
    case .begin(let intended):
      guard let operation = source.next() else { return .done }
      return .begin(operation, intended: intended)
    case .wait(let until): return .wait(until: until)
    case .done: return .done
    }
  }
}
