import KVCore

extension PlantedBug {
  /// What a search for this bug sets instead of drawing it: faults without which it cannot show, and of which the seeds
  /// draw too few to find it soon. Most bugs need nothing.
  public var searchSettings: [Shrink.Setting] {
    switch self {
    case .epochKept: [.init("faults", "blackout"), .init("fault-interval", "100"), .init("keys", "3")]
    case .generationNotChecked: [.init("faults", "go-back"), .init("fault-interval", "10")]
    case .quarantinedMints, .rebuildMarkUnsynced:
      [
        .init("faults", "bit-flip,crash,blackout"), .init("fault-interval", "30"), .init("scrub", "400000"),
      ]
    case .rebuiltFromOne: Shrink.damageOnAllButOne
    default: []
    }
  }
}

extension Shrink {
  /// Copies that have every write, and bits that flip in all of them but one: HAZARDS.md row 41.
  public static let damageOnAllButOne: [Setting] = [
    .init("nodes", "3"), .init("copies", "3"), .init("write-quorum", "3"), .init("faults", "bit-flip,crash"),
    .init("fault-interval", "20"), .init("keys", "4"), .init("scrub", "400000"), .init("exchange-interval", "20"),
  ]
}
