public import KVModel
internal import KVNet
internal import Synchronization

/// A node that speaks the wire protocol over real sockets and keeps everything in memory: what the client and kvctl are
/// tested against. A script can make it answer otherwise, or not at all.
public final class FakeNode: Sendable {
  /// What to do with a request instead of answering it from memory.
  public enum Reaction: Sendable {
    case reply(ClientResponse)
    /// A reply whose header says that this layout is in force.
    case replyUnder(ClientResponse, layoutVersion: UInt32)
    case silence
    /// Bytes instead of a frame.
    case bytes([UInt8])
    case close
  }

  public typealias Script = @Sendable (ClientRequest, FrameHeader) -> Reaction?

  /// How it meets newcomers.
  public enum Manners: Sendable {
    case greets
    case refuses(Refusal)
    /// Accepts and says nothing.
    case mute
    /// Answers whatever comes with these bytes.
    case says([UInt8])
  }

  public struct State: Sendable {
    public var manners = Manners.greets
    public var script: Script?
    /// What it says of itself; its cluster decides whether it serves.
    public var description: NodeDescription
    public var layout: Layout?
    public var table: PartitionTable?
    /// How far its monotonic clock is ahead of ours, ms.
    public var clockAheadMs: UInt64 = 0
    /// How far its wall clock is ahead of ours, ms.
    public var wallAheadMs: UInt64 = 0
    /// Takes everything and says nothing, not even to a PING: the other end of a half-open connection.
    public var isDeaf = false
    public var pings = 0
    public var requests: [(header: FrameHeader, request: ClientRequest)] = []
    public var cancelled: [UInt64] = []
    public var connections = 0
    public var reserved: ClusterID?
  }

  private let state: Mutex<State>
  public let address: Address
  let loop: EventLoop
  let store: FakeStore
  private let listener: Listener
  private let open = Mutex<[FakeConnection]>([])
  private let dead = Mutex<DeadPort?>(nil)

  /// A new node on a free port of 127.0.0.1, which belongs to no cluster.
  public static func start(_ name: String, id: NodeID, store: FakeStore = FakeStore()) async throws -> FakeNode {
    let loop = try EventLoop(label: "fake.\(name)")
    let hook = Mutex<FakeNode?>(nil)
    let held = Hook(hook)
    return try await withCheckedThrowingContinuation { continuation in
      loop.execute {
        do {
          let listener = try Listener.bind(to: .loopback(port: 0), on: loop) { descriptor, peer in
            held.node.withLock { $0 }?.onAccept(descriptor, peer)
          }
          let node = FakeNode(name, id, loop, listener, store)
          held.node.withLock { $0 = node }
          continuation.resume(returning: node)
        } catch { continuation.resume(throwing: error) }
      }
    }
  }

  private init(_ name: String, _ id: NodeID, _ loop: EventLoop, _ listener: Listener, _ store: FakeStore) {
    let address = Address(host: "127.0.0.1", port: listener.boundPort)
    let member = Member(
      id: id, name: name, clientAddress: address,
      peerAddress: Address(host: "127.0.0.1", port: listener.boundPort &+ 1), zone: "", host: name)
    let description = NodeDescription(
      member: member, state: .uninitialised, cluster: .none, layoutVersion: 0, settings: ClusterSettings(),
      generation: Generation(number: 1, nonce: 1, predecessor: 0), shards: 1, syncs: true, release: "fake")
    state = Mutex(State(description: description))
    self.address = address
    self.loop = loop
    self.listener = listener
    self.store = store
  }

  /// Looks at its state, or changes it.
  public func with<Result>(_ body: (inout State) -> Result) -> Result {
    state.withLock { state in
      nonisolated(unsafe) let result = body(&state)
      return result
    }
  }

  public var name: String { with { $0.description.member.name } }
  public var id: NodeID { with { $0.description.member.id } }
  public var requests: [(header: FrameHeader, request: ClientRequest)] { with { $0.requests } }

  /// The requests about keys.
  public var keyed: [ClientRequest] { requests.map(\.request).filter { $0.key != nil } }

  public var writes: [WriteRequest] {
    keyed.compactMap { if case .write(let write) = $0 { write } else { nil } }
  }

  public func reads(of key: String) -> Int {
    keyed.count { request in
      if case .get(let asked, _) = request { asked.userBytes.elementsEqual(key.utf8) } else { false }
    }
  }

  public func script(_ script: Script?) { with { $0.script = script } }

  /// Ends every connection, as a process that dies does.
  public func dropConnections() async {
    await withCheckedContinuation { continuation in
      loop.execute {
        for connection in self.open.withLock({ $0 }) { connection.transport?.close() }
        continuation.resume()
      }
    }
  }

  /// Says GOAWAY on every connection.
  public func goAway() {
    loop.execute {
      for connection in self.open.withLock({ $0 }) { connection.send(.goAway, requestID: 0, layoutVersion: 0) { _ in } }
    }
  }

  /// Stops for good: nobody listens at its address any more, as long as this node is kept.
  public func stop() async {
    await withCheckedContinuation { continuation in loop.stop { continuation.resume() } }
    guard dead.withLock({ $0 == nil }) else { return }
    for _ in 0..<100 {
      if let port = DeadPort(address.port) { return dead.withLock { $0 = port } }
      try? await Task.sleep(for: .milliseconds(1))
    }
  }

  private func onAccept(_ descriptor: Int32, _ peer: SocketAddress) {
    let connection = FakeConnection(self)
    connection.transport = try? Connection.adopt(descriptor, peer: peer, on: loop, handler: connection)
    open.withLock { $0.append(connection) }
    with { $0.connections += 1 }
  }

  func forget(_ connection: FakeConnection) { open.withLock { $0.removeAll { $0 === connection } } }
}

/// Lets the acceptor find the node that is made after it.
private final class Hook: Sendable {
  let node: Mutex<FakeNode?>
  init(_ node: consuming Mutex<FakeNode?>) { self.node = node }
}
