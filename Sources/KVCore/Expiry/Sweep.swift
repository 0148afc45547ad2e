import KVModel

/// The dropping of bytes that have expired, pass by pass through the expiry entries.
///
/// ```
///   timer ─► list what is due, a page ─► merge(.sweep) some at a time ─► synced: the entry is gone
///               ▲                                                          │
///               └──────────── the next page, while this tick has keys left ┘
/// ```
///
/// From its expiry on a version is absent; the sweep only saves its space. So it may come late, and must not come early:
/// whoever reads decides by his own clock whether a version has expired, and in a join a swept copy wins. A node with a
/// clock that runs ahead would take from all others, and for good, what they still answer: absent for one reader, there
/// again for the next, absent at last. Hence the margin.
///
/// Only the record of a key changes, by the one way in which records change, together with its entry. After a crash the
/// entry is there exactly when the bytes are; sweeping twice changes nothing. An entry whose record was put aside, or lost
/// with its table file, has no bytes any more: it goes when the sweep comes by, in one step with the look at the record,
/// which may have been pulled again meanwhile.
public struct Sweep: Sendable {
  /// Clocks that differ by what nodes accept of each other (`Limits.clockSkewMsMax`), one ahead and one behind the time,
  /// need a second. The rest is for clocks that are further off until somebody sets them right: a minute of bytes costs
  /// nothing.
  public static let marginDefault = Span64.seconds(60)
  /// Whatever is configured.
  public static let marginMin = Span64.milliseconds(2 * Limits.clockSkewMsMax)
  static let pageKeys = 256

  /// Due at this time; nil between two passes.
  var upTo: WallTime?
  /// Listed up to here.
  var after: ExpiryEntry?
  var isListing = false
  var isLastPage = false
  /// To be swept, last first.
  var entries: [ExpiryEntry] = []
  var underWay = 0
  /// Keys that may still be swept before the next tick.
  var allowance = 0
  /// How long the oldest entry had been due when the last pass began.
  var lag = Span64.zero

  /// Nothing is asked of the storage.
  var isIdle: Bool { !isListing && underWay == 0 }

  /// What expired up to here is swept at `wall`; nil while no clock is that far.
  static func due(at wall: WallTime, margin: Span64) -> WallTime? {
    if planted(.sweepTooEarly) { return wall }
    let margin = max(margin, marginMin).milliseconds
    return wall.milliseconds > margin ? WallTime(milliseconds: wall.milliseconds - margin) : nil
  }
}

extension Shard {
  static let sweepID = OperationID(kind: .housekeeping, shard: 0, slot: 6, generation: 0)

  /// How long the oldest expired bytes have been waiting to be dropped, as of the last pass.
  public var sweepLag: Span64 { sweep.lag }

  /// Keys whose bytes are being dropped.
  public var sweepsInFlight: Int { sweep.underWay }

  mutating func scheduleSweep(_ now: Now, _ effects: inout [Effect]) {
    guard settings.sweepInterval > .zero else { return }
    let at = now.instant.advanced(by: settings.sweepInterval)
    effects.append(.schedule(TimerID(raw: Shard.sweepID.raw), at: at))
  }

  mutating func onSweepTimer(_ now: Now, _ effects: inout [Effect]) {
    sweep.allowance = sweepAllowance
    if sweep.upTo == nil, let due = Sweep.due(at: now.wall, margin: settings.sweepMargin) {
      sweep.upTo = due
      sweep.after = nil
      sweep.isLastPage = false
    }
    advanceSweep(&effects)
    scheduleSweep(now, &effects)
  }

  /// Fewer the more the shard has under way, but never so few that it falls behind for ever.
  private var sweepAllowance: Int {
    let most = settings.sweepKeysPerSecond * Int(settings.sweepInterval.milliseconds) / 1_000
    return max(1, most / min(8, load))
  }

  private mutating func advanceSweep(_ effects: inout [Effect]) {
    guard let upTo = sweep.upTo else { return }
    while sweep.underWay < settings.sweepsMax, sweep.allowance > 0, let entry = sweep.entries.popLast() {
      sweep.allowance -= 1
      sweep.underWay += 1
      let change = Change.sweep(upTo, entry: entry.at)
      effects.append(.store(.merge(entry.key, change), StorageID(raw: Shard.sweepID.raw)))
    }
    guard sweep.entries.isEmpty, sweep.isIdle else { return }
    if sweep.isLastPage {
      sweep.upTo = nil
    } else if sweep.allowance > 0 {
      sweep.isListing = true
      let list = StorageOperation.listExpired(upTo: upTo, after: sweep.after, limit: Sweep.pageKeys)
      effects.append(.store(list, StorageID(raw: Shard.sweepID.raw)))
    }
  }

  mutating func onSweepStored(_ result: StorageResult, _ now: Now, _ effects: inout [Effect]) {
    switch result {
    case .expired(let page): onExpired(page, now)
    case .merged(let merged):
      counters.versionsSwept += UInt64(merged.swept.versions)
      counters.bytesSwept += UInt64(merged.swept.bytes)
      return
    case .unreadable where sweep.isListing:
      sweep.isListing = false
      sweep.upTo = nil
    // A damaged record keeps its entry, and the next pass tries again.
    case .synced, .refused, .unreadable: sweep.underWay -= 1
    case .record, .incomplete, .leased, .request, .digests, .listed, .hints, .census, .rescanned, .gaps, .scrubbed,
      .failed:
      invariant(false, "a sweep answered by \(result)")
    }
    advanceSweep(&effects)
  }

  private mutating func onExpired(_ page: ExpiredPage, _ now: Now) {
    if sweep.after == nil, let upTo = sweep.upTo {
      sweep.lag = page.entries.first.map { .milliseconds(upTo.milliseconds - $0.at.milliseconds) } ?? .zero
    }
    sweep.isListing = false
    sweep.isLastPage = page.isLast
    sweep.after = page.entries.last ?? sweep.after
    sweep.entries = page.entries.reversed()
  }
}
