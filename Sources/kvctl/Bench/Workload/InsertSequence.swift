/// The records that a workload's inserts write, and how many of them are there.
///
/// ```
///   places   0 … preloaded-1 │ settled … settled │ under way or settled out of order │ free …
///                            └───────────────────┴ count ── what may be read
/// ```
///
/// Several drivers insert at once without talking to each other: driver `lane` of `lanes` takes every `lanes`-th record
/// behind those that were loaded. A *place* counts a driver's own records, without gaps; a record is what all of them
/// agree on.
struct InsertSequence: Sendable {
  let preloaded: UInt64
  let lane: UInt64
  let lanes: UInt64
  /// Places that may be read: those that were loaded, and inserted ones up to the first that has not ended.
  private(set) var count: UInt64
  private var next: UInt64
  /// Places that ended before one in front of them did.
  private var early: Set<UInt64> = []

  init(preloaded: UInt64, lane: Int = 0, lanes: Int = 1) {
    self.preloaded = preloaded
    self.lane = UInt64(lane)
    self.lanes = UInt64(max(1, lanes))
    count = preloaded
    next = preloaded
  }

  /// The record at a place.
  func record(at place: UInt64) -> UInt64 {
    place < preloaded ? place : preloaded + (place - preloaded) * lanes + lane
  }

  /// The record for the next insert.
  mutating func take() -> UInt64 {
    defer { next += 1 }
    return record(at: next)
  }

  /// The insert of a record has ended, well or badly: reads wait for none for ever.
  mutating func settle(_ record: UInt64) {
    guard record >= preloaded else { return }
    early.insert(preloaded + (record - preloaded) / lanes)
    while early.remove(count) != nil { count += 1 }
  }
}
