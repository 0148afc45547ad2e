/// Checks a history against the promises (DESIGN.md §12), looking at nothing but what clients saw.
///
/// It never complains of a run that the promises allow, whatever the store did inside; short of that it is as tight as
/// it can be. Each key is judged by itself. For every write two histories are known, one from below and one from above:
///
/// ```
///                 what it replaced for sure  ⊆  what it replaced  ⊆  what it may have replaced
///                                   │                                 │
///   later gets must not show any of it            what a get misses must be in it, for a version that the get shows
///
///   put 1 ──ok──┐
///               ├─ get 3 [1] ── put 4 (context of 3) ──ok──┐
///   put 2 ──ok──────────────────────────────────────────── ├─ get 5 [4]      NLA: put 4 never saw put 2
///                                                          └─ get 6 [4 1]    SE:  put 4 replaced put 1
/// ```
///
/// **Which gets.** N copies; a get of quorum r surely meets a write of quorum w when r + w > N: they share a copy. It
/// surely meets what an earlier get of quorum r′ returned when r + r′ > N and r ≥ r′: a get answers once r′ equal
/// copies, or after a write-back N−r′+1 copies, hold what it returns. "Earlier" and "later" mean that one returned
/// before the other was invoked, at the same nanosecond too, since a request takes time. Gets that surely meet nothing
/// are held to DF, DU and the siblings rule alone.
///
/// **May have replaced** (from above).
/// - A write with the context of a get: the versions that the get showed, and what those may have replaced up to the
///   get's return, and the same for deletes and expiring puts, which a context covers without a get showing them.
/// - A write with the context of a write's receipt: that write, and what it may have replaced. *Not* the siblings that
///   its coordinator happened to hold: nobody saw those.
/// - An overwrite (no context): whatever was invoked before it ended, for its two rounds may replace what came between
///   them. An overwrite without an answer ends with its deadline if that is known (`Bounds.deadlineMs`), else never.
///   Excepted are writes that had read it: to replace those would undo them with what they replaced. And those that
///   a get showed which surely met the whole overwrite: they outlived it.
///
/// **Replaced for sure** (from below).
/// - A write with the context of a get: what the get showed, what those replaced, and what the get surely met.
/// - A write with a receipt's context: that write, and what it replaced.
/// - An acknowledged overwrite: what a get of the same quorum, begun with it, would surely have met.
/// - Only *settled* writes count as replaced: an overwrite has two rounds, and its second may come when the first was
///   already read and replaced; so has a write that was sent twice. They settle when acknowledged, and without an answer
///   never. A write with a context that was sent once has one dot: whoever sees it sees all of it.
///
/// **The rules.**
/// - **NLA** a get misses an acknowledged put that it surely meets, and nothing that it shows, no delete and no expiring
///   put may have replaced it. **SE** the same for a put that an earlier get showed. Puts that expire may be missed.
/// - **SE** a get shows a put which a write that it surely meets has replaced for sure, or which a get that it surely
///   meets did not show though it was there. (Not for puts that expire: nodes' clocks differ, one may still show it.)
/// - **SE** siblings: a get of any quorum shows a put beside one that replaced it for sure. A version travels with its
///   history, so no copy can hold both.
/// - **SE** an expired put is shown, when the clocks' error is known (`Bounds.clockErrorMs`).
/// - **DF** a get shows a rejected put, one invoked after the get returned, another key's, or none at all.
/// - **DU** a get shows one put twice.
///
/// A lost or returned put is complained of once. A get that breaks DF tells nothing else: no rule believes it.
public struct HistoryChecker {
  /// What a history does not say by itself. Each one that is known makes the checker see more.
  public struct Bounds: Equatable, Sendable {
    /// No node's clock is further from the true time than this, milliseconds. Nil: expiry is not checked.
    public var clockErrorMs: UInt64?
    /// No coordinator works on a write later than this after its invocation, milliseconds. Nil: it may at any time.
    public var deadlineMs: UInt64?

    public init(clockErrorMs: UInt64? = nil, deadlineMs: UInt64? = nil) {
      self.clockErrorMs = clockErrorMs
      self.deadlineMs = deadlineMs
    }

    /// When `write` ends at the latest, nanoseconds: its dots are minted by then, though they may show up later.
    func end(of write: Operation) -> UInt64 {
      if write.outcome == .ok, let returned = write.returnedAt { return max(returned, write.invokedAt) }
      return deadlineMs.map { write.invokedAt.later(byMs: $0) } ?? .max
    }
  }

  /// All violations, in the order in which they show; at most `limit`.
  public static func check(_ history: History, limit: Int = 16) -> [Violation] {
    check(history, bounds: Bounds(), limit: limit)
  }

  /// All violations, in the order in which they show; at most `limit`.
  public static func check(_ history: History, bounds: Bounds, limit: Int = 16) -> [Violation] {
    var findings: [Finding] = []
    for key in KeyHistory.all(of: history, bounds, &findings) {
      var checker = KeyChecker(key, copies: history.copies, bounds)
      checker.run()
      findings += checker.findings
    }
    findings.sort()
    return findings.prefix(max(0, limit)).map(\.violation)
  }
}

/// A violation and when it shows.
struct Finding: Comparable {
  let at: UInt64
  /// Number of the get that shows it.
  let shownBy: Int
  let violation: Violation

  static func < (a: Finding, b: Finding) -> Bool { (a.at, a.shownBy) < (b.at, b.shownBy) }
  static func == (a: Finding, b: Finding) -> Bool { (a.at, a.shownBy) == (b.at, b.shownBy) }
}

extension UInt64 {
  /// This time and so many milliseconds, nanoseconds; the far end of time when that is later.
  func later(byMs milliseconds: UInt64) -> UInt64 {
    let (span, isLong) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    let (sum, isFar) = addingReportingOverflow(span)
    return isLong || isFar ? .max : sum
  }
}
