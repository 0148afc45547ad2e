import Glibc
import KVServer

/// How many descriptors the process may have. It takes as many as it is given; what the limits of the configuration need
/// beyond that is told at the start, not when the ten-thousandth client is turned away.
enum DescriptorLimit {
  /// Table files, logs, loops, listeners: what a node needs beside its connections.
  static let reserve = 1_024

  /// Raises the soft limit to the hard one. The limit that then holds.
  static func raise() -> UInt64 {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 0 }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    _ = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return UInt64(limit.rlim_cur)
  }

  /// What the limits need, at most.
  static func needed(by limits: NodeConfiguration.Limits) -> UInt64 {
    UInt64(limits.connections + limits.peerConnections + limits.adminConnections + reserve)
  }

  /// The limits that so many descriptors allow. Clients get what is left; where that is little, three of eight, and one for
  /// those who are told why they get none. What remains is for the files, the peers and the admin port, so that clients
  /// alone cannot use all up.
  static func fit(_ limits: inout NodeConfiguration.Limits, into allowed: UInt64) {
    let needed = needed(by: limits)
    guard allowed < needed else { return }
    let others = needed - UInt64(limits.connections)
    let forClients = max(allowed > others ? allowed - others : 0, allowed * 3 / 8)
    limits.connections = min(limits.connections, max(1, Int(clamping: forClients)))
    limits.connectionsBeforeHello = min(limits.connectionsBeforeHello, limits.connections)
    limits.closingConnections = min(limits.closingConnections, max(1, Int(clamping: allowed / 8)))
  }
}
