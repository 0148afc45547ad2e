/// What happened so far.
package struct ClientCounters: Hashable, Sendable {
  package var connects = 0
  package var connectFailures = 0
  package var malformedReplies = 0
  /// Replies to calls that had ended.
  package var lateReplies = 0
  package var layoutFetches = 0
}
