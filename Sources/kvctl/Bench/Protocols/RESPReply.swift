/// A reply in RESP, the protocol of redis (redis.io/docs/reference/protocol-spec), as far as GET, SET and PING need it.
///
/// | first byte | what |
/// |---|---|
/// | `+text\r\n` | done |
/// | `-CODE text\r\n` | an error |
/// | `$n\r\n`, n bytes, `\r\n` | a value; `$-1\r\n` is none |
enum RESPReply: Equatable {
  case status(String)
  case error(String)
  case value(bytes: Int)
  case absent

  enum Scan: Equatable {
    case reply(RESPReply, bytes: Int)
    case incomplete(neededBytes: Int)
    case malformed(String)
  }

  /// The longest line before a `\r\n`, bytes.
  static let lineBytesMax = 64 << 10
  /// The longest value that is waited for, bytes.
  static let valueBytesMax = 64 << 20

  /// Looks at the head of `bytes`.
  static func scan(_ bytes: UnsafeRawBufferPointer) -> Scan {
    guard let first = bytes.first else { return .incomplete(neededBytes: 0) }
    guard [UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "$")].contains(first) else {
      return .malformed("no reply to GET or SET begins with byte \(first)")
    }
    guard let end = lineEnd(bytes) else {
      return bytes.count > lineBytesMax ? .malformed("a line without an end") : .incomplete(neededBytes: 0)
    }
    let line = UnsafeRawBufferPointer(rebasing: bytes[1..<end])
    switch first {
    case UInt8(ascii: "+"): return .reply(.status(String(decoding: line, as: UTF8.self)), bytes: end + 2)
    case UInt8(ascii: "-"): return .reply(.error(String(decoding: line, as: UTF8.self)), bytes: end + 2)
    default: return scanValue(bytes, length: line, start: end + 2)
    }
  }

  private static func scanValue(
    _ bytes: UnsafeRawBufferPointer, length: UnsafeRawBufferPointer, start: Int
  ) -> Scan {
    if length.elementsEqual("-1".utf8) { return .reply(.absent, bytes: start) }
    guard let count = number(length), count <= valueBytesMax else { return .malformed("a length that is none") }
    let total = start + count + 2
    guard bytes.count >= total else { return .incomplete(neededBytes: total) }
    guard bytes[total - 2] == UInt8(ascii: "\r"), bytes[total - 1] == UInt8(ascii: "\n") else {
      return .malformed("a value longer than its length")
    }
    return .reply(.value(bytes: count), bytes: total)
  }

  /// The place of the first `\r\n`.
  private static func lineEnd(_ bytes: UnsafeRawBufferPointer) -> Int? {
    var place = 0
    while place + 1 < bytes.count {
      if bytes[place] == UInt8(ascii: "\r"), bytes[place + 1] == UInt8(ascii: "\n") { return place }
      place += 1
    }
    return nil
  }

  /// One to ten decimal digits.
  private static func number(_ digits: UnsafeRawBufferPointer) -> Int? {
    guard (1...10).contains(digits.count) else { return nil }
    var value = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      value = value * 10 + Int(digit - UInt8(ascii: "0"))
    }
    return value
  }
}
