import KVModel

// Damage that nobody reads is found all the same, before the other copies go too: a slow walk over all records, round the
// ring and round again. The store checks what it reads, and puts aside what is damaged.
extension Shard {
  static let scrubID = OperationID(kind: .housekeeping, shard: 0, slot: 12, generation: 0)
  /// What is read at once: a tenth of a millisecond of a core.
  private static let scrubBytes = 64 << 10
  /// A round that finds little to read does not begin again at once.
  private static let scrubRest = Span64.seconds(10)

  mutating func scheduleScrub(after span: Span64, _ now: Now, _ effects: inout [Effect]) {
    guard settings.scrubBytesPerSecond > 0 else { return }
    effects.append(.schedule(TimerID(raw: Shard.scrubID.raw), at: now.instant.advanced(by: span)))
  }

  mutating func onScrubTimer(_ effects: inout [Effect]) {
    let scrub = StorageOperation.scrub(after: rebuild.scrubbedUpTo, bytes: Shard.scrubBytes)
    effects.append(.store(scrub, StorageID(raw: Shard.scrubID.raw)))
  }

  mutating func onScrubFailed(_ now: Now, _ effects: inout [Effect]) {
    rebuild.isStale = true
    scheduleScrub(after: Shard.scrubRest, now, &effects)
  }

  mutating func onScrubbed(_ page: ScrubPage, _ now: Now, _ effects: inout [Effect]) {
    counters.scrubbedBytes += UInt64(page.bytes)
    rebuild.scrubbedUpTo = page.last
    rebuild.isStale = true
    if page.last == nil { counters.scrubRounds += 1 }
    let span = Span64(nanoseconds: UInt64(page.bytes) &* 1_000_000_000 / max(1, settings.scrubBytesPerSecond))
    scheduleScrub(after: page.last == nil ? max(span, Shard.scrubRest) : span, now, &effects)
  }
}
