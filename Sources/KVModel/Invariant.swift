/// Ends the process with the state in the message when a belief of our own code is false.
///
/// Only for our bugs: bytes from outside are rejected, a failed environment is an input. `precondition` would lose
/// its message under `-O`.
@inlinable
public func invariant(
  _ holds: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
  file: StaticString = #fileID, line: UInt = #line
) {
  if !holds() { fatalError("invariant broken: \(message())", file: file, line: line) }
}
