import KVClient
import KVModel
import Testing

@testable import kvctl

@Suite struct `JSON documents` {
  @Test func `members keep their order and text is escaped`() {
    let json = JSON.object([
      ("b", .integer(1)), ("a", .array([.null, .bool(true), .fraction(1.5, digits: 2)])),
      ("t", .text("\"\\\n\u{1}é/")), ("none", .array([])), ("empty", .object([])),
    ])
    #expect(
      json.line
        == #"{"b":1,"a":[null,true,1.50],"t":"\"\\\n\u0001é/","none":[],"empty":{}}"#)
    #expect(JSON.object([("a", .array([.integer(1)]))]).pretty == "{\n  \"a\": [\n    1\n  ]\n}")
  }

  @Test func `keys and values are text when they are UTF-8 and base64 otherwise`() {
    #expect(JSON.bytes(Array("é".utf8)) == .text("é"))
    #expect(JSON.bytes([0xff, 0xfe] as [UInt8]).line == #"{"base64":"//4="}"#)
  }

  @Test func `the envelope names schema, cluster, layout, data and errors`() {
    var report = Report(.integer(1))
    report.failures = [CommandFailure(.error, "io", "no", node: "n1")]
    #expect(
      report.envelope(ClusterIdentity(cluster: ClusterID(255), layoutVersion: 2)).line
        == #"{"schema":"kvctl/1","cluster":"00000000000000ff","layout":2,"data":1,"#
        + #""errors":[{"code":"io","message":"no","node":"n1"}]}"#)
  }

  @Test func `rows of a list are lines of jsonl`() {
    #expect(Report(.array([.integer(1), .object([("a", .null)])])).jsonLines == ["1", #"{"a":null}"#])
    #expect(Report(.null).jsonLines == [])
  }
}

@Suite struct `Amounts for people` {
  @Test(arguments: [
    (0, "0ms"), (999, "999ms"), (41_000, "41s"), (432_000, "7m12s"), (3_600_000, "1h"), (273_600_000, "3d4h"),
  ])
  func `spans show their two largest units`(ms: UInt64, text: String) {
    #expect(Units.span(ms: ms) == text)
  }

  @Test(arguments: [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (64 << 20, "64 MiB"), (.max, "16 EiB")])
  func `sizes show one unit`(bytes: UInt64, text: String) {
    #expect(Units.size(bytes: bytes) == text)
  }

  @Test func `counts, shares and plurals`() {
    #expect(Units.count(0) == "0")
    #expect(Units.count(999) == "999")
    #expect(Units.count(60_123) == "60,123")
    #expect(Units.count(1_234_567) == "1,234,567")
    #expect(Units.percent(1, of: 3, digits: 1) == "33.3 %")
    #expect(Units.percent(1, of: 0, digits: 1) == "-")
    #expect(Units.plural(1, "key") == "1 key")
  }

  @Test(arguments: [
    (0, "1970-01-01 00:00:00.000Z"), (951_782_400_000, "2000-02-29 00:00:00.000Z"),
    (1_795_262_673_042, "2026-11-21 12:04:33.042Z"), (4_107_542_399_999, "2100-02-28 23:59:59.999Z"),
  ])
  func `times are UTC`(ms: UInt64, text: String) {
    #expect(Units.time(ms: ms) == text)
  }

  @Test func `columns stand under their headings`() {
    var table = Table(["NODE", "STATE", "X"])
    table.rows = [["n1", "up", ""], ["node-22", "down!", "1"]]
    #expect(table.lines() == ["NODE     STATE  X", "n1       up", "node-22  down!  1"])
  }
}

@Suite struct `Lines on a terminal` {
  private func wrapped(_ text: String, _ width: Int = 40) -> [String] { Wrapping.lines(text, width: width) }

  @Test func `what fits stays as it is`() {
    #expect(wrapped("OK    all is well") == ["OK    all is well"])
    #expect(wrapped("") == [""])
    let long = String(repeating: "x", count: 60)
    #expect(wrapped(long) == [long])
  }

  @Test func `words stay whole, and the rest stands under the text`() {
    #expect(
      wrapped("WARN  n3 unreachable for 7m12s, intent up; 0 partitions below quorum") == [
        "WARN  n3 unreachable for 7m12s, intent", "      up; 0 partitions below quorum",
      ])
    #expect(
      wrapped("         mend it: ssh h3 systemctl restart kvnode") == [
        "         mend it: ssh h3 systemctl", "         restart kvnode",
      ])
  }

  @Test func `parts stay together where they can`() {
    #expect(
      wrapped("    value  dot n1.1:1/0  2026  1 B  checksum f704") == [
        "    value  dot n1.1:1/0  2026  1 B", "    checksum f704",
      ])
  }

  @Test func `colours take no room and end where they ended`() {
    let red = "\u{1b}[31mTROUBLE\u{1b}[0m"
    #expect(wrapped("\(red)  n3: nobody reaches it for 7 s") == ["\(red)  n3: nobody reaches it for 7 s"])
    #expect(
      wrapped("\(red)  n3: nobody reaches it for 7s, truly") == [
        "\(red)  n3: nobody reaches it for 7s,", "         truly",
      ])
  }
}

@Suite struct `Exit codes` {
  @Test(arguments: [
    (KVError.Code.unreachable, ShellStatus.cannotConnect), (.refused, .cannotConnect),
    (.connectionLost, .cannotConnect),
    (.protocolMismatch, .cannotConnect), (.unavailable, .quorumNotReachable), (.timedOut, .timedOut),
    (.cancelled, .interrupted), (.invalidKey, .usage), (.valueTooLarge, .usage), (.invalidTTL, .usage),
    (.invalidQuorum, .usage), (.invalidContext, .usage), (.tooManySiblings, .conflict),
    (.otherCluster, .refusedAsUnsafe),
    (.storageFailed, .error), (.notMember, .error), (.overloaded, .error),
  ])
  func `each failure has its code`(code: KVError.Code, status: ShellStatus) {
    #expect(ShellStatus(KVError(code, "")) == status)
  }

  @Test func `an unknown outcome outweighs its cause`() {
    #expect(ShellStatus(KVError(.timedOut, "", outcome: .unknown)) == .outcomeUnknown)
    #expect(ShellStatus(KVError(.unavailable, "", outcome: .unknown)) == .outcomeUnknown)
  }

  @Test func `the numbers are those of the manual`() {
    #expect(ShellStatus.allCases.map(\.rawValue) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 124, 130])
  }
}
