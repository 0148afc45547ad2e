import KVCore
import KVModel
import KVNet

/// One question to a seed: which cluster do you belong to, and who is in it? Over a connection that ends with the answer.
/// Confined to its host's loop; the connection keeps it alive.
final class SeedVisit: ConnectionHandler {
  private enum Phase: Equatable {
    case greeting
    /// Who answers there.
    case asked(NodeID)
    case ended
  }

  private let seed: Address
  private unowned let host: ShardHost
  private let answer: @Sendable (Control.Input) -> Void
  private var phase = Phase.greeting

  /// So long may it all take.
  static let patience = Span64.seconds(3)

  private init(_ seed: Address, _ host: ShardHost, _ answer: @escaping @Sendable (Control.Input) -> Void) {
    self.seed = seed
    self.host = host
    self.answer = answer
  }

  static func begin(at seed: Address, from host: ShardHost, answer: @escaping @Sendable (Control.Input) -> Void) {
    let visit = SeedVisit(seed, host, answer)
    SocketAddress.resolve(host: seed.host, port: seed.port, on: host.loop) { [confined = LoopConfined(visit)] result in
      guard case .success(let addresses) = result, let address = addresses.first else { return }
      confined.value.connect(to: address)
    }
  }

  private func connect(to address: SocketAddress) {
    let connection = Connection.connect(to: address, on: host.loop, options: host.peerOptions, handler: self)
    host.onVisiting(connection)
  }

  func onConnected(_ connection: Connection) {
    let hello = host.hello(to: NodeID(0))
    FrameHeader(type: .hello, requestID: 0).write(to: connection) { hello.encode(into: &$0) }
  }

  func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var offset = 0
    while phase != .ended {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
      switch FrameScan.next(in: rest, bodyBytesMax: SeedVisit.bodyBytesMax) {
      case .incomplete(let neededBytes):
        connection.neededBytes = neededBytes
        return offset
      case .malformed: end(connection)
      case .frame(let header, let body, let frameBytes):
        offset += frameBytes
        onFrame(header, body, connection)
      }
    }
    return bytes.count
  }

  /// A thousand members, twice, with the longest names and addresses.
  private static let bodyBytesMax = 2 << 20

  private func onFrame(_ header: FrameHeader, _ body: UnsafeRawBufferPointer, _ connection: Connection) {
    switch (phase, header.type) {
    case (.greeting, .welcome):
      guard let welcome = try? Welcome(body) else { return end(connection) }
      phase = .asked(welcome.node)
      // Not earlier: what comes behind a HELLO is lost when the link moves to another loop.
      FrameHeader(type: .visit, requestID: 0).write(to: connection) { _ in }
    case (.asked(let node), .visited):
      guard case .visited(let visit)? = try? ControlMessage(header.type, body) else { return end(connection) }
      answer(.visited(visit, from: node, at: seed))
      end(connection)
    case (_, .refused):
      if let refusal = try? Refusal(body) { answer(.visitRefused(refusal, at: seed)) }
      end(connection)
    case (_, _): end(connection)
    }
  }

  private func end(_ connection: Connection) {
    phase = .ended
    connection.close()
  }

  func onClosed(_ connection: Connection, reason: CloseReason) { host.onVisited(connection) }
}
