/// What must hold; the codes are those of the hazards table.
public enum Invariant: String, Equatable, Sendable, CaseIterable {
  /// No acknowledged write is lost.
  case noLostAcknowledgedWrite = "NLA"
  /// One dot, one value, for ever; a write is applied once.
  case dotUnique = "DU"
  /// What was rejected, or never written, is never visible.
  case definiteFailure = "DF"
  /// Read-your-writes and monotonic quorum reads; what was replaced does not come back.
  case session = "SE"
  /// After the faults end, replicas of what was read are equal, byte for byte.
  case convergence = "CV"
  /// What was damaged or lost is never served, and is rebuilt from the other owners.
  case noCorruption = "NC"
  /// No stamp runs further ahead than the bound.
  case clockBound = "CB"
  /// Memory, queues and siblings stay under their caps.
  case bounded = "BD"
  /// Once replicas agree, background work falls to zero and stays there.
  case quiet = "QU"
  /// Every request ends within its deadline; a healed cluster serves.
  case liveness = "LV"

  /// Nothing bad happened, rather than something good did.
  public var isSafety: Bool { self != .liveness && self != .quiet }
}

/// An invariant that did not hold, and how it shows.
public struct Violation: Equatable, Sendable, CustomStringConvertible {
  public var invariant: Invariant
  /// A sentence for people: what was seen, what should have been.
  public var message: String
  /// Numbers of the operations concerned, those that show it last.
  public var operations: [Int]

  public init(_ invariant: Invariant, _ message: String, operations: [Int] = []) {
    self.invariant = invariant
    self.message = message
    self.operations = operations
  }

  public var description: String { "\(invariant.rawValue): \(message)" }
}
