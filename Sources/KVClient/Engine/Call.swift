internal import KVModel
internal import Synchronization

/// Where a call may go.
enum Route {
  /// An owner of the key, else any node of the cluster.
  case key(Token)
  /// Any node of the cluster.
  case any
  /// The node at this address and no other, whatever cluster it is of.
  case address(Address)
}

/// One call, from its submission to its end.
///
/// Its fields but `isCancelled` and the constants belong to the loop.
final class Call: @unchecked Sendable {
  enum State {
    case new
    /// Queued at a link that is still connecting: nothing of it was sent.
    case waiting(NodeLink)
    /// Handed to the link's connection: the node may act on it.
    case sent(NodeLink)
    case ended
  }

  enum Ending {
    case user(CheckedContinuation<Result<ClientResponse, KVError>, Never>)
    /// The client's own fetch of a layout.
    case refresh
  }

  let request: ClientRequest
  let route: Route
  /// How long it may take in all.
  let limit: Span64
  /// Set by whoever cancels, before the loop hears of it: a call may be cancelled before it is submitted.
  let isCancelled = Atomic<Bool>(false)

  var state = State.new
  /// Names it among the open calls and on the wire; 0 before it is submitted.
  var id: UInt64 = 0
  var ending: Ending?
  /// The links that failed this call, in order; none is asked twice.
  var attempts: [KVError.Attempt] = []
  var tried: [NodeLink] = []
  var lastFault: LinkFault?
  var attemptStart = Instant(nanoseconds: 0)
  /// `limit` after it was submitted.
  var deadline = Instant.distantFuture

  init(_ request: ClientRequest, _ route: Route, within limit: Span64) {
    self.request = request
    self.route = route
    self.limit = limit
  }

  /// Whether the call changes something, so that its loss on the way leaves its outcome unknown.
  var isWrite: Bool {
    switch request {
    case .write, .reserveCluster, .formCluster: true
    case .get, .explain, .describe, .fetchLayout: false
    }
  }

  var isEnded: Bool { if case .ended = state { true } else { false } }
  var isSent: Bool { if case .sent = state { true } else { false } }

  /// The link that has the call.
  var link: NodeLink? {
    switch state {
    case .new, .ended: nil
    case .waiting(let link), .sent(let link): link
    }
  }

  func isWaiting(at link: NodeLink) -> Bool { if case .waiting(let other) = state { other === link } else { false } }
  func isSent(by link: NodeLink) -> Bool { if case .sent(let other) = state { other === link } else { false } }

  /// Bytes of its value, which it holds in memory until it ends.
  var valueBytes: Int {
    if case .write(let write) = request, case .put(let value, _) = write.payload { value.count } else { 0 }
  }

  /// What is known of its effect if it ends now without an answer.
  var outcome: KVError.Outcome { isWrite && isSent ? .unknown : .notApplied }
}

/// Why a link carries nothing.
struct LinkFault: Hashable {
  var code: KVError.Code
  var message: String
}

/// The open calls, found by the id that names them on the wire and at the timer wheel.
///
/// An id is a slot's index and the number of its uses, so that the reply or the timer of a call which has ended is not
/// taken for those of the next one in its slot.
struct OpenCalls {
  private struct Entry {
    var use: UInt32 = 1
    var call: Call?
  }

  /// Uses stay below this, so that the highest bit of an id is free for other tokens.
  private static let usesMax: UInt32 = 1 << 31

  private var entries: [Entry] = []
  private var free: [UInt32] = []

  var count: Int { entries.count - free.count }

  /// Every open call, in the order of their slots.
  var all: [Call] { entries.compactMap(\.call) }

  mutating func add(_ call: Call) -> UInt64 {
    let index: UInt32
    if let last = free.popLast() {
      index = last
    } else {
      index = UInt32(entries.count)
      entries.append(Entry())
    }
    entries[Int(index)].call = call
    return UInt64(entries[Int(index)].use) << 32 | UInt64(index)
  }

  /// nil when the call ended before.
  subscript(id: UInt64) -> Call? {
    let index = UInt32(truncatingIfNeeded: id)
    guard index < UInt32(entries.count), entries[Int(index)].use == id >> 32 else { return nil }
    return entries[Int(index)].call
  }

  mutating func remove(_ id: UInt64) {
    let index = Int(UInt32(truncatingIfNeeded: id))
    invariant(self[id] != nil, "call \(id) ended twice")
    entries[index].call = nil
    entries[index].use = (entries[index].use + 1) % OpenCalls.usesMax
    free.append(UInt32(index))
  }
}
