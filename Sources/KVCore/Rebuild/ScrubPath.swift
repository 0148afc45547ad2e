import KVModel

// Damage that nobody reads is found all the same, before the other copies go too: a slow walk over all records, round the
// ring and round again. The store checks what it reads, and puts aside what is damaged.
extension Shard {
  static let scrubID = OperationID(kind: .housekeeping, shard: 0, slot: 12, generation: 0)
  /// What is read at once: one to two milliseconds of a core, not of a loop.
  private static let scrubBytes = 256 << 10
  /// Before one that failed goes on.
  private static let scrubRest = Span64.seconds(10)

  mutating func scheduleScrub(at instant: Instant, _ effects: inout [Effect]) {
    guard settings.scrubBytesPerSecond > 0 else { return }
    effects.append(.schedule(TimerID(raw: Shard.scrubID.raw), at: instant))
  }

  mutating func onScrubTimer(_ now: Now, _ effects: inout [Effect]) {
    if rebuild.scrubbedUpTo == nil { rebuild.scrubBeganAt = now.instant }
    let scrub = StorageOperation.scrub(after: rebuild.scrubbedUpTo, bytes: Shard.scrubBytes)
    effects.append(.store(scrub, StorageID(raw: Shard.scrubID.raw)))
  }

  mutating func onScrubFailed(_ now: Now, _ effects: inout [Effect]) {
    rebuild.isStale = true
    scheduleScrub(at: now.instant.advanced(by: Shard.scrubRest), &effects)
  }

  mutating func onScrubbed(_ page: ScrubPage, _ now: Now, _ effects: inout [Effect]) {
    counters.scrubbedBytes += UInt64(page.bytes)
    rebuild.scrubbedUpTo = page.last
    rebuild.isStale = true
    if page.last == nil { counters.scrubRounds += 1 }
    let span = Span64(nanoseconds: UInt64(page.bytes) &* 1_000_000_000 / max(1, settings.scrubBytesPerSecond))
    let next = now.instant.advanced(by: span)
    let round = rebuild.scrubBeganAt.advanced(by: settings.scrubInterval)
    scheduleScrub(at: page.last == nil ? max(next, round) : next, &effects)
  }
}
