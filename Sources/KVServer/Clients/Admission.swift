import KVModel
import KVNet
import Synchronization

/// Counts the connections of one port over all loops, and says when there are enough.
final class Admission: Sendable {
  struct Counts: Equatable {
    var all = 0
    /// Of them, those whose HELLO has not come yet.
    var greeting = 0
    /// Since the start: for want of a place, and for want of one among those not greeted.
    var refused: UInt64 = 0
    var refusedGreeting: UInt64 = 0
    /// For want of one among those of its address.
    var refusedAddress: UInt64 = 0
  }

  enum Verdict {
    case admitted(Place)
    /// To be told, then closed.
    case refused(Refusal)
  }

  /// One connection's place. Given back once, however often that is asked for.
  struct Place {
    private enum State {
      case greeting
      case greeted
      case free
    }

    private let admission: Admission
    private let address: SocketAddress
    private var state = State.greeting

    fileprivate init(_ admission: Admission, _ address: SocketAddress) {
      self.admission = admission
      self.address = address
    }

    mutating func onGreeted() {
      guard state == .greeting else { return }
      state = .greeted
      admission.state.withLock { $0.counts.greeting -= 1 }
    }

    /// From now on another one may come.
    mutating func free() {
      if state == .free { return }
      let wasGreeting = state == .greeting
      state = .free
      admission.state.withLock { state in
        state.counts.all -= 1
        if wasGreeting { state.counts.greeting -= 1 }
        state.leave(address)
      }
    }
  }

  private struct State {
    var counts = Counts()
    /// Connections of each address; only kept where they are limited.
    var addresses: [SocketAddress: Int] = [:]

    mutating func leave(_ address: SocketAddress) {
      guard let held = addresses[address] else { return }
      addresses[address] = held > 1 ? held - 1 : nil
    }
  }

  private let state = Mutex(State())
  private let connections: Int
  private let beforeHello: Int
  /// 0 = as many as there are.
  private let perAddress: Int

  init(connections: Int, beforeHello: Int, perAddress: Int = 0) {
    self.connections = connections
    self.beforeHello = beforeHello
    self.perAddress = perAddress
  }

  /// When who is turned away may try again: a place is free when somebody has gone, which nobody knows.
  private static let retryAfterMs: UInt32 = 1_000

  /// A place for one more.
  func admit(_ address: SocketAddress) -> Verdict {
    let address = address.with(port: 0)
    let refusal = state.withLock { state in
      let refusal = reason(of: &state, address)
      guard refusal == nil else { return refusal }
      state.counts.all += 1
      state.counts.greeting += 1
      if perAddress > 0 { state.addresses[address, default: 0] += 1 }
      return nil
    }
    if let refusal { return .refused(refusal) }
    return .admitted(Place(self, address))
  }

  /// Why there is no place; counted.
  private func reason(of state: inout State, _ address: SocketAddress) -> Refusal? {
    if state.counts.all >= connections {
      state.counts.refused += 1
      return Admission.refusal("this node has \(connections) connections, its limit")
    }
    if perAddress > 0, state.addresses[address, default: 0] >= perAddress {
      state.counts.refusedAddress += 1
      return Admission.refusal("this node has \(perAddress) connections of \(address.host), its limit for one address")
    }
    if state.counts.greeting >= beforeHello {
      state.counts.refusedGreeting += 1
      return Admission.refusal("\(beforeHello) connections have not said HELLO yet, this node's limit")
    }
    return nil
  }

  private static func refusal(_ detail: String) -> Refusal {
    Refusal(.tooManyConnections, detail, retryAfterMs: retryAfterMs)
  }

  var snapshot: Counts { state.withLock { $0.counts } }
}
