import KVClient
import KVModel
import KVSimulator

/// What a load is made of.
struct LoadPlan: Sendable {
  var seed: UInt64
  var endpoints: [String]
  var clients: Int
  var seconds: Int
  /// How long the final reads are tried.
  var finalSeconds: Int
  /// They wait while this file is there.
  var hold: String?
  /// Time between the begins of two operations of a client, when the store is faster than that.
  var pause: Duration
  var keys: [String]
  var mix: LoadMix
  /// Whether writes carry the contexts of receipts, or those of gets alone.
  var usesReceipts: Bool
  /// The cluster's N, R, W.
  var settings: ClusterSettings

  func quorum(_ consistency: KVConsistency, isWrite: Bool) -> Int {
    switch consistency {
    case .quorum: isWrite ? settings.writeQuorum : settings.readQuorum
    case .one: 1
    case .all: settings.replication
    case .owners(let count): count
    }
  }

  /// The history before its first operation.
  var head: History {
    History(
      copies: settings.replication, readQuorum: settings.readQuorum, writeQuorum: settings.writeQuorum, keys: keys)
  }
}

/// Not Foundation's.
typealias Operation = KVSimulator.Operation
