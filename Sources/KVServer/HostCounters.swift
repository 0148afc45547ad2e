import KVModel
import KVNet

/// What a host counts beside its shard.
struct HostCounters: Sendable {
  var connectionsAccepted: UInt64 = 0
  /// Connections turned away or ended with a word why, by reason.
  private(set) var refused: [UInt8: UInt64] = [:]
  var malformedFrames: UInt64 = 0
  var malformedRequests: UInt64 = 0
  var overloads: UInt64 = 0
  private(set) var bytesRead: UInt64 = 0
  private(set) var bytesWritten: UInt64 = 0

  mutating func onRefused(_ reason: Refusal.Reason) { refused[reason.rawValue, default: 0] += 1 }

  mutating func onClosed(_ connection: Connection) {
    bytesRead += connection.bytesRead
    bytesWritten += connection.bytesWritten
  }

  func refusals(_ reason: Refusal.Reason) -> UInt64 { refused[reason.rawValue] ?? 0 }
}
