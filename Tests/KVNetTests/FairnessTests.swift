import Dispatch
import Glibc
import Testing

@testable import KVNet

/// `yieldInput`, and what connections hold together.
struct FairnessTests {
  /// Answers so many frames a call, then lets the others go first.
  private final class Sharing: ConnectionHandler {
    let framesACall: Int
    let onCall: () -> Void
    var calls = 0

    init(framesACall: Int, onCall: @escaping () -> Void = {}) {
      self.framesACall = framesACall
      self.onCall = onCall
    }

    func onClosed(_ connection: Connection, reason: CloseReason) {}

    func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
      calls += 1
      onCall()
      var offset = 0
      for _ in 0..<framesACall {
        guard bytes.count - offset >= 4 else { return offset }
        let length = 4 + Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
        guard bytes.count - offset >= length else {
          connection.neededBytes = length
          return offset
        }
        connection.write(UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + length)]))
        offset += length
      }
      if offset < bytes.count { connection.yieldInput() }
      return offset
    }
  }

  private final class Accounted {
    let listener: Box<Listener?> = Box(nil)
    let connections = Box<[Connection]>([])
    let account = ByteAccount()
    let port: UInt16

    init(on loop: EventLoop, _ make: @escaping () -> any ConnectionHandler) throws {
      let (listener, connections, account) = (listener, connections, account)
      port = try loop.sync {
        let made = try Listener.bind(to: .loopback(port: 0), on: loop) { descriptor, peer in
          let adopted = try? Connection.adopt(descriptor, peer: peer, on: loop, account: account, handler: make())
          if let adopted { connections.value.append(adopted) }
        }
        listener.value = made
        return made.boundPort
      }
    }
  }

  @Test func `what a handler leaves comes again, in order and whole, whatever its share is`() throws {
    for framesACall in [1, 3, 1_000] {
      try withLoop { loop in
        let handler = Box(Sharing(framesACall: framesACall))
        let server = try Accounted(on: loop) { handler.value }
        let peer = try RawPeer(port: server.port)
        var random = Seeded(3)
        var sent: [UInt8] = []
        for size in (0..<600).map({ $0 % 97 == 0 ? 70_000 : $0 % 50 }) {
          sent += frame((0..<size).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
        let whole = sent
        let outgoing = Box(peer)
        DispatchQueue.global().async { try? outgoing.value.send(whole) }
        #expect(try peer.receive(whole.count) == whole)
        let held = try loop.sync { (server.account.inputBytes, server.account.outputBytes) }
        #expect(held == (0, 0))
        let counted = try loop.sync { (server.account.bytesRead, server.account.bytesWritten) }
        #expect(counted == (UInt64(whole.count), UInt64(whole.count)))
      }
    }
  }

  @Test func `one that floods takes a frame a turn, and another one's answer does not wait for it`() throws {
    try withLoop { loop in
      let flooding = Box(Sharing(framesACall: 1))
      // How often the flood had been handled when the other one's frame was.
      let seen = Box<Int?>(nil)
      let waiting = Box(Sharing(framesACall: 1) { seen.value = seen.value ?? flooding.value.calls })
      let handlers = Box([flooding.value, waiting.value])
      let server = try Accounted(on: loop) { handlers.value.removeFirst() }
      let flood = try RawPeer(port: server.port)
      let other = try RawPeer(port: server.port)
      let frames = 20_000
      // All of it is in the socket before the loop looks, so that it could be taken at once.
      let held = Gate()
      loop.execute { try? held.wait("the flood is sent") }
      try flood.send([UInt8](repeating: 0, count: 4 * frames))
      try other.send(frame([1, 2, 3]))
      held.open()
      #expect(try other.receive(7) == frame([1, 2, 3]))
      #expect(try flood.receive(4 * frames).count == 4 * frames)
      let (calls, before) = try loop.sync { (flooding.value.calls, try #require(seen.value)) }
      #expect(calls >= frames && before < 10, "\(before) frames of the flood came before")
    }
  }

  @Test func `what is held comes when it is told to go on, and not before`() throws {
    final class Holding: ConnectionHandler {
      var calls = 0
      func onClosed(_ connection: Connection, reason: CloseReason) {}
      func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
        calls += 1
        connection.write(UnsafeRawBufferPointer(rebasing: bytes[..<1]))
        connection.holdInput()
        return 1
      }
    }
    try withLoop { loop in
      let handler = Box(Holding())
      let server = try Accounted(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      try peer.send([1, 2, 3])
      for byte: UInt8 in 1...3 {
        #expect(try peer.receive(1) == [byte])
        try peer.send([9])
        let calls = try loop.sync { handler.value.calls }
        #expect(calls == Int(byte))
        try loop.sync {
          server.connections.value[0].continueInput()
          server.connections.value[0].continueInput()
        }
      }
    }
  }

  @Test func `a connection that closes takes what it held out of the account`() throws {
    try withLoop { loop in
      let server = try Accounted(on: loop) { Framed { _, _ in } }
      let peer = try RawPeer(port: server.port)
      try peer.send(frame([UInt8](repeating: 1, count: 100))[..<50] + [])
      let gate = Gate()
      loop.execute { gate.open() }
      try gate.wait()
      while try loop.sync({ server.account.inputBytes }) < 50 {}
      try loop.sync {
        #expect(server.account.inputBytes == 50)
        server.connections.value[0].write { $0 += [UInt8](repeating: 2, count: 1_000) }
        #expect(server.account.outputBytes == 1_000)
        server.connections.value[0].close()
        #expect(server.account.inputBytes == 0 && server.account.outputBytes == 0)
      }
    }
  }
}
