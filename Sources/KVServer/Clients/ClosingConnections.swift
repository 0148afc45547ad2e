import KVModel
import KVNet

/// Connections that flush a last word, at most `connectionsMax` of them: when there are more, the oldest is cut off. Their
/// places in `Admission` are free already, so that who is refused keeps nobody else out.
struct ClosingConnections {
  /// How long a last word may take to be read.
  static let patience = Span64.seconds(1)

  private let connectionsMax: Int
  /// Oldest first.
  private var entries: [(connection: Connection, until: Instant)] = []

  init(connectionsMax: Int) { self.connectionsMax = connectionsMax }

  mutating func add(_ connection: Connection, at now: Instant) {
    entries.append((connection, now.advanced(by: ClosingConnections.patience)))
    if entries.count > connectionsMax { entries.removeFirst().connection.close() }
  }

  mutating func remove(_ connection: Connection) { entries.removeAll { $0.connection === connection } }

  mutating func closeOverdue(at now: Instant) {
    for entry in entries where entry.until <= now { entry.connection.close() }
    entries.removeAll { $0.until <= now }
  }
}
