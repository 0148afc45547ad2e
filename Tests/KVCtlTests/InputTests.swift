import ArgumentParser
import KVClient
import KVModel
import Testing

@testable import kvctl

@Suite struct Amount {
  @Test(arguments: [
    ("500ms", 500), ("2s", 2_000), ("1.5h", 5_400_000), ("7m12s", 432_000), ("1d", 86_400_000), ("0s", 0),
    ("0.25s", 250),
  ])
  func `durations are read as people write them`(text: String, ms: Int64) {
    #expect(Amounts.duration(text) == .milliseconds(ms))
  }

  @Test(arguments: ["", "5", "s", "-1s", "1 s", "1.2.3s", "1y", "99999999999999999999s", "9999999999999999h", "1s5"])
  func `what is no duration is refused`(text: String) {
    #expect(Amounts.duration(text) == nil)
  }

  @Test func `sizes are read as people write them`() {
    #expect(Amounts.bytes("64MiB") == 64 << 20)
    #expect(Amounts.bytes("1.5 GiB") == 3 << 29)
    #expect(Amounts.bytes("4096") == 4_096)
    #expect(Amounts.bytes("1KB") == 1_000)
    #expect(Amounts.bytes("1 parsec") == nil)
  }
}

@Suite struct `Lines of an import` {
  private func entry(_ text: String, _ format: EntryFormat = .jsonl) -> Result<Entry, LineFault> {
    Result { () throws(LineFault) in try format.entry(Array(text.utf8)) }
  }

  private func fault(_ text: String, _ format: EntryFormat = .jsonl) -> String? {
    if case .failure(let fault) = entry(text, format) { fault.message } else { nil }
  }

  @Test func `JSON Lines carry text, bytes, sort keys and times to live`() throws {
    #expect(try entry(#"{"key":"a","value":"é\n"}"#).get() == Entry(key: KVKey("a"), value: Array("é\n".utf8)))
    let full = #"{"key":{"base64":"/w=="},"sort_key":"s","value":{"base64":"AAE="},"ttl_ms":1500}"#
    #expect(
      try entry(full).get()
        == Entry(key: KVKey([0xff], sortKey: [0x73]), value: [0, 1], ttl: .milliseconds(1_500)))
  }

  @Test func `a broken JSON line says what is wrong and never shows the line`() {
    #expect(fault("{\"key\":\"a\"") == "it is not valid JSON")
    #expect(fault("[1]") == "it is not a JSON object")
    #expect(fault(#"{"value":"secret"}"#) == "\"key\" is missing")
    #expect(fault(#"{"key":"a"}"#) == "\"value\" is missing")
    #expect(fault(#"{"key":7,"value":"secret"}"#) == "\"key\" is not of the right type")
    #expect(fault(#"{"key":"a","value":{"base64":"***"}}"#) == "\"value\" is not valid base64")
    #expect(fault(#"{"key":"a","value":"b","ttl_ms":0}"#)?.hasPrefix("\"ttl_ms\" is 0") == true)
    #expect(fault(#"{"key":"a","value":"b","ttl_ms":-1}"#) != nil)
    #expect(fault(#"{"key":"a","value":"b","ttl":5}"#)?.contains("\"ttl\"") == true)
    #expect(fault(#"{"key":"","value":"b"}"#) == "the key is empty")
    #expect(fault(#"{"key":"\#(String(repeating: "k", count: 257))","value":""}"#)?.contains("257") == true)
  }

  @Test func `TSV is a key, a tab, a value, with escapes for the rest`() throws {
    #expect(try entry("a\tb c", .tsv).get() == Entry(key: KVKey("a"), value: Array("b c".utf8)))
    #expect(try entry("a\\tb\t\\x00\\xfF\\\\\\n", .tsv).get() == Entry(key: KVKey("a\tb"), value: [0, 255, 92, 10]))
    #expect(try entry("a\t", .tsv).get().value == [])
  }

  @Test(arguments: ["a", "a\tb\tc", "\tb", "a\t\\q", "a\t\\x1", "a\t\\xzz", "a\t\\"])
  func `a broken TSV line is refused`(line: String) {
    #expect(fault(line, .tsv) != nil)
  }

  @Test(arguments: EntryFormat.allCases) func `what export writes import reads back`(format: EntryFormat) throws {
    var random = PRNG(seed: 3)
    for count in 0..<300 {
      let value = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let key = (0...(count % 256)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let entry = Entry(key: KVKey(key), value: value)
      #expect(try format.entry(try format.line(entry)) == entry)
    }
    let text = Entry(key: KVKey("clé"), value: Array("\u{0}\t\\ \"quoted\" 日本\u{7f}".utf8))
    #expect(try format.entry(try format.line(text)) == text)
  }

  @Test func `TSV refuses what it has no room for, JSON Lines has room`() throws {
    let entry = Entry(key: KVKey("a", sortKey: "s"), value: [1], ttl: .seconds(2))
    #expect(throws: LineFault.self) { try EntryFormat.tsv.line(entry) }
    #expect(try EntryFormat.jsonl.entry(try EntryFormat.jsonl.line(entry)) == entry)
  }

  @Test func `an import file is a list of its own keys`() throws {
    #expect(try EntryFormat.jsonl.key(Array(#"{"key":"a","value":"b"}"#.utf8)) == KVKey("a"))
    #expect(try EntryFormat.jsonl.key(Array(#"{"key":"a","sort_key":"s"}"#.utf8)) == KVKey("a", sortKey: "s"))
    #expect(try EntryFormat.tsv.key(Array("a\tb".utf8)) == KVKey("a"))
    #expect(try EntryFormat.tsv.key(Array("a".utf8)) == KVKey("a"))
  }

  @Test func `the format is told by the name, else by the first byte`() {
    #expect(EntryFormat.guess(path: "x.jsonl", firstLine: []) == .jsonl)
    #expect(EntryFormat.guess(path: "x.tsv", firstLine: Array("{".utf8)) == .tsv)
    #expect(EntryFormat.guess(path: "-", firstLine: Array("{}".utf8)) == .jsonl)
    #expect(EntryFormat.guess(path: "-", firstLine: Array("a".utf8)) == .tsv)
  }
}

