import Dispatch
import Glibc
import Testing

/// What the harness could not do: not a finding about the nodes, unless it names one.
struct HarnessError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Looks again and again until `condition` gives a value. Throws when the time is over: no wait here is without an end.
func eventually<Value>(
  within limit: Duration, _ what: String, every pause: Duration = .milliseconds(10),
  isolation: isolated (any Swift.Actor)? = #isolation, _ condition: () async throws -> Value?
) async throws -> Value {
  let end = ContinuousClock.now.advanced(by: limit)
  while true {
    if let value = try await condition() { return value }
    guard ContinuousClock.now < end else { throw HarnessError("after \(limit) still not: \(what)") }
    try await Task.sleep(for: pause)
  }
}

/// Runs what blocks on a thread of Dispatch, not on one of the few of the test's own pool.
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    DispatchQueue.global().async { continuation.resume(with: Result(catching: body)) }
  }
}

func systemError(_ call: String, _ code: Int32 = errno) -> HarnessError {
  HarnessError("\(call): \(String(cString: strerror(code)))")
}

extension Duration {
  var milliseconds: Int { Int(self / .milliseconds(1)) }
}
