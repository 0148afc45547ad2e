import KVModel

/// Something that goes wrong at a given time, for a while.
public struct Fault: Equatable, Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    /// A process dies; the disk keeps what was synced, and perhaps the beginning of what was not.
    case crash
    /// All processes die at once.
    case blackout
    /// A node stops in order and starts again.
    case restart
    /// A process is stopped for a while, as by SIGSTOP.
    case pause
    /// A link is cut both ways, in one direction; a node is cut off; the cluster falls into halves.
    case cut
    case cutOneWay = "cut-one-way"
    case isolate
    case halves
    /// A direction of a link holds everything back, and then lets go of it in random order.
    case clog
    /// A wall clock steps; a node restarts with a clock that is a day behind, or runs an hour ahead for a while.
    case clockStep = "clock-step"
    case clockDayBack = "clock-day-back"
    case clockHourAhead = "clock-hour-ahead"
    /// Syncs take a hundred times as long.
    case slowDisk = "slow-disk"
    /// A sync fails: the process dies.
    case syncFails = "sync-fails"
    /// The disk is full for a while: the process dies and does not start.
    case diskFull = "disk-full"
    /// Only the disk's reserve is left: the node refuses clients' values, and does all else.
    case diskNearlyFull = "disk-nearly-full"
    /// A bit of a stored record flips.
    case bitFlip = "bit-flip"
    /// A node's disks are lost while it is down: it comes back as a stranger.
    case wipe
    /// A node runs on an old image of its disks: taken when the fault begins, put back when it ends. It begins anew, and
    /// rebuilds its copies.
    case goBack = "go-back"
    /// The disks of a node lose the end of what they had synced, as a drive may that lies about it when its power fails: they
    /// are again as they were when the fault began. Its peers know of no later start; they hold dots that it has not minted.
    ///
    /// Only where all other copies have what it forgets, since nobody can tell at once; so it is not drawn.
    case diskForgets = "disk-forgets"
    /// A bit of a stored record flips on two nodes at once, while all others have the same record: with W = 2 that is more
    /// than mends by itself, and whoever runs the cluster accepts the loss, as soon as he is told. Not drawn.
    case bitFlipOnTwo = "bit-flip-on-two"

    /// What a seed draws from.
    static let drawn = allCases.filter { $0 != .diskForgets && $0 != .bitFlipOnTwo }

    /// After these clocks may be further apart than is promised.
    static let steppingClocks: Set<Kind> = [.clockStep, .clockDayBack, .clockHourAhead]

    /// What hints alone do not outlast: a coordinator that dies between its answer and its hint, and data that are lost.
    static let beyondHints: Set<Kind> = [
      .crash, .blackout, .restart, .syncFails, .diskFull, .bitFlip, .wipe, .goBack, .clockDayBack,
      .diskForgets, .bitFlipOnTwo,
    ]
  }

  public var kind: Kind
  /// Nanoseconds after the start.
  public var at: UInt64
  public var lasts: UInt64
  /// The node concerned, and the other end of a link.
  public var node: Int
  public var peer: Int
  /// A number for whatever the kind needs one for.
  public var detail: UInt64

  /// The faults of a run, by time.
  static func draw(for options: SimulationOptions, _ prng: inout PRNG) -> [Fault] {
    let kinds = Kind.allCases.filter { options.faults.contains($0) }
    if kinds.isEmpty { return [] }
    var faults: [Fault] = []
    var at: UInt64 = 0
    // As many nodes as may lose data for good while every key can still be read and written.
    let spare = options.copies - max(options.writeQuorum, options.readQuorum)
    // And a majority of the members must be there to confirm each other's starts.
    let expendable = min(spare, (options.nodes - 1) / 2)
    let victims = (0..<expendable).map { _ in prng.index(options.nodes) }
    while true {
      at += Exponential.draw(mean: options.faultInterval, &prng)
      if at >= options.faultsUntil { return faults }
      var fault = Fault(
        kind: kinds[prng.index(kinds.count)], at: at,
        lasts: Exponential.draw(mean: 2 * options.faultInterval + 50_000_000, &prng), node: prng.index(options.nodes),
        peer: prng.index(options.nodes - 1), detail: prng.next())
      if fault.peer >= fault.node { fault.peer += 1 }
      switch fault.kind {
      case .bitFlip where victims.isEmpty && options.writeQuorum > 1:
        // Where every copy has every write, what is damaged on all but one of them comes back from that one.
        if !prng.chance(1, of: 10) { continue }
      case .wipe, .bitFlip, .goBack:
        if victims.isEmpty { continue }
        fault.node = victims[prng.index(victims.count)]
        // Wiping is for good, and one damaged copy after the other takes the node away: not at every turn.
        if !prng.chance(1, of: 10) { continue }
      case .diskForgets:
        if options.nodes > options.copies || options.readQuorum < 2 { continue }
        // Long enough for a lease to be used up.
        fault.lasts *= 10
      case .bitFlipOnTwo: if options.nodes > options.copies || options.copies < 3 { continue }
      case .pause: fault.lasts = min(fault.lasts, 120_000_000_000)
      case .crash, .blackout, .restart, .cut, .cutOneWay, .isolate, .halves, .clog, .clockStep, .clockDayBack,
        .clockHourAhead, .slowDisk, .syncFails, .diskFull, .diskNearlyFull:
        break
      }
      faults.append(fault)
    }
  }

  /// For people.
  public var line: String {
    "\(kind.rawValue) n\(node + 1)\(isOfLink ? "–n\(peer + 1)" : "") at \(at / 1_000_000) ms for \(lasts / 1_000_000) ms"
  }

  private var isOfLink: Bool { [.cut, .cutOneWay, .clog].contains(kind) }
}
