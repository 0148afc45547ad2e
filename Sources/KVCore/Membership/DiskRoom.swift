import KVModel

/// Whether this node's disk has room for clients' values, or only the reserve is left, which belongs to deletes, repair
/// and the writes that other nodes coordinate.
public enum DiskRoom: Equatable, Sendable {
  case enough
  case reserveOnly(usedPercent: Int, resumesBelow: Int)

  /// What a client's write is answered with; nil when it may go on.
  func refusal(of write: WriteRequest, at node: NodeID) -> Failure? {
    guard case .reserveOnly(let usedPercent, let resumesBelow) = self, write.payload != .delete else { return nil }
    return Failure(
      .overloaded, retryAfterMs: 1_000,
      detail: "the disk of node \(node) is \(usedPercent) % full: it takes new values again below \(resumesBelow) %; "
        + "reads and deletes go on")
  }
}

/// Tells from what is measured of the disk whether there is room; with a gap between the two bounds, so that a
/// compaction does not turn it on and off.
struct DiskWatch: Equatable, Sendable {
  /// Percent by which the use must fall below the limit again.
  static let gapPercent = 2

  /// At so many percent in use only the reserve is left; 100 = never.
  var limitPercent = 95
  private(set) var room = DiskRoom.enough

  /// True when it has changed. Nothing is known while `totalBytes` is 0.
  mutating func onMeasured(usedBytes: UInt64, totalBytes: UInt64) -> Bool {
    guard totalBytes > 0 else { return false }
    let before = room
    let percent = Int(min(usedBytes, totalBytes) / max(1, totalBytes / 100))
    switch room {
    case .enough where limitPercent < 100 && percent >= limitPercent:
      room = .reserveOnly(usedPercent: percent, resumesBelow: limitPercent - DiskWatch.gapPercent)
    case .reserveOnly where percent < limitPercent - DiskWatch.gapPercent: room = .enough
    case .enough, .reserveOnly: break
    }
    return room != before
  }
}
