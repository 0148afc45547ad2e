import Foundation
import Glibc
import KVModel
import Synchronization

/// Stands between nodes, so that a test can cut their links: each node advertises a port of the relay in place of its
/// own, and the relay hands on what comes there.
///
/// ```
///   node 1 ──dials──► the relay's port for node 3 ─►[ RelayedLink ]─► node 3's own port for peers
/// ```
///
/// Which of two nodes dials depends on their ids; the HELLO says who did. One thread does all the work, under one lock:
/// once `cut` has returned not a byte passes any more.
final class LinkRelay: Sendable {
  enum Cut: Sendable {
    /// Connections are closed, new ones too as soon as their HELLO has told whose they are.
    case closing
    /// Nothing passes, and both sides stay connected: a half-open link. What was under way passes after `heal`.
    case silent
    /// Nothing passes, and the kernel drops what comes, so that the nodes' kernels get no acknowledgement either: a
    /// cable that was pulled. Connections are accepted none the less; nothing comes of them.
    case losing
  }

  /// From one node to another, by their numbers.
  struct Way: Hashable, Sendable {
    var from: Int
    var to: Int

    var back: Way { Way(from: to, to: from) }
  }

  struct State {
    var links: [RelayedLink] = []
    var cuts: [Way: Cut] = [:]
    var numbers: [NodeID: Int] = [:]
    /// HELLOs that came, by who dialled whom.
    var dials: [Way: Int] = [:]
    /// Where the nodes listen.
    var peerPorts: [UInt16] = []
    var isEnding = false
  }

  /// One for each node.
  private let listeners: [RelaySocket]
  private let ports: [UInt16]
  /// Wakes the thread from its poll.
  private let alarm: Pipe
  private let state = Mutex(State())

  init(nodes: Int) throws {
    listeners = try (0..<nodes).map { _ in try RelaySocket.listen() }
    ports = try listeners.map { try $0.port() }
    alarm = try Pipe()
  }

  deinit {
    for listener in listeners { listener.close() }
    close(alarm.reading)
    close(alarm.writing)
  }

  /// What node `number`, from 1, has to advertise.
  func port(of number: Int) -> UInt16 { ports[number - 1] }

  func start(to peerPorts: [UInt16]) {
    state.withLock { $0.peerPorts = peerPorts }
    Thread.detachNewThread { [self] in run() }
  }

  /// All connections are closed, and the relay lets go of itself.
  func end() { change { $0.isEnding = true } }

  /// Without its id a node's links cannot be told, and pass whatever is cut.
  func learn(_ id: NodeID, of number: Int) {
    state.withLock { state in
      state.numbers = state.numbers.filter { $0.value != number }
      state.numbers[id] = number
    }
  }

  func id(of number: Int) -> NodeID? { state.withLock { $0.numbers.first { $0.value == number }?.key } }

  // MARK: Cuts

  func cut(between one: Int, and other: Int, _ cut: Cut) {
    let way = Way(from: one, to: other)
    change { state in
      state.cuts[way] = cut
      state.cuts[way.back] = cut
      guard cut == .closing else { return }
      for place in state.links.indices where [way, way.back].contains(state.links[place].way) {
        state.links[place].close()
      }
    }
  }

  /// One way only: what `one` says does not arrive at `other`, which is heard as before.
  func silence(from one: Int, to other: Int) { change { $0.cuts[Way(from: one, to: other)] = .silent } }

  /// Nothing is cut any more.
  func heal() { change { $0.cuts = [:] } }

  /// How often either of the two has dialled the other.
  func dials(between one: Int, and other: Int) -> Int {
    let way = Way(from: one, to: other)
    return state.withLock { ($0.dials[way] ?? 0) + ($0.dials[way.back] ?? 0) }
  }

  private func change(_ body: (inout State) -> Void) {
    state.withLock { body(&$0) }
    var byte: UInt8 = 0
    _ = write(alarm.writing, &byte, 1)
  }

  // MARK: The thread

  private func run() {
    while !state.withLock({ $0.isEnding }) {
      var polled = state.withLock { state in
        [pollfd(fd: alarm.reading, events: Int16(POLLIN), revents: 0)]
          + listeners.map { $0.polled(Int16(POLLIN)) }
          + state.links.flatMap { $0.polled(state.cuts) }
      }
      poll(&polled, nfds_t(polled.count), -1)
      if polled[0].revents != 0 {
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = read(alarm.reading, &bytes, bytes.count)
      }
      state.withLock { turn(&$0) }
    }
    state.withLock { state in
      for place in state.links.indices { state.links[place].close() }
    }
  }

  /// Every socket is tried: none of them blocks.
  private func turn(_ state: inout State) {
    for (place, listener) in listeners.enumerated() {
      while let dialled = listener.accept() {
        state.links.append(RelayedLink(dialled: dialled, to: place + 1))
      }
    }
    for place in state.links.indices {
      var link = state.links[place]
      link.advance(&state)
      state.links[place] = link
    }
    state.links.removeAll { $0.isOver }
  }
}
