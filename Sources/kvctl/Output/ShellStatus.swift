import KVClient

/// What kvctl tells the shell.
enum ShellStatus: Int32, CaseIterable {
  case done = 0
  case error = 1
  case usage = 2
  case cannotConnect = 3
  case notFound = 5
  case conflict = 6
  case quorumNotReachable = 7
  case outcomeUnknown = 8
  case degraded = 9
  case refusedAsUnsafe = 10
  case timedOut = 124
  case interrupted = 130

  /// The status of a failed call. That a write may have happened outweighs why it is not known.
  init(_ error: KVError) {
    self = error.outcome == .unknown ? .outcomeUnknown : ShellStatus.ofCode[error.code] ?? .error
  }

  private static let ofCode: [KVError.Code: ShellStatus] = [
    .notRunning: .cannotConnect, .unreachable: .cannotConnect, .refused: .cannotConnect,
    .protocolMismatch: .cannotConnect, .connectionLost: .cannotConnect,
    .timedOut: .timedOut, .cancelled: .interrupted,
    .unavailable: .quorumNotReachable, .unreadable: .quorumNotReachable,
    .invalidRequest: .usage, .invalidKey: .usage, .valueTooLarge: .usage, .invalidTTL: .usage, .invalidQuorum: .usage,
    .invalidContext: .usage,
    .tooManySiblings: .conflict,
    .otherCluster: .refusedAsUnsafe, .invalidLayout: .refusedAsUnsafe,
  ]
}
