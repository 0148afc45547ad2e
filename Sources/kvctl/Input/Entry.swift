import Foundation
import KVClient
import KVModel

/// One line of an import: what to put.
struct Entry: Equatable {
  var key: KVKey
  var value: [UInt8]
  var ttl: Duration?
}

/// How entries stand in a file.
///
/// JSON Lines: `{"key":…, "sort_key":…, "value":…, "ttl_ms":…}`; key, sort key and value are text or
/// `{"base64":…}`. TSV: `key TAB value` with the escapes `\t \n \r \\` and `\xHH` for any byte.
enum EntryFormat: String, CaseIterable {
  case jsonl
  case tsv

  /// By the name of the file, else by the first byte of its first line.
  static func guess(path: String, firstLine: [UInt8]) -> EntryFormat {
    switch path.split(separator: ".").last {
    case "jsonl", "ndjson", "json": .jsonl
    case "tsv", "txt": .tsv
    default: firstLine.first == UInt8(ascii: "{") ? .jsonl : .tsv
    }
  }

  /// Reads a line of an import.
  func entry(_ line: [UInt8]) throws(LineFault) -> Entry {
    let entry =
      switch self {
      case .jsonl: try JSONLine.entry(line)
      case .tsv: try TSV.entry(line)
      }
    try EntryFormat.check(entry.key)
    guard entry.value.count <= Limits.valueBytesMax else {
      throw LineFault("the value has \(entry.value.count) bytes; the most is \(Limits.valueBytesMax)")
    }
    return entry
  }

  /// Reads the key of a line, whatever follows it: a list of keys, or an import file again.
  func key(_ line: [UInt8]) throws(LineFault) -> KVKey {
    let key =
      switch self {
      case .jsonl: try JSONLine.key(line)
      case .tsv: try TSV.key(line)
      }
    try EntryFormat.check(key)
    return key
  }

  /// Writes what `entry` reads back.
  func line(_ entry: Entry) throws(LineFault) -> [UInt8] {
    switch self {
    case .jsonl: return Array(JSONLine.json(entry).line.utf8)
    case .tsv:
      guard entry.key.sortKey.isEmpty, entry.ttl == nil else {
        throw LineFault("TSV has no room for a sort key or an expiry; use --format jsonl")
      }
      return TSV.escape(entry.key.partitionKey) + [UInt8(ascii: "\t")] + TSV.escape(entry.value)
    }
  }

  private static func check(_ key: KVKey) throws(LineFault) {
    let count = key.partitionKey.count + key.sortKey.count
    guard !key.partitionKey.isEmpty else { throw LineFault("the key is empty") }
    guard count <= Limits.keyBytesMax else {
      throw LineFault("the key has \(count) bytes; the most is \(Limits.keyBytesMax)")
    }
  }
}

/// What is wrong with a line. Never shows the line.
struct LineFault: Error, Equatable {
  var message: String
  init(_ message: String) { self.message = message }
}

/// `key TAB value`.
enum TSV {
  static func entry(_ line: [UInt8]) throws(LineFault) -> Entry {
    let fields = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
    guard fields.count == 2 else {
      throw LineFault(
        fields.count == 1 ? "there is no tab between key and value" : "there is more than one tab; write \\t")
    }
    return Entry(key: KVKey(try unescape(fields[0])), value: try unescape(fields[1]))
  }

  static func key(_ line: [UInt8]) throws(LineFault) -> KVKey {
    KVKey(try unescape(line.prefix { $0 != UInt8(ascii: "\t") }))
  }

