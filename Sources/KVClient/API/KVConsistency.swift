internal import KVModel

/// How many owners of a key a call waits for.
public enum KVConsistency: Hashable, Sendable {
  /// The cluster's R or W: reads see every acknowledged write.
  case quorum
  /// The first owner that answers.
  case one
  /// Every owner.
  case all
  /// So many owners, at least 1 and at most the cluster's number of copies.
  case owners(Int)
}

extension KVConsistency {
  func modelQuorum() throws(KVError) -> Quorum {
    switch self {
    case .quorum: return .quorum
    case .one: return .owners(1)
    case .all: return .all
    case .owners(let count):
      guard Limits.replication.contains(count) else {
        throw KVError(
          .invalidQuorum, "\(count) owners were asked for; a cluster keeps 1 to \(Limits.replication.upperBound) copies"
        )
      }
      return .owners(UInt8(count))
    }
  }
}
