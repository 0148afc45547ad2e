import CLinux
import Dispatch
import Glibc
import Testing

@testable import KVNet

/// What an echo costs: prints, never judges. Run with
/// `KVNET_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter EchoMeasurement`.
///
/// 64 connections in closed loop, frames of 100 bytes. The load comes from one plain thread with an epoll set of its
/// own; the server's CPU is the process' (user and system) less that thread's.
struct EchoMeasurement {
  @Test(.enabled(if: getenv("KVNET_MEASURE") != nil))
  func `CPU per echo`() throws {
    for round in 1...3 {
      try withLoop { loop in
        let server = try Server(on: loop) { Framed.echo() }
        let load = try Load(port: server.port, connections: 64)
        _ = load.run(requests: 20_000)
        let (turns, visits) = try loop.sync { (loop.turns, loop.visits) }
        let process = Posix.nanoseconds(CLOCK_PROCESS_CPUTIME_ID)
        let wall = Posix.nanoseconds(CLOCK_MONOTONIC)
        let requests = 400_000
        let client = load.run(requests: requests)
        let cpu = Posix.nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - process - client
        let seconds = Double(Posix.nanoseconds(CLOCK_MONOTONIC) - wall) / 1e9
        let (turnsAfter, visitsAfter) = try loop.sync { (loop.turns, loop.visits) }
        print(
          "echo, round \(round): \(Double(cpu / UInt64(requests / 1_000)) / 1e6) µs of server CPU,",
          "\(Double(client / UInt64(requests / 1_000)) / 1e6) µs of client CPU,",
          "\(Int(Double(requests) / seconds)) requests/s,",
          "\(requests / Int(turnsAfter - turns)) requests a turn, \(visitsAfter - visits) visits")
      }
    }
  }
}

/// The load generator: a thread, an epoll set, and nothing that the server uses.
private final class Load: @unchecked Sendable {
  private let peers: [RawPeer]
  private let epoll: Int32
  private let message = frame([UInt8](repeating: 1, count: 96))

  init(port: UInt16, connections: Int) throws {
    peers = try (0..<connections).map { _ in try RawPeer(port: port) }
    epoll = try Posix.makeEpoll()
    for peer in peers {
      try Posix.change(epoll, .add, peer.descriptor, events: Events.readable, key: UInt64(peer.descriptor))
    }
  }

  deinit { Posix.close(epoll) }

  /// Runs `requests` echoes; answers this thread's CPU nanoseconds.
  func run(requests: Int) -> UInt64 {
    let start = Posix.nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 64)
    defer { events.deallocate() }
    for peer in peers { send(peer.descriptor) }
    var sent = peers.count
    var received = 0
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while received < sent {
      let ready = Posix.wait(epoll, events, 64, milliseconds: -1)
      for index in 0..<ready {
        let descriptor = Int32(events[index].data.u64)
        guard case .bytes(message.count) = Posix.receive(descriptor, into: &buffer, buffer.count) else { return 0 }
        received += 1
        if sent < requests {
          send(descriptor)
          sent += 1
        }
      }
    }
    return Posix.nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start
  }

  private func send(_ descriptor: Int32) {
    _ = message.withUnsafeBytes { Posix.send(descriptor, $0.baseAddress!, $0.count) }
  }
}