@Suite struct `Lines of a file` {
  private func lines(of bytes: [UInt8]) throws -> [LineReader.Line] {
    let path = try TemporaryFile(bytes)
    defer { path.remove() }
    var reader = try LineReader(path: path.path)
    defer { reader.finish() }
    var lines: [LineReader.Line] = []
    while let line = try reader.next() { lines.append(line) }
    return lines
  }

  private func text(_ text: String) -> LineReader.Line { .bytes(Array(text.utf8)) }

  @Test func `lines end with either newline, the last one with none`() throws {
    #expect(try lines(of: Array("a\r\nb\n\nc".utf8)) == [text("a"), text("b"), text(""), text("c")])
    #expect(try lines(of: []) == [])
    #expect(try lines(of: Array("a\n".utf8)) == [text("a")])
  }

  @Test func `a line may span many blocks, and one that is too long is skipped alone`() throws {
    let long = [UInt8](repeating: 65, count: 1 << 20)
    let tooLong = [UInt8](repeating: 66, count: LineReader.bytesMax + 1)
    let file = long + [10] + tooLong + [10] + [67]
    #expect(try lines(of: file) == [.bytes(long), .tooLong, .bytes([67])])
  }

  @Test func `a file that is not there is named`() {
    #expect(throws: CommandFailure(.error, "io", "cannot open /no/such: No such file or directory")) {
      try LineReader(path: "/no/such")
    }
  }
}

@Suite struct `Arguments in bytes` {
  @Test func `hexadecimal is read and written`() {
    #expect(Hex.encode([0, 255, 16]) == "00ff10")
    #expect(Hex.decode("00fF10") == [0, 255, 16])
    #expect(Hex.decode("0") == nil)
    #expect(Hex.decode("zz") == nil)
  }

  @Test func `a value of 1 MiB and one byte is refused before it is all read`() throws {
    let file = try TemporaryFile([UInt8](repeating: 1, count: Limits.valueBytesMax + 1))
    defer { file.remove() }
    #expect(throws: CommandFailure.self) { try Files.value(file.path) }
    // An endless one too.
    #expect(throws: CommandFailure.self) { try Files.value("/dev/zero") }
  }

  @Test func `endpoints come from the flag, the environment, the default, in this order`() throws {
    var options = try GlobalOptions.parse([])
    #expect(try options.addresses(environment: [:]).map(\.description) == ["127.0.0.1:7420"])
    #expect(try options.addresses(environment: ["KVCTL_ENDPOINTS": "a:1, b:2"]).map(\.description) == ["a:1", "b:2"])
    options = try GlobalOptions.parse(["--endpoints", "c:3,[::1]:4,c:3"])
    #expect(try options.addresses(environment: ["KVCTL_ENDPOINTS": "a:1"]).map(\.description) == ["c:3", "[::1]:4"])
    options = try GlobalOptions.parse(["--endpoints", "c"])
    #expect(throws: CommandFailure.self) { try options.addresses(environment: [:]) }
  }

  @Test func `an unknown consistency, a count of none and both at once are usage errors`() throws {
    #expect(try Consistency.of(nil, count: nil, flag: "-r") == .quorum)
    #expect(try Consistency.of("all", count: nil, flag: "-r") == .all)
    #expect(try Consistency.of(nil, count: 2, flag: "-r") == .owners(2))
    for (word, count) in [("some", nil), (nil, 0), (nil, 8), ("one", 1)] as [(String?, Int?)] {
      let failure = #expect(throws: CommandFailure.self) { try Consistency.of(word, count: count, flag: "-r") }
      #expect(failure?.exit == .usage)
    }
  }
}
