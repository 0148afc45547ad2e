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
    case .unmintedIgnored: Shrink.forgottenByDisk
    case .lossAcceptedEarly: Shrink.damageBeyondQuorum
    case .staleExpiryKept:
      [
        .init("faults", "bit-flip"), .init("fault-interval", "30"), .init("scrub", "400000"), .init("expiring", "40"),
        .init("ttl", "500"), .init("sweep-interval", "20"), .init("sweep-margin", "0"),
      ]
    default: []
    }
  }
}

extension Shrink {
  /// Bits that flip in two copies of three, and somebody who accepts that.
  public static let damageBeyondQuorum: [Setting] = [
    .init("nodes", "3"), .init("copies", "3"), .init("read-quorum", "2"), .init("write-quorum", "2"),
    .init("faults", "bit-flip-on-two"), .init("fault-interval", "50"), .init("keys", "4"), .init("scrub", "400000"),
    .init("exchange-interval", "20"),
  ]

  /// Disks that lose the end of what they had synced, while all other copies have it.
  public static let forgottenByDisk: [Setting] = [
    .init("nodes", "3"), .init("copies", "3"), .init("read-quorum", "2"), .init("faults", "disk-forgets"),
    .init("fault-interval", "20"), .init("keys", "10"), .init("weak-reads", "0"), .init("exchange-interval", "20"),
    .init("operations", "3000"),
  ]

  /// Copies that have every write, and bits that flip in all of them but one: HAZARDS.md row 41.
  public static let damageOnAllButOne: [Setting] = [
    .init("nodes", "3"), .init("copies", "3"), .init("write-quorum", "3"), .init("faults", "bit-flip,crash"),
    .init("fault-interval", "20"), .init("keys", "4"), .init("scrub", "400000"), .init("exchange-interval", "20"),
  ]
}
