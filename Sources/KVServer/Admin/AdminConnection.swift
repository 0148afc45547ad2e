import KVModel
import KVNet

/// One HTTP request and its answer. Confined to its loop; a page is made elsewhere and comes back to the loop.
final class AdminConnection: ConnectionHandler, @unchecked Sendable {
  /// The request line and all headers, bytes. Prometheus sends some 300.
  static let requestBytesMax = 8 << 10

  private unowned let server: AdminServer
  /// The request is there, or refused: what follows it is thrown away.
  private var isAnswered = false

  init(server: AdminServer) { self.server = server }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    if isAnswered { return bytes.count }
    guard let end = AdminConnection.headerEnd(bytes.prefix(AdminConnection.requestBytesMax)) else {
      if bytes.count < AdminConnection.requestBytesMax { return 0 }
      refuse("431 Request Header Fields Too Large", "the request is larger than 8 KiB\n", connection)
      return bytes.count
    }
    onRequest(String(decoding: bytes[..<end], as: UTF8.self), connection)
    return bytes.count
  }

  /// A client may finish sending before it reads; without a whole request there is nothing to say.
  func onPeerFinished(_ connection: Connection) {
    if !isAnswered { connection.closeAfterFlush(.peerClosed) }
  }

  func onClosed(_ connection: Connection, reason: CloseReason) { server.onClosed(connection) }

  private func onRequest(_ text: String, _ connection: Connection) {
    let line = text.prefix { !$0.isNewline }.split(separator: " ", omittingEmptySubsequences: false)
    guard line.count == 3, line[1].hasPrefix("/"), line[2].hasPrefix("HTTP/1.") else {
      return refuse("400 Bad Request", "this is HTTP/1.1; write GET /metrics HTTP/1.1\n", connection)
    }
    isAnswered = true
    let (method, target) = (line[0], line[1])
    Task { [server] in
      let page = await server.page(method, target)
      connection.loop.execute { AdminConnection.send(page, on: connection) }
    }
  }

  private func refuse(_ status: String, _ text: String, _ connection: Connection) {
    isAnswered = true
    AdminConnection.send(AdminServer.Page(status: status, text: text), on: connection)
  }

  private static func send(_ page: AdminServer.Page, on connection: Connection) {
    let allow = page.status.hasPrefix("405") ? "Allow: GET\r\n" : ""
    let head = """
      HTTP/1.1 \(page.status)\r
      Content-Type: \(page.type)\r
      Content-Length: \(page.text.utf8.count)\r
      \(allow)Connection: close\r
      \r

      """
    connection.write { output in
      output.append(contentsOf: head.utf8)
      output.append(contentsOf: page.text.utf8)
    }
    connection.closeAfterFlush()
  }

  /// Where the empty line begins that ends the headers; line ends are CR LF, or LF from people at a terminal.
  static func headerEnd(_ bytes: Slice<UnsafeRawBufferPointer>) -> Int? {
    var previous: Int?
    for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "\n") {
      if let previous, index == previous + 1 || (index == previous + 2 && bytes[previous + 1] == UInt8(ascii: "\r")) {
        return previous
      }
      previous = index
    }
    return nil
  }
}
