import Testing

/// Everything that is shown with real processes: kvnodes on loopback, kvctl, signals, the fault shim. One test after the
/// other, since each loads the machine; each with a cluster of its own and a limit in time.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct ProcessTests {}
