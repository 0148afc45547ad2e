import KVModel

/// A client: one operation at a time, each perhaps in several attempts.
struct SimulatedClient {
  let index: Int
  /// Counts frames, so that an answer that comes too late is told apart.
  var lastRequest: UInt64 = 0
  var current: Attempt?
  /// A key to be read at its next turn.
  var planned: Int?
  /// Takes no new operations.
  var isResting = false

  /// The operation under way.
  struct Attempt {
    /// Its place in the history.
    var operation: Int
    var request: ClientRequest
    /// The frame that is waited for.
    var frame: UInt64
    var node: Int
    /// Nodes that could not be reached.
    var refused: [Int] = []
    /// A frame was sent that a node may have got.
    var wasSent = false
    /// A token of another key was sent along: it must be refused.
    var hasForeignContext = false
    /// Reads, and then writes with what it read.
    var isReadModifyWrite = false
  }
}

/// A context that an answer brought.
struct HeldContext {
  var operation: Int
  var token: ContextToken
}
