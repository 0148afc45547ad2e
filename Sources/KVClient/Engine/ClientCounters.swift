/// What happened so far.
package struct ClientCounters: Hashable, Sendable {
  package var connects = 0
  package var connectFailures = 0
  package var malformedReplies = 0
  /// Replies to attempts that had ended.
  package var lateReplies = 0
  package var layoutFetches = 0
  package var retries = 0
  package var hedges = 0
  /// Hedges whose answer came before that of the first attempt.
  package var hedgesWon = 0
  /// Retries that were due and that the budget did not allow.
  package var retriesDenied = 0
  package var pings = 0
  /// Connections given up since nobody at the other end showed a sign of life.
  package var silentLinks = 0
  /// Times that a node began to be avoided.
  package var breakersOpened = 0
}
