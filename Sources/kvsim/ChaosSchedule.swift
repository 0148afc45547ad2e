import KVModel

/// Faults for real processes, drawn from a seed; Scripts/chaos.sh carries them out. The same words as the simulator's.
///
/// Faults come one after the other, each healed before the next, with calm seconds between them: what shows can be told
/// from what caused it. `mixed` alone has several at a time.
struct ChaosSchedule: Equatable {
  enum Kind: String, CaseIterable {
    /// SIGKILL to one node; several times in a row, while it recovers; to all nodes at once.
    case crash
    case crashLoop = "crash-loop"
    case blackout
    /// SIGKILL, and what was not synced is gone: to one node, to all.
    case powerCut = "power-cut"
    case powerBlackout = "power-blackout"
    /// SIGTERM and a new start.
    case restart
    /// SIGSTOP for a while: of as many nodes as may be away, of more than that.
    case pause
    case pauseMany = "pause-many"
    /// A link is cut both ways, in one direction; a node is cut off, from its peers or from clients too.
    case cut
    case cutOneWay = "cut-one-way"
    case isolate
    case halves
    /// Packets are lost: on the links of one node, on all links.
    case loss
    case lossEverywhere = "loss-everywhere"
    /// A clock goes wrong for a while: within the bound that the promises ask for; by an hour or a day.
    case clockStep = "clock-step"
    case clockJump = "clock-jump"
    /// A node gets back its disk as it was some starts ago.
    case oldImage = "old-image"
    /// Several of the above at once, on different nodes: more are away than may be.
    case mixed

    var needsLinks: Bool {
      switch self {
      case .cut, .cutOneWay, .isolate, .halves, .loss, .lossEverywhere: true
      case .crash, .crashLoop, .blackout, .powerCut, .powerBlackout, .restart, .pause, .pauseMany: false
      case .clockStep, .clockJump, .oldImage, .mixed: false
      }
    }

    /// It cuts files back to what was synced, and shows the process another time.
    var needsFaultShim: Bool {
      switch self {
      case .powerCut, .powerBlackout, .clockStep, .clockJump: true
      case .crash, .crashLoop, .blackout, .restart, .pause, .pauseMany, .cut, .cutOneWay, .isolate, .halves, .loss,
        .lossEverywhere, .oldImage, .mixed:
        false
      }
    }
  }

  /// One end of a link: a node by its number, from 1, or the machine where the clients are.
  enum End: Equatable, CustomStringConvertible {
    case node(Int)
    case clients

    var description: String { if case .node(let number) = self { "\(number)" } else { "c" } }
  }

  enum Action: Equatable {
    case kill(Int)
    /// Of a node that was killed: cuts its files back to what was synced.
    case losePower(Int)
    case terminate(Int)
    case start(Int)
    case stop(Int)
    case resume(Int)
    /// The node's wall clock is so many milliseconds ahead of the machine's; 0 heals it.
    case clock(Int, aheadMs: Int)
    /// Of a node that is down: keeps a copy of its data, puts that copy in the place of its data.
    case keepImage(Int)
    case restoreImage(Int)
    /// So many packets of a hundred are dropped in this direction; 0 heals it.
    case drop(percent: Int, from: End, to: End)
    /// For the reader and the count of faults: what follows is one of these.
    case announce(Kind, String)
  }

  struct Event: Equatable, CustomStringConvertible {
    /// Milliseconds after the start.
    var at: UInt64
    var action: Action

    /// A line for Scripts/chaos.sh.
    var description: String {
      switch action {
      case .kill(let node): "\(at) kill \(node)"
      case .losePower(let node): "\(at) power \(node)"
      case .terminate(let node): "\(at) term \(node)"
      case .start(let node): "\(at) start \(node)"
      case .stop(let node): "\(at) stop \(node)"
      case .resume(let node): "\(at) cont \(node)"
      case .clock(let node, let aheadMs): "\(at) clock \(node) \(aheadMs)"
      case .keepImage(let node): "\(at) image \(node)"
      case .restoreImage(let node): "\(at) restore \(node)"
      case .drop(let percent, let from, let to): "\(at) drop \(percent) \(from) \(to)"
      case .announce(let kind, let text): "\(at) fault \(kind.rawValue) \(text)"
      }
    }
  }

  /// What a schedule is drawn for.
  struct Setting: Equatable {
    var nodes = 3
    /// N − W: so many nodes may be away and everything goes on.
    var expendable = 1
    var milliseconds: UInt64 = 60_000
    var hasLinks = true
    var hasFaultShim = true
  }

  /// By time.
  var events: [Event]

  /// All is healed a little before the end.
  init(seed: UInt64, _ setting: Setting) {
    var draw = ChaosDraw(seed: seed, setting)
    events = []
    var at = draw.prng.within(2_000...4_000)
    while true {
      let kind = draw.nextKind()
      let fault = draw.fault(kind)
      let end = at + (fault.map(\.at).max() ?? 0)
      // What no longer fits ends the schedule, unless something shorter may still come: a pause is up to half a minute.
      guard end + 1_000 <= setting.milliseconds else {
        if end < setting.milliseconds + 30_000, at + 8_000 < setting.milliseconds { continue }
        break
      }
      events += fault.map { Event(at: at + $0.at, action: $0.action) }
      at = end + draw.prng.within(1_500...5_000)
    }
  }
}
