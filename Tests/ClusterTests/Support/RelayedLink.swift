import Glibc
import KVModel

/// One connection through a `LinkRelay`: the half that was dialled, the half that goes on to a node, and the bytes that
/// are between them. Used under the relay's lock; nothing here blocks.
struct RelayedLink {
  typealias Cuts = [LinkRelay.Way: LinkRelay.Cut]

  private enum Phase {
    /// The HELLO is not there yet.
    case greeting
    /// The HELLO is there, and its way to the node was cut when it came.
    case waiting
    case passing(onward: RelaySocket)
    case over
  }

  private let dialled: RelaySocket
  /// The node that was dialled.
  private let target: Int
  /// Who dialled; nil while the HELLO is not there, and when the relay does not know that node's id.
  private var dialler: Int?
  private var phase = Phase.greeting
  /// From the dialler, and to it.
  private var (forth, back) = (Flow(), Flow())
  private var isDeaf = false

  init(dialled: RelaySocket, to target: Int) {
    self.dialled = dialled
    self.target = target
  }

  /// From the dialler to the node that it dialled.
  var way: LinkRelay.Way? { dialler.map { LinkRelay.Way(from: $0, to: target) } }

  var isOver: Bool { if case .over = phase { true } else { false } }

  /// What to wait for. On a way that is cut nothing, not even its end: nobody would hear of that either.
  func polled(_ cuts: Cuts) -> [pollfd] {
    switch phase {
    case .greeting, .waiting: return [dialled.polled(Int16(POLLIN))]
    case .passing(let onward):
      let (isForth, isBack) = (passes(way, cuts), passes(way?.back, cuts))
      return [
        dialled.polled((isForth ? forth.readable : 0) | (isBack ? back.writable : 0)),
        onward.polled((isBack ? back.readable : 0) | (isForth ? forth.writable : 0)),
      ]
    case .over: return []
    }
  }

  private func passes(_ way: LinkRelay.Way?, _ cuts: Cuts) -> Bool { way.flatMap { cuts[$0] } == nil }

  // MARK: Steps

  /// As far as it gets.
  mutating func advance(_ state: inout LinkRelay.State) {
    if case .greeting = phase { readHello(&state) }
    if case .waiting = phase { connect(state) }
    if case .passing(let onward) = phase { pass(onward, state.cuts) }
  }

  private mutating func readHello(_ state: inout LinkRelay.State) {
    guard forth.read(from: dialled), !forth.isEnded else { return close() }
    switch forth.hello {
    case .incomplete: return
    case .malformed: return close()
    case .whole(let hello): dialler = state.numbers[hello.node]
    }
    if let way { state.dials[way, default: 0] += 1 }
    phase = .waiting
  }

  /// A dialler that gave up while it waited is gone, and the node does not hear of it.
  private mutating func connect(_ state: LinkRelay.State) {
    guard forth.read(from: dialled), !forth.isEnded else { return close() }
    if way.flatMap({ state.cuts[$0] }) == .closing { return close() }
    guard passes(way, state.cuts) else { return }
    guard let onward = RelaySocket.connect(state.peerPorts[target - 1]) else { return close() }
    phase = .passing(onward: onward)
  }

  private mutating func pass(_ onward: RelaySocket, _ cuts: Cuts) {
    setDeaf(way.flatMap { cuts[$0] } == .losing, onward)
    if passes(way, cuts), !forth.move(from: dialled, to: onward) { return close() }
    if passes(way?.back, cuts), !back.move(from: onward, to: dialled) { return close() }
    if forth.isEndPassedOn, back.isEndPassedOn { close() }
  }

  /// Whether the packets of both nodes are dropped.
  private mutating func setDeaf(_ isDeaf: Bool, _ onward: RelaySocket) {
    if self.isDeaf == isDeaf { return }
    self.isDeaf = isDeaf
    for socket in [dialled, onward] { socket.setDeaf(isDeaf) }
  }

  mutating func close() {
    switch phase {
    case .over: return
    case .passing(let onward): onward.close()
    case .greeting, .waiting: break
    }
    dialled.close()
    phase = .over
  }
}

/// Bytes on one of the two ways of a `RelayedLink`.
private struct Flow {
  /// Read, and not sent on yet.
  private var bytes: [UInt8] = []
  /// The source will send nothing more.
  private(set) var isEnded = false
  /// And the sink knows.
  private(set) var isEndPassedOn = false

  var readable: Int16 { bytes.isEmpty && !isEnded ? Int16(POLLIN) : 0 }
  var writable: Int16 { bytes.isEmpty ? 0 : Int16(POLLOUT) }

  enum Greeting {
    case incomplete
    case malformed
    case whole(Hello)
  }

  /// The HELLO at the start of the bytes, which stay.
  var hello: Greeting {
    bytes.withUnsafeBytes { bytes in
      switch FrameScan.next(in: bytes, bodyBytesMax: Limits.bodyBytesMaxBeforeHello) {
      case .incomplete: return .incomplete
      case .malformed: return .malformed
      case .frame(let header, let body, _):
        guard header.type == .hello, let hello = try? Hello(body) else { return .malformed }
        return .whole(hello)
      }
    }
  }

  /// False: the connection is broken.
  mutating func read(from source: RelaySocket) -> Bool {
    switch source.receive() {
    case .bytes(let more): bytes += more
    case .nothing: break
    case .end: isEnded = true
    case .broken: return false
    }
    return true
  }

  /// False: a connection is broken.
  mutating func move(from source: RelaySocket, to sink: RelaySocket) -> Bool {
    if bytes.isEmpty, !isEnded, !read(from: source) { return false }
    if !bytes.isEmpty {
      guard let sent = sink.send(bytes) else { return false }
      bytes.removeFirst(sent)
    }
    if isEnded, bytes.isEmpty, !isEndPassedOn {
      sink.endOutput()
      isEndPassedOn = true
    }
    return true
  }
}
