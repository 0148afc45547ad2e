import KVModel
import KVNet

extension FrameHeader {
  /// Appends a whole frame to what a connection is to send.
  func write(to connection: Connection, body: (inout [UInt8]) -> Void) {
    connection.write { appendFrame(to: &$0, body: body) }
  }
}
