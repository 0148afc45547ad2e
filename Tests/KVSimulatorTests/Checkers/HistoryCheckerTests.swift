import KVSimulator
import Testing

struct HistoryCheckerTests {
  @Test func `an empty history holds`() {
    #expect(HistoryChecker.check(History(copies: 3, readQuorum: 2, writeQuorum: 2)).isEmpty)
  }
}
