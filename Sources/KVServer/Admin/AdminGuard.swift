import FlyingSocks
import KVModel
import Synchronization

/// FlyingFox waits for its clients without bound. It waits here, so this is where silent clients, slow readers and slow
/// writers are cut off, and where there are only so many of them.
///
/// What it cannot see is a client that is never waited for, because it sends faster than it is read: FlyingFox keeps a
/// header line of any length.
final class AdminGuard: AsyncSocketPool {
  /// A connection's first wait to its end.
  static let connectionLimit: Duration = .seconds(10)
  /// Connections that are waited for at once; one more is closed.
  static let waitingMax = 128

  private struct State {
    /// By descriptor. One that is used again shows another peer, and counts anew.
    var firstWaits: [Int32: (peer: String, at: ContinuousClock.Instant)] = [:]
    var waiting = 0
  }

  private let base: any AsyncSocketPool
  private let limit: Duration
  private let state = Mutex(State())

  init(_ base: some AsyncSocketPool, limit: Duration = AdminGuard.connectionLimit) {
    self.base = base
    self.limit = limit
  }

  func prepare() async throws { try await base.prepare() }
  func run() async throws { try await base.run() }

  func suspendSocket(_ socket: Socket, untilReadyFor events: Socket.Events) async throws {
    // What has no peer is the listener: it may wait for ever.
    guard let peer = try? socket.remotePeer() else {
      return try await base.suspendSocket(socket, untilReadyFor: events)
    }
    let deadline = try begin(socket.file.rawValue, "\(peer)")
    defer { state.withLock { $0.waiting -= 1 } }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.base.suspendSocket(socket, untilReadyFor: events) }
      group.addTask {
        try await Task.sleep(until: deadline, clock: .continuous)
        throw SocketError.timeout(message: "the client is too slow")
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  private func begin(_ descriptor: Int32, _ peer: String) throws -> ContinuousClock.Instant {
    let now = ContinuousClock.now
    return try state.withLock { state in
      if state.firstWaits[descriptor]?.peer != peer { state.firstWaits[descriptor] = (peer, now) }
      let deadline = (state.firstWaits[descriptor]?.at ?? now) + limit
      guard deadline > now else { throw SocketError.timeout(message: "the client is too slow") }
      guard state.waiting < AdminGuard.waitingMax else { throw SocketError.disconnected }
      state.waiting += 1
      return deadline
    }
  }
}
