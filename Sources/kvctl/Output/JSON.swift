import KVModel

/// A JSON document whose members keep their order, so that output reads the way it was meant.
enum JSON: Equatable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// A fraction with so many digits behind the point.
  case fraction(Double, digits: Int)
  case text(String)
  case array([JSON])
  case object([(String, JSON)])

  static func == (a: JSON, b: JSON) -> Bool { a.line == b.line }

  static func integer(_ value: Int) -> JSON { .integer(Int64(value)) }
  /// Amounts; what has 64 bits that matter is written as text.
  static func integer(_ value: UInt64) -> JSON { .integer(Int64(clamping: value)) }

  /// Bytes of a key or a value: text when they are UTF-8, `{"base64":…}` otherwise.
  static func bytes(_ bytes: some Collection<UInt8>) -> JSON {
    if let text = String(validating: bytes, as: UTF8.self) { return .text(text) }
    return .object([("base64", .text(Base64.encode(bytes)))])
  }

  static func text(_ id: NodeID) -> JSON { .text(id.description) }

  static func optional<Value>(_ value: Value?, _ json: (Value) -> JSON) -> JSON { value.map(json) ?? .null }

  /// On one line.
  var line: String {
    var output = ""
    write(to: &output, indent: nil)
    return output
  }

  /// Over many lines, indented by two.
  var pretty: String {
    var output = ""
    write(to: &output, indent: 0)
    return output
  }

  private func write(to output: inout String, indent: Int?) {
    switch self {
    case .null: output += "null"
    case .bool(let value): output += value ? "true" : "false"
    case .integer(let value): output += String(value)
    case .fraction(let value, let digits): output += JSON.fixed(value, digits: digits)
    case .text(let text): JSON.quote(text, to: &output)
    case .array(let items):
      JSON.list(items, "[", "]", to: &output, indent: indent) { item, output, indent in
        item.write(to: &output, indent: indent)
      }
    case .object(let members):
      JSON.list(members, "{", "}", to: &output, indent: indent) { member, output, indent in
        JSON.quote(member.0, to: &output)
        output += indent == nil ? ":" : ": "
        member.1.write(to: &output, indent: indent)
      }
    }
  }

  private static func list<Item>(
    _ items: [Item], _ open: String, _ close: String, to output: inout String, indent: Int?,
    _ write: (Item, inout String, Int?) -> Void
  ) {
    output += open
    let inner = indent.map { $0 + 2 }
    for (place, item) in items.enumerated() {
      if place > 0 { output += "," }
      if let inner { output += "\n" + String(repeating: " ", count: inner) }
      write(item, &output, inner)
    }
    if let indent, !items.isEmpty { output += "\n" + String(repeating: " ", count: indent) }
    output += close
  }

  private static func quote(_ text: String, to output: inout String) {
    output += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\""
      case "\\": output += "\\\\"
      case "\n": output += "\\n"
      case "\r": output += "\\r"
      case "\t": output += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7f:
        let digits = String(scalar.value, radix: 16)
        output += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
      default: output.unicodeScalars.append(scalar)
      }
    }
    output += "\""
  }

  /// Decimal notation with a fixed number of digits; NaN and infinities, which JSON lacks, become null.
  static func fixed(_ value: Double, digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "null" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int64((abs(value) * scale).rounded())
    let whole = scaled / Int64(scale)
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(whole)" }
    let fraction = String(scaled % Int64(scale))
    return "\(sign)\(whole)." + String(repeating: "0", count: digits - fraction.utf8.count) + fraction
  }
}
