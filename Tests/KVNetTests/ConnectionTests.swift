import Glibc
import Testing

@testable import KVNet

/// Reading, writing and ending, over loopback.
struct ConnectionTests {
  @Test func `thousands of small frames come back over several connections`() throws {
    try withLoop { loop in
      let server = try Server(on: loop) { Framed.echo() }
      try withLoop("clients") { clients in
        let gates = (0..<8).map { _ in Gate() }
        let counts = Box([Int](repeating: 0, count: 8))
        let total = 5_000
        try clients.sync {
          for index in 0..<8 {
            let handler = Framed { bytes, _ in
              #expect(bytes.count == 4 + counts.value[index] % 100)
              counts.value[index] += 1
              if counts.value[index] == total { gates[index].open() }
            }
            let connection = Connection.connect(to: .loopback(port: server.port), on: clients, handler: handler)
            for number in 0..<total {
              connection.write { $0 += frame([UInt8](repeating: UInt8(index), count: number % 100)) }
            }
          }
        }
        for gate in gates { try gate.wait("all frames are back") }
      }
    }
  }

  @Test func `a frame of 1 MiB comes back whole, from few calls`() throws {
    try withLoop { loop in
      let handler = Box(Framed.echo())
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      var random = Seeded(1)
      let sent = frame((0..<1 << 20).map { _ in UInt8.random(in: 0...255, using: &random) })
      try peer.send(sent)
      #expect(try peer.receive(sent.count) == sent)
      #expect(try loop.sync { handler.value.calls } <= 3)
      #expect(try loop.sync { server.connections[0].input.capacity } == 0)
    }
  }

  @Test func `frames cut at every place come back whole`() throws {
    try withLoop { loop in
      let server = try Server(on: loop) { Framed.echo() }
      let peer = try RawPeer(port: server.port)
      var random = Seeded(2)
      var all: [UInt8] = []
      for size in [0, 1, 5, 4_095, 5_000, 64 << 10, 70_000, 3, 300_000, 0, 9] {
        all += frame((0..<size).map { _ in UInt8.random(in: 0...255, using: &random) })
      }
      var sent = 0
      var back: [UInt8] = []
      while sent < all.count {
        let width = Int.random(in: 0...17, using: &random)
        let piece = min(Int.random(in: 1...(1 << width), using: &random), all.count - sent)
        try peer.send(Array(all[sent..<sent + piece]))
        sent += piece
      }
      back = try peer.receive(all.count)
      #expect(back == all)
    }
  }

  @Test func `a frame of 1 MiB that trickles in byte by byte calls the handler a handful of times`() throws {
    try withLoop { loop in
      let handler = Box(Framed.echo())
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      let sent = frame([UInt8](repeating: 7, count: 1 << 20))
      for byte in sent[..<100_000] { try peer.send([byte]) }
      try peer.send(Array(sent[100_000...]))
      #expect(try peer.receive(sent.count) == sent)
      #expect(try loop.sync { handler.value.calls } <= 6)
    }
  }

