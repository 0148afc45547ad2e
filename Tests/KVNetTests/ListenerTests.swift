import Glibc
import Testing

@testable import KVNet

/// Accepting, and running out of descriptors.
struct ListenerTests {
  @Test func `port 0 binds a free port, on IPv6 too`() throws {
    try withLoop { loop in
      let port = try loop.sync {
        try Listener.bind(to: .loopback(port: 0), on: loop) { fd, _ in Posix.discard(descriptor: fd) }.boundPort
      }
      #expect(port != 0)
      let six = try? loop.sync {
        try Listener.bind(to: .loopbackV6(port: 0), on: loop) { fd, _ in Posix.discard(descriptor: fd) }.boundAddress
      }
      // A machine without IPv6 has nothing to bind.
      if let six { #expect(six.description == "[::1]:\(six.port)") }
    }
  }

  @Test func `a port that is taken is refused, with the reason`() throws {
    try withLoop { loop in
      try loop.sync {
        let first = try Listener.bind(to: .loopback(port: 0), on: loop) { _, _ in }
        #expect(throws: SystemError(call: "bind", errno: EADDRINUSE)) {
          try Listener.bind(to: first.boundAddress, on: loop) { _, _ in }
        }
      }
    }
  }

  /// In a child process, whose descriptors may run out without harm to the other tests.
  @Test func `hazard 51: out of descriptors, the listener refuses, waits and recovers, and never spins`() async {
    await #expect(processExitsWith: .success) {
      try exhaustDescriptors()
    }
  }

  @Test func `hazard 51: the spare descriptor turns newcomers away, and a timer tries again`() throws {
    try withLoop { loop in
      let isOut = Box(true)
      let accepted = Gate()
      let (listener, port) = try loop.sync {
        let accept: Listener.AcceptCall = { descriptor throws(SystemError) in
          if isOut.value {
            isOut.value = false
            throw SystemError(call: "accept4", errno: EMFILE)
          }
          return try Posix.accept(descriptor)
        }
        let listener = try Listener.bind(to: .loopback(port: 0), on: loop, backlog: 16, accept: accept) { fd, _ in
          Posix.discard(descriptor: fd)
          accepted.open()
        }
        return (Box(listener), listener.boundPort)
      }
      let first = try RawPeer(port: port)
      #expect(try first.receive(1) == [])
      // The turn that refuses is over after this, so the second one meets a listener at rest.
      try loop.sync {}
      let second = try RawPeer(port: port)
      try accepted.wait()
      #expect(try second.receive(1) == [])
      let (refused, suspensions, isSuspended) = try loop.sync {
        (listener.value.refused, listener.value.suspensions, listener.value.isSuspended)
      }
      #expect(refused >= 1)
      #expect(suspensions == 1)
      #expect(!isSuspended)
    }
  }

  @Test func `hazard 51: without even a spare descriptor the listener rests between attempts`() throws {
    try withLoop { loop in
      let calls = Box(0)
      let accepted = Gate()
      let (listener, port) = try loop.sync {
        let accept: Listener.AcceptCall = { descriptor throws(SystemError) in
          calls.value += 1
          // Two calls an attempt, one to accept and one to refuse: the third attempt finds a descriptor.
          if calls.value <= 4 { throw SystemError(call: "accept4", errno: ENFILE) }
          return try Posix.accept(descriptor)
        }
        let listener = try Listener.bind(to: .loopback(port: 0), on: loop, backlog: 16, accept: accept) { fd, _ in
          Posix.discard(descriptor: fd)
          accepted.open()
        }
        return (Box(listener), listener.boundPort)
      }
      let before = try loop.sync { loop.turns }
      let peer = try RawPeer(port: port)
      try accepted.wait()
      #expect(try peer.receive(1) == [])
      let (turns, suspensions) = try loop.sync { (loop.turns - before, listener.value.suspensions) }
      #expect(suspensions == 2)
      #expect(try loop.sync { calls.value } <= 10)
      // A listener that spins through its rests takes thousands.
      #expect(turns < 100)
    }
  }

  @Test func `a thousand connections leave no descriptor behind`() async {
    await #expect(processExitsWith: .success) {
      try connectAThousandTimes()
    }
  }

  @Test func `numeric addresses resolve without asking anyone, names on the background queue`() throws {
    #expect(SocketAddress(numericHost: "127.0.0.1", port: 80) == .loopback(port: 80))
    #expect(SocketAddress(numericHost: "::1", port: 80) == .loopbackV6(port: 80))
    #expect(SocketAddress(numericHost: "localhost", port: 80) == nil)
    #expect(SocketAddress.loopback(port: 7_420).description == "127.0.0.1:7420")
    #expect(SocketAddress(numericHost: "2001:db8::5", port: 1)?.description == "[2001:db8::5]:1")
    try withLoop { loop in
      let gate = Gate()
      let found = Box<[SocketAddress]>([])
      SocketAddress.resolve(host: "localhost", port: 9, on: loop) { result in
        loop.checkIsolated()
        found.value = (try? result.get()) ?? []
        gate.open()
      }
      try gate.wait()
      #expect(found.value.contains(.loopback(port: 9)) || found.value.contains(.loopbackV6(port: 9)))
    }
  }

  @Test func `a backoff doubles up to its most, within a fifth, and starts over`() {
    var random = Seeded(5)
    var backoff = Backoff(baseMilliseconds: 100, maxMilliseconds: 5_000)
    var seen: Set<UInt64> = []
    for round in 0..<200 {
      let wait = backoff.nextMilliseconds(random: random.next())
      let nominal: UInt64 = round < 6 ? 100 << UInt64(round) : 5_000
      #expect(wait >= nominal * 4 / 5 && wait <= nominal * 6 / 5)
      if round >= 6 { seen.insert(wait) }
    }
    #expect(seen.count > 100)
    backoff.reset()
    #expect(backoff.nextMilliseconds(random: 0) == 80)
    #expect(backoff.nextMilliseconds(random: .max) == 240)
  }
}

