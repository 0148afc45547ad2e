import Glibc
import Logging
import Testing

@testable import kvnode

@Suite struct LogTests {
  /// What a logger with these settings writes into a pipe.
  private func written(_ settings: LogSettings, _ body: (Logger) -> Void) -> String {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return "" }
    defer { close(ends[0]) }
    let sink = LogSink(descriptor: ends[1])
    let time = timespec(tv_sec: 1_700_000_000, tv_nsec: 7_999_999)
    body(Logger(label: "kvnode") { LineLogHandler(label: $0, settings: settings, sink: sink, clock: { time }) })
    sink.flush()
    close(ends[1])
    var bytes = [UInt8](repeating: 0, count: 64 << 10)
    let count = read(ends[0], &bytes, bytes.count)
    return String(decoding: bytes[..<max(0, count)], as: UTF8.self)
  }

  @Test func `text is one line an event, with quotes where they are needed`() {
    let text = written(LogSettings()) { logger in
      logger.debug("not written")
      logger.info("peer up", metadata: ["peer": "n2", "detail": "a b=\"c\"\n", "n": "\(5)", "empty": ""])
    }
    #expect(text == "2023-11-14T22:13:20.007Z info peer up detail=\"a b=\\\"c\\\"\\n\" empty=\"\" n=5 peer=n2\n")
  }

  @Test func `json is one object a line, and metadata cannot forge a field`() {
    let text = written(LogSettings(level: .warning, format: .json)) { logger in
      logger.warning("a\nb\u{1}", metadata: ["level": "x", "n": .stringConvertible(5), "l": ["a", "b"]])
    }
    #expect(
      text == "{\"time\":\"2023-11-14T22:13:20.007Z\",\"level\":\"warning\",\"logger\":\"kvnode\","
        + "\"event\":\"a\\nb\\u0001\",\"l\":[\"a\",\"b\"],\"_level\":\"x\",\"n\":5}\n")
  }

  @Test func `a reader that never reads holds nobody up; lines are dropped and counted`() {
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    let sink = LogSink(descriptor: ends[1])
    let line = String(repeating: "x", count: 1_000)
    for _ in 0..<10_000 { sink.write(line) }
    #expect(sink.droppedLines > 5_000)
    // Ends the blocked write, and with it the queue.
    signal(SIGPIPE, SIG_IGN)
    close(ends[0])
    sink.flush()
    close(ends[1])
  }
}