  static func escape(_ bytes: [UInt8]) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count)
    let isText = String(validating: bytes, as: UTF8.self) != nil
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "\\"): output += Array("\\\\".utf8)
      case UInt8(ascii: "\t"): output += Array("\\t".utf8)
      case UInt8(ascii: "\n"): output += Array("\\n".utf8)
      case UInt8(ascii: "\r"): output += Array("\\r".utf8)
      case 0..<0x20, 0x7f: output += hexadecimal(byte)
      case 0x80... where !isText: output += hexadecimal(byte)
      default: output.append(byte)
      }
    }
    return output
  }

  static func unescape(_ field: ArraySlice<UInt8>) throws(LineFault) -> [UInt8] {
    guard field.contains(UInt8(ascii: "\\")) else { return [UInt8](field) }
    var output: [UInt8] = []
    output.reserveCapacity(field.count)
    var rest = field
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\") else {
        output.append(byte)
        continue
      }
      switch rest.popFirst() {
      case UInt8(ascii: "t"): output.append(UInt8(ascii: "\t"))
      case UInt8(ascii: "n"): output.append(UInt8(ascii: "\n"))
      case UInt8(ascii: "r"): output.append(UInt8(ascii: "\r"))
      case UInt8(ascii: "\\"): output.append(UInt8(ascii: "\\"))
      case UInt8(ascii: "x"):
        guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
          throw LineFault("\\x is not followed by two hexadecimal digits")
        }
        output.append(high << 4 | low)
      default: throw LineFault("a backslash is followed by none of t n r x \\")
      }
    }
    return output
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    Character(UnicodeScalar(byte)).hexDigitValue.map(UInt8.init)
  }

  private static func hexadecimal(_ byte: UInt8) -> [UInt8] {
    let digits = Array("0123456789abcdef".utf8)
    return [UInt8(ascii: "\\"), UInt8(ascii: "x"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
  }
}

/// One JSON object a line.
enum JSONLine {
  static func entry(_ line: [UInt8]) throws(LineFault) -> Entry {
    let fields = try decode(Fields.self, line)
    guard let value = fields.value else { throw LineFault("\"value\" is missing") }
    if fields.ttlMs == 0 { throw LineFault("\"ttl_ms\" is 0; leave it out for a value that stays") }
    if let ttl = fields.ttlMs, ttl > Limits.ttlMsMax { throw LineFault("\"ttl_ms\" is above \(Limits.ttlMsMax)") }
    return Entry(key: fields.kvKey, value: value.bytes, ttl: fields.ttlMs.map { .milliseconds(Int64($0)) })
  }

  static func key(_ line: [UInt8]) throws(LineFault) -> KVKey { try decode(Fields.self, line).kvKey }

  static func json(_ entry: Entry) -> JSON {
    var members: [(String, JSON)] = [("key", .bytes(entry.key.partitionKey))]
    if !entry.key.sortKey.isEmpty { members.append(("sort_key", .bytes(entry.key.sortKey))) }
    members.append(("value", .bytes(entry.value)))
    if let ttl = entry.ttl { members.append(("ttl_ms", .integer(Int64(ttl / .milliseconds(1))))) }
    return .object(members)
  }

  private static func decode<Value: Decodable>(_ type: Value.Type, _ line: [UInt8]) throws(LineFault) -> Value {
    do { return try JSONDecoder().decode(type, from: Data(line)) } catch {
      switch error {
      case let fault as LineFault: throw fault
      case let error as DecodingError: throw LineFault(describe(error))
      default: throw LineFault("it is not a JSON object")
      }
    }
  }

  private static func describe(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): return "\"\(key.stringValue)\" is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      guard let field = context.codingPath.first?.stringValue else { return "it is not a JSON object" }
      return "\"\(field)\" is not of the right type"
    case .dataCorrupted(let context):
      guard let field = context.codingPath.first?.stringValue else { return "it is not valid JSON" }
      return "\"\(field)\" \(context.debugDescription)"
    @unknown default: return "it is not valid JSON"
    }
  }

  private struct Fields: Decodable {
    var key: TextOrBytes
    var sortKey: TextOrBytes?
    var value: TextOrBytes?
    var ttlMs: UInt64?

    var kvKey: KVKey { KVKey(key.bytes, sortKey: sortKey?.bytes ?? []) }

    enum Name: String, CodingKey, CaseIterable {
      case key
      case sortKey = "sort_key"
      case value
      case ttlMs = "ttl_ms"
    }

    init(from decoder: any Decoder) throws {
      let all = try decoder.container(keyedBy: AnyName.self)
      if let stray = all.allKeys.map(\.stringValue).filter({ Name(rawValue: $0) == nil }).min() {
        throw LineFault("it has a field \"\(stray.prefix(32))\"; known are key, sort_key, value, ttl_ms")
      }
      let fields = try decoder.container(keyedBy: Name.self)
      key = try fields.decode(TextOrBytes.self, forKey: .key)
      sortKey = try fields.decodeIfPresent(TextOrBytes.self, forKey: .sortKey)
      value = try fields.decodeIfPresent(TextOrBytes.self, forKey: .value)
      ttlMs = try fields.decodeIfPresent(UInt64.self, forKey: .ttlMs)
    }
  }

  private struct AnyName: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  /// `"text"` or `{"base64":"…"}`.
  private struct TextOrBytes: Decodable {
    var bytes: [UInt8]

    enum Name: String, CodingKey { case base64 }

    init(from decoder: any Decoder) throws {
      if let text = try? decoder.singleValueContainer().decode(String.self) {
        bytes = Array(text.utf8)
        return
      }
      let text = try decoder.container(keyedBy: Name.self).decode(String.self, forKey: .base64)
      guard let decoded = Base64.decode(text) else {
        throw DecodingError.dataCorrupted(
          .init(codingPath: decoder.codingPath, debugDescription: "is not valid base64"))
      }
      bytes = decoded
    }
  }
}