/// Takes every descriptor the process may have, lets peers knock, and gives the descriptors back.
private func exhaustDescriptors() throws {
  leaveDescriptors(60)
  let loop = try EventLoop(label: "exhausted")
  let server = try Server(on: loop) { Framed.echo() }
  // One is served first, and stays: Dispatch has its own descriptors after this, which it opens on a thread of its own,
  // and nobody gives one back meanwhile.
  let first = try servedPeer(of: server)
  // Ten clients have their sockets before the descriptors run out; the kernel connects them without the listener's
  // help.
  let clients = (0..<10).map { _ in socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) }
  var hoard: [Int32] = []
  while let descriptor = try? Posix.openNull() { hoard.append(descriptor) }
  let turns = try loop.sync { loop.turns }
  for client in clients { try require(Posix.connect(client, to: .loopback(port: server.port)), "connects") }
  // Each sees the end of its connection: refused, not forgotten.
  for client in clients {
    var byte: UInt8 = 0
    try require(Posix.receive(client, into: &byte, 1) == .bytes(0), "is refused")
  }
  let listener = Box(try loop.sync { server.listener })
  let (turnsAfter, refused) = try loop.sync { (loop.turns, listener.value?.refused) }
  try require(refused == 10, "all are counted")
  try require(turnsAfter - turns < 1_000, "does not spin: \(turnsAfter - turns) turns")
  // Descriptors are there again: the next one is served.
  for descriptor in hoard { Posix.close(descriptor) }
  let last = try servedPeer(of: server)
  loop.stopAndWait()
  withExtendedLifetime((first, last)) {}
}

/// From now on this process may open no more than so many. It has inherited what other tests had open when it began, so
/// the limit, which is one of numbers, is not the same each time.
private func leaveDescriptors(_ count: Int) {
  var (end, free): (Int32, Int) = (0, 0)
  while free < count {
    if fcntl(end, F_GETFD) == -1 { free += 1 }
    end += 1
  }
  var limit = rlimit(rlim_cur: rlim_t(end), rlim_max: rlim_t(end))
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

private func servedPeer(of server: Server) throws -> RawPeer {
  let peer = try RawPeer(port: server.port)
  try peer.send(frame([1, 2]))
  try require(try peer.receive(6) == frame([1, 2]), "serves")
  return peer
}

private func connectAThousandTimes() throws {
  let before = openDescriptors()
  let loop = try EventLoop(label: "leak")
  let server = try Server(on: loop) { Framed.echo() }
  for round in 0..<1_000 {
    let handler = Box(Framed.echo())
    try loop.sync {
      let connection = Connection.connect(to: .loopback(port: server.port), on: loop, handler: handler.value)
      if round % 2 == 0 { connection.closeAfterFlush() } else { connection.write { $0 += frame([1]) } }
      handler.value.onFrame = { _, connection in connection.close() }
    }
    try handler.value.closedGate.wait()
  }
  loop.stopAndWait()
  // The eventfd and the timerfd go with the loop object, which this function still holds: 2, and Dispatch's own epoll,
  // eventfd and timerfd, which it opens with its first source and keeps.
  let after = openDescriptors()
  try require(after - before <= 6, "\(after - before) descriptors left")
  withExtendedLifetime((loop, server)) {}
}

private struct Unmet: Error { let what: String }

/// In a child process nobody counts expectations: an error ends it.
private func require(_ holds: Bool, _ what: String) throws {
  if !holds { throw Unmet(what: what) }
}
