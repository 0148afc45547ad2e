import KVModel
import KVNet

/// A connection for which there is no place: it is told why, and closed when it has read that.
///
/// It takes no place while it reads, but one among `limits.connections_closing`.
final class TurnedAway: ConnectionHandler {
  private unowned let host: ShardHost

  private init(host: ShardHost) { self.host = host }

  /// On the host's loop.
  static func tell(_ refusal: Refusal, _ descriptor: Int32, _ address: SocketAddress, _ host: ShardHost) {
    let handler = TurnedAway(host: host)
    guard let connection = try? Connection.adopt(descriptor, peer: address, on: host.loop, handler: handler) else {
      return
    }
    FrameHeader(type: .refused, requestID: 0).write(to: connection) { refusal.encode(into: &$0) }
    connection.closeAfterFlush()
    host.onClosing(connection)
  }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int { bytes.count }

  func onClosed(_ connection: Connection, reason: CloseReason) { host.onClosed(connection) }
}