  @Test func `a handler that names no size gets no more than the scratch buffer`() throws {
    final class Greedy: ConnectionHandler {
      var reason: CloseReason?
      let gate = Gate()
      func onBytes(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int { 0 }
      func onClosed(_ connection: Connection, reason: CloseReason) {
        self.reason = reason
        gate.open()
      }
    }
    try withLoop { loop in
      let handler = Box(Greedy())
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      try? peer.send([UInt8](repeating: 1, count: 1 << 20))
      try handler.value.gate.wait()
      #expect(try loop.sync { handler.value.reason } == .inputOverflow)
    }
  }

  @Test func `a handler may close inside onBytes`() throws {
    try withLoop { loop in
      let handler = Box(
        Framed { bytes, connection in
          connection.close()
          #expect(bytes[4] == 9)
        })
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      try peer.send(frame([9, 9, 9]) + frame([9]))
      #expect(try peer.receive(1) == [])
      try handler.value.closedGate.wait()
      let (reason, calls) = try loop.sync { (handler.value.closeReason, handler.value.calls) }
      #expect(reason == .local)
      #expect(calls == 1)
    }
  }

  @Test func `events for a connection that another one closed in the same turn are harmless`() throws {
    try withLoop { loop in
      let handlers = Box<[Framed]>([])
      let serverBox = Box<Server?>(nil)
      let server = try Server(on: loop) {
        let handler = Framed { _, _ in
          for connection in serverBox.value?.connections ?? [] { connection.close() }
        }
        handlers.value.append(handler)
        return handler
      }
      serverBox.value = server
      let peers = try (0..<20).map { _ in try RawPeer(port: server.port) }
      for _ in peers { try server.arrived.wait() }
      try loop.sync {
        // The loop is busy here, so all of these are ready in one epoll_wait.
        for peer in peers { try peer.send(frame([1])) }
      }
      for handler in try loop.sync({ handlers.value }) { try handler.closedGate.wait() }
      let calls = try loop.sync { handlers.value.map(\.calls).reduce(0, +) }
      #expect(calls == 1)
      serverBox.value = nil
    }
  }

  @Test func `a peer that half-closes still gets its answers`() throws {
    try withLoop { loop in
      let handler = Box(Framed.echo())
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      let sent = frame([UInt8](repeating: 3, count: 200_000))
      try peer.send(sent)
      peer.finishSending()
      #expect(try peer.receive(sent.count + 1) == sent)
      try handler.value.closedGate.wait()
      #expect(try loop.sync { handler.value.closeReason } == .peerClosed)
    }
  }

  @Test func `a slow reader raises the high-water mark, and onWritable follows once it reads`() throws {
    var options = ConnectionOptions()
    options.outputHighWater = 1 << 20
    options.outputLowWater = 64 << 10
    let size = 16 << 20
    try withLoop { loop in
      let handler = Box(Framed { _, connection in connection.write { $0 += [UInt8](repeating: 5, count: size) } })
      let server = try Server(on: loop, options: options) { handler.value }
      let peer = try RawPeer(port: server.port, receiveBuffer: 4_096)
      try peer.send(frame([1]))
      _ = try peer.receive(1)
      let (above, calls) = try loop.sync { (server.connections[0].isAboveHighWater, handler.value.writableCalls) }
      #expect(above)
      #expect(calls == 0)
      #expect(try peer.receive(size - 1) == [UInt8](repeating: 5, count: size - 1))
      try handler.value.writableGate.wait()
      let connection = Box(server.connections[0])
      let (stillAbove, allCalls, waiting, capacity, written) = try loop.sync {
        (
          connection.value.isAboveHighWater, handler.value.writableCalls, connection.value.outputBytes,
          connection.value.output.capacity, connection.value.bytesWritten
        )
      }
      #expect(!stillAbove)
      #expect(allCalls == 1)
      #expect(waiting == 0)
      #expect(capacity <= options.outputKeptBytes)
      #expect(written == UInt64(size))
    }
  }

  @Test func `a peer that never reads is closed at the bound`() throws {
    var options = ConnectionOptions()
    options.outputBytesMax = 8 << 20
    try withLoop { [options] loop in
      let handler = Box(Framed { _, connection in connection.write { $0 += [UInt8](repeating: 5, count: 3 << 20) } })
      let server = try Server(on: loop, options: options) { handler.value }
      let peer = try RawPeer(port: server.port, receiveBuffer: 4_096)
      for _ in 0..<16 { try? peer.send(frame([1])) }
      try handler.value.closedGate.wait()
      #expect(try loop.sync { handler.value.closeReason } == .outputOverflow)
    }
  }

  @Test func `a paused connection reads nothing, and loses nothing when it resumes`() throws {
    try withLoop { loop in
      let seen = Box<[UInt8]>([])
      let gate = Gate()
      let first = Gate()
      let handler = Box(
        Framed { bytes, connection in
          seen.value.append(bytes[4])
          connection.pauseReading()
          connection.pauseReading()
          if seen.value.count == 1 { first.open() }
          if seen.value.count == 100 { gate.open() }
        })
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      try peer.send((0..<100).flatMap { frame([UInt8($0)]) })
      try first.wait()
      for expected in 1...100 {
        let count = try loop.sync {
          let count = seen.value.count
          server.connections[0].resumeReading()
          server.connections[0].resumeReading()
          return count
        }
        #expect(count == expected)
        // The kept bytes come in the turn after the one that resumed; a job posted now runs in that turn or later.
        var tries = 0
        while count < 100, tries < 1_000, try loop.sync({ seen.value.count }) == count { tries += 1 }
      }
      try gate.wait()
      #expect(try loop.sync { seen.value } == (0..<100).map { UInt8($0) })
    }
  }

  @Test func `a reset while paused closes the connection instead of spinning`() throws {
    try withLoop { loop in
      let handler = Box(Framed { _, connection in connection.pauseReading() })
      let paused = Gate()
      handler.value.onFrame = { _, connection in
        connection.pauseReading()
        paused.open()
      }
      let server = try Server(on: loop) { handler.value }
      var peer: RawPeer? = try RawPeer(port: server.port)
      try peer?.send(frame([1]))
      try paused.wait()
      var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
      setsockopt(
        try #require(peer).descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
      peer = nil
      try handler.value.closedGate.wait()
      #expect(try loop.sync { handler.value.closeReason } == .failed(ECONNRESET))
    }
  }

  @Test func `a refused connect is told as such`() throws {
    try withLoop { loop in
      let port = try loop.sync {
        let listener = try Listener.bind(to: .loopback(port: 0), on: loop) { fd, _ in Posix.discard(descriptor: fd) }
        listener.close()
        return listener.boundPort
      }
      let handler = Box(Framed.echo())
      try loop.sync {
        _ = Connection.connect(to: .loopback(port: port), on: loop, handler: handler.value)
        #expect(handler.value.closeReason == nil)
      }
      try handler.value.closedGate.wait()
      #expect(try loop.sync { handler.value.closeReason } == .connectFailed(ECONNREFUSED))
    }
  }

  @Test func `closeAfterFlush delivers everything although the peer still sends`() throws {
    let size = 4 << 20
    try withLoop { loop in
      let handler = Box(
        Framed { _, connection in
          connection.write { $0 += [UInt8](repeating: 8, count: size) }
          connection.closeAfterFlush()
        })
      let server = try Server(on: loop) { handler.value }
      let peer = try RawPeer(port: server.port)
      // The frames after the first would reset the connection if nobody read them.
      for _ in 0..<1_000 { try peer.send(frame([1, 2, 3])) }
      #expect(try peer.receive(size + 1).count == size)
      peer.finishSending()
      try handler.value.closedGate.wait()
      let (reason, calls) = try loop.sync { (handler.value.closeReason, handler.value.calls) }
      #expect(reason == .local)
      #expect(calls == 1)
    }
  }

  @Test func `the loop's stop is told to every connection`() throws {
    let loop = try EventLoop(label: "ends")
    let handler = Box(Framed.echo())
    let server = try Server(on: loop) { handler.value }
    let peer = try RawPeer(port: server.port)
    try server.arrived.wait()
    loop.stopAndWait()
    try handler.value.closedGate.wait()
    #expect(handler.value.closeReason == .loopStopped)
    #expect(try peer.receive(1) == [])
  }

  @Test func `a key of the slot table is never good for a later value`() {
    var table = SlotTable<Int>()
    let first = table.insert(1)
    table.remove(first)
    table.remove(first)
    let second = table.insert(2)
    #expect(UInt32(truncatingIfNeeded: first) == UInt32(truncatingIfNeeded: second))
    #expect(table[first] == nil)
    #expect(table[second] == 2)
    #expect(table[.max] == nil)
    #expect(table.count == 1)
  }

  /// Writes from the observer, in the turn's middle, and looks who was flushed by then.
  private final class Watcher: TurnObserver {
    var urgent: Connection?
    var plain: Connection?
    var seen: [(urgent: Int, plain: Int)] = []
    func onTurnEnd() {
      guard let urgent, let plain, urgent.outputBytes + plain.outputBytes > 0 else { return }
      seen.append((urgent.outputBytes, plain.outputBytes))
      urgent.write { $0.append(2) }
    }
  }

  @Test func `urgent connections are flushed before the observers, the others after them`() throws {
    try withLoop { loop in
      var options = ConnectionOptions()
      options.isUrgent = true
      let plainServer = try Server(on: loop) { Framed.echo() }
      let urgentServer = try Server(on: loop, options: options) { Framed.echo() }
      let plainPeer = try RawPeer(port: plainServer.port)
      let urgentPeer = try RawPeer(port: urgentServer.port)
      try plainServer.arrived.wait()
      try urgentServer.arrived.wait()
      let watcher = Box(Watcher())
      try loop.sync {
        watcher.value.urgent = urgentServer.connections[0]
        watcher.value.plain = plainServer.connections[0]
        loop.addTurnObserver(watcher.value)
        plainServer.connections[0].write { $0.append(1) }
        urgentServer.connections[0].write { $0.append(1) }
      }
      #expect(try plainPeer.receive(1) == [1])
      #expect(try urgentPeer.receive(2) == [1, 2])
      let seen = try loop.sync {
        loop.removeTurnObserver(watcher.value)
        return watcher.value.seen
      }
      #expect(seen.count == 1)
      #expect(seen.first?.urgent == 0)
      #expect(seen.first?.plain == 1)
    }
  }
}
