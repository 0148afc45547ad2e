import KVModel

/// The directed link matrix, and which pairs of nodes are connected.
struct SimulatedNetwork {
  /// One direction between two nodes.
  struct Way {
    /// Cuts that lie on it; several faults may cut the same way.
    var cuts = 0
    /// While above zero, everything is held back.
    var clogs = 0
    var held: [Simulation.PeerFrame] = []
  }

  /// The connection between two nodes, as the network knows it.
  struct Pair {
    /// The one that stands; 0 when there is none.
    var connection: UInt32 = 0
    var last: UInt32 = 0
    /// The processes that it connects, of the lower and of the higher node.
    var incarnations: (UInt32, UInt32) = (0, 0)
    /// An attempt to connect is planned.
    var isConnecting = false
  }

  private let count: Int
  private var ways: [Way]
  private var pairs: [Pair]

  init(nodes count: Int) {
    self.count = count
    ways = Array(repeating: Way(), count: count * count)
    pairs = Array(repeating: Pair(), count: count * count)
  }

  subscript(from: Int, to: Int) -> Way {
    get { ways[from * count + to] }
    _modify { yield &ways[from * count + to] }
  }

  subscript(pair a: Int, _ b: Int) -> Pair {
    get { pairs[min(a, b) * count + max(a, b)] }
    _modify { yield &pairs[min(a, b) * count + max(a, b)] }
  }

  func isOpen(_ a: Int, _ b: Int) -> Bool { self[a, b].cuts == 0 && self[b, a].cuts == 0 }

  mutating func healAll() {
    for index in ways.indices { ways[index].cuts = 0 }
  }
}

/// What an end of a connection is told.
struct LinkNotice {
  var peer: Int
  var connection: UInt32
  var isUp: Bool
  /// The process at the other end, and its monotonic clock when it spoke.
  var peerIncarnation: UInt32
  var clockMs: UInt64
}
