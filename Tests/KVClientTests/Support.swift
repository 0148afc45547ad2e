import FakeNodes
import KVClient
import Testing

/// No machine is so busy that a test waits for this long; only one that waits in vain does.
let inVain = Duration.seconds(600)

/// A client of a fake cluster, with times that a busy machine does not reach by itself: a test process that gets no
/// time must not take its fake nodes for dead, nor slow ones for hedges.
func configuration(_ cluster: FakeCluster) -> KVClientConfiguration {
  var configuration = KVClientConfiguration(endpoints: cluster.endpoints)
  configuration.deadline = inVain
  configuration.connectTimeout = inVain
  configuration.startGrace = inVain
  configuration.patience = inVain
  configuration.pingAfter = inVain
  configuration.silenceMax = inVain
  configuration.hedgeBudgetPercent = 0
  return configuration
}

/// One attempt a call: for what an attempt alone does.
func once(_ configuration: KVClientConfiguration) -> KVClientConfiguration {
  var configuration = configuration
  configuration.attemptsMax = 1
  return configuration
}

/// Waits until something is so, looking again and again; false when it is not within two minutes.
func eventually(_ condition: @Sendable () async throws -> Bool) async throws -> Bool {
  let end = ContinuousClock.now.advanced(by: .seconds(120))
  while ContinuousClock.now < end {
    if try await condition() { return true }
    try await Task.sleep(for: .milliseconds(1))
  }
  return false
}

/// The same, as an expectation.
func expectEventually(
  _ location: SourceLocation = #_sourceLocation, _ condition: @Sendable () async throws -> Bool
) async throws {
  let holds = try await eventually(condition)
  #expect(holds, sourceLocation: location)
}

/// Waits until the client has learnt a layout of this version.
func learnt(
  _ client: KVClient, version: UInt32 = 1, location: SourceLocation = #_sourceLocation
) async throws {
  try await expectEventually(location) { await client.admin.known()?.layoutVersion == version }
}

/// The error that a call throws; nil when it throws none.
func failure<Value>(_ call: () async throws(KVError) -> Value) async -> KVError? {
  do {
    _ = try await call()
    return nil
  } catch { return error }
}
