import Glibc
import KVModel

/// A setting's value, read and checked.
enum Value: Equatable, Sendable {
  case text(String)
  /// Counts, bytes, milliseconds, hundredths: as the shape says.
  case number(Int)
}

/// Why a text is no value, and what would be.
struct Misfit: Error, Equatable, Sendable {
  var what: String
  var remedy: String
}

/// What a setting's value looks like: its unit and its bounds, how it is read and how it is written.
enum Shape: Sendable {
  /// Letters, digits, and `.`, `_`, `-` after the first of them.
  case name(bytesMax: Int)
  case path
  /// `address:port`; `numeric` when a host name will not do.
  case address(numeric: Bool)
  /// At most so many `host:port`, with commas between them; in a file a list too.
  case addresses(most: Int)
  /// A whole number in the range, or the one beside it that has a meaning of its own.
  case whole(ClosedRange<Int>, or: Int? = nil)
  case powerOfTwo(ClosedRange<Int>)
  /// A decimal fraction with at most two places, kept as hundredths.
  case hundredths(ClosedRange<Int>)
  case bytes(ClosedRange<Int>, or: Int? = nil)
  case milliseconds(ClosedRange<Int>)
  case choice([String])

  func parse(_ text: String) throws(Misfit) -> Value {
    switch self {
    case .name(let bytesMax): .text(try Shape.name(text, bytesMax: bytesMax))
    case .path: .text(try Shape.path(text))
    case .address(let numeric): .text(try Shape.address(text, numeric: numeric))
    case .addresses(let most): .text(try Shape.addresses(text, most: most))
    case .whole, .powerOfTwo: .number(try bounded(try Shape.whole(text, such: bounds)))
    case .hundredths: .number(try bounded(try Shape.hundredths(text, such: bounds)))
    case .bytes: .number(try bounded(try Shape.quantity(text, Unit.bytes, bareIsFinest: true)))
    case .milliseconds: .number(try bounded(try Shape.quantity(text, Unit.milliseconds, bareIsFinest: false)))
    case .choice(let words): .text(try Shape.choice(text, words))
    }
  }

  /// The value as a person would write it; reads back as the same value.
  func render(_ value: Value) -> String {
    switch (self, value) {
    case (_, .text(let text)): text
    case (.bytes, .number(let number)): Unit.render(number, Unit.bytes, ifZero: "0")
    case (.milliseconds, .number(let number)): Unit.render(number, Unit.milliseconds, ifZero: "0ms")
    case (.hundredths, .number(let number)): Shape.renderHundredths(number)
    case (_, .number(let number)): String(number)
    }
  }

  /// What is allowed, for messages.
  var bounds: String {
    switch self {
    case .name(let bytesMax): "1 to \(bytesMax) letters, digits, `.`, `_`, `-`, the first a letter or a digit"
    case .path: "a path"
    case .address(let numeric): numeric ? "address:port, as 127.0.0.1:7420" : "host:port, as db1.example:7420"
    case .addresses(let most): "host:port, up to \(most) of them with commas between, as db1:7421,db2:7421"
    case .whole(let range, let other), .bytes(let range, let other):
      "\(number(range.lowerBound)) to \(number(range.upperBound))" + (other.map { " (or \(number($0)))" } ?? "")
    case .powerOfTwo(let range): "a power of two, \(range.lowerBound) to \(range.upperBound)"
    case .hundredths(let range), .milliseconds(let range):
      "\(number(range.lowerBound)) to \(number(range.upperBound))"
    case .choice(let words): words.joined(separator: ", ")
    }
  }

  private func number(_ number: Int) -> String { render(.number(number)) }

  private func bounded(_ value: Int) throws(Misfit) -> Int {
    switch self {
    case .whole(let range, let other), .bytes(let range, let other):
      if range.contains(value) || value == other { return value }
    case .powerOfTwo(let range):
      if value > 0, value & (value - 1) == 0, range.contains(value) { return value }
      let near = Shape.powerOfTwo(near: value, in: range)
      throw Misfit(what: "\(value) is not \(bounds)", remedy: "the nearest is \(near)")
    case .hundredths(let range), .milliseconds(let range):
      if range.contains(value) { return value }
    case .name, .path, .address, .addresses, .choice: return value
    }
    throw Misfit(what: "\(number(value)) is out of range", remedy: "write \(bounds)")
  }
}

// MARK: - Reading each shape

extension Shape {
  private static func name(_ text: String, bytesMax: Int) throws(Misfit) -> String {
    let remedy = "write \(Shape.name(bytesMax: bytesMax).bounds)"
    guard !text.isEmpty else { throw Misfit(what: "it is empty", remedy: remedy) }
    guard text.utf8.count <= bytesMax else { throw Misfit(what: "it is longer than \(bytesMax) bytes", remedy: remedy) }
    for (index, byte) in text.utf8.enumerated() {
      let isLetterOrDigit = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
      if isLetterOrDigit || (index > 0 && [0x2D, 0x2E, 0x5F].contains(byte)) { continue }
      throw Misfit(what: "\(quoted(text)) is no name", remedy: remedy)
    }
    return text
  }

  private static func path(_ text: String) throws(Misfit) -> String {
    guard !text.isEmpty else { throw Misfit(what: "it is empty", remedy: "write the directory, as /var/lib/ringkv") }
    guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
      throw Misfit(what: "\(quoted(text)) is no path", remedy: "leave out the control characters")
    }
    return text
  }

  private static func address(_ text: String, numeric: Bool) throws(Misfit) -> String {
    let remedy = "write \(Shape.address(numeric: numeric).bounds), the port 1 to 65535"
    guard let address = Address(text) else {
      throw Misfit(what: "\(quoted(text)) is no address and port", remedy: remedy)
    }
    guard !numeric || IPAddress(address.host) != nil else {
      let instead = address.host == "localhost" ? "write 127.0.0.1:\(address.port)" : remedy
      throw Misfit(what: "`\(address.host)` is a name, and a node listens on an address", remedy: instead)
    }
    return address.description
  }

  private static func addresses(_ text: String, most: Int) throws(Misfit) -> String {
    let words = text.split(separator: ",", omittingEmptySubsequences: false)
    guard words.count <= most else {
      throw Misfit(what: "\(words.count) addresses are too many", remedy: "name at most \(most)")
    }
    var addresses: [String] = []
    for word in words {
      let trimmed = String(word.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
      addresses.append(try address(trimmed, numeric: false))
    }
    return addresses.joined(separator: ",")
  }

  private static func whole(_ text: String, such bounds: String) throws(Misfit) -> Int {
    guard let value = Int(text), text.first != "+" else {
      throw Misfit(what: "\(quoted(text)) is no whole number", remedy: "write \(bounds), without a unit")
    }
    return value
  }

  private static func choice(_ text: String, _ words: [String]) throws(Misfit) -> String {
    if words.contains(text) { return text }
    let meant = Likeness.nearest(to: text.lowercased(), among: words).map { "did you mean `\($0)`? " } ?? ""
    throw Misfit(
      what: "\(quoted(text)) is none of its words", remedy: "\(meant)write one of: " + words.joined(separator: ", "))
  }

  /// Decimal digits only: no rounding, no exponents, no locale.
  private static func hundredths(_ text: String, such bounds: String) throws(Misfit) -> Int {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let isNegative = text.hasPrefix("-")
    guard parts.count <= 2, let whole = Int(parts[0]), abs(whole) <= 1_000_000,
      let places = parts.count == 2 ? fraction(parts[1]) : 0
    else {
      throw Misfit(what: "\(quoted(text)) is no number with at most two decimals", remedy: "write \(bounds), as 1.5")
    }
    return whole * 100 + (isNegative ? -places : places)
  }

  private static func fraction(_ digits: Substring) -> Int? {
    guard (1...2).contains(digits.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let value = Int(digits)
    else { return nil }
    return digits.count == 1 ? value * 10 : value
  }

  private static func renderHundredths(_ value: Int) -> String {
    let places = value % 100
    if places % 10 == 0 { return "\(value / 100).\(places / 10)" }
    return "\(value / 100).\(places / 10)\(places % 10)"
  }

  private static func quantity(_ text: String, _ units: [Unit], bareIsFinest: Bool) throws(Misfit) -> Int {
    let digits = text.prefix { ("0"..."9").contains($0) }
    let name = text.dropFirst(digits.count).drop { $0 == " " }
    let examples = "write a whole number and a unit: " + units.map { "1\($0.name)" }.joined(separator: ", ")
    guard let count = Int(digits) else { throw Misfit(what: "\(quoted(text)) is no quantity", remedy: examples) }
    if name.isEmpty {
      guard bareIsFinest || count == 0 else {
        throw Misfit(
          what: "\(count) has no unit", remedy: "write \(units.map { "\(count)\($0.name)" }.joined(separator: " or "))")
      }
      return count
    }
    guard let unit = units.first(where: { $0.name == name }) else {
      let meant = units.first { $0.alsoWritten.contains(name.lowercased()) }.map { "did you mean \(count)\($0.name)? " }
      throw Misfit(what: "`\(name)` is no unit here", remedy: (meant ?? "") + examples)
    }
    let (value, overflow) = count.multipliedReportingOverflow(by: unit.factor)
    guard !overflow else { throw Misfit(what: "\(quoted(text)) is out of range", remedy: "write less") }
    return value
  }

  private static func powerOfTwo(near value: Int, in range: ClosedRange<Int>) -> Int {
    var power = range.lowerBound
    while power < range.upperBound, value - power > power * 2 - value { power *= 2 }
    return power
  }

  /// A text of a user inside a message: bounded, and on one line.
  static func quoted(_ text: String) -> String {
    let short = text.unicodeScalars.prefix(60).map { $0.properties.generalCategory == .control ? "?" : String($0) }
    return "`\(short.joined())\(text.unicodeScalars.count > 60 ? "…" : "")`"
  }
}

/// A unit and how many of the finest unit it is.
struct Unit: Sendable {
  let name: String
  let factor: Int
  /// What people write by mistake, in lower case.
  let alsoWritten: [String]

  static let bytes = [
    Unit(name: "B", factor: 1, alsoWritten: ["b", "byte", "bytes"]),
    Unit(name: "KiB", factor: 1 << 10, alsoWritten: ["k", "kb", "kib"]),
    Unit(name: "MiB", factor: 1 << 20, alsoWritten: ["m", "mb", "mib"]),
    Unit(name: "GiB", factor: 1 << 30, alsoWritten: ["g", "gb", "gib"]),
    Unit(name: "TiB", factor: 1 << 40, alsoWritten: ["t", "tb", "tib"]),
  ]

  static let milliseconds = [
    Unit(name: "ms", factor: 1, alsoWritten: ["msec", "msecs", "millis", "milliseconds"]),
    Unit(name: "s", factor: 1_000, alsoWritten: ["sec", "secs", "second", "seconds"]),
    Unit(name: "m", factor: 60_000, alsoWritten: ["min", "mins", "minute", "minutes"]),
    Unit(name: "h", factor: 3_600_000, alsoWritten: ["hr", "hrs", "hour", "hours"]),
  ]

  static func render(_ value: Int, _ units: [Unit], ifZero: String) -> String {
    guard value > 0, let unit = units.last(where: { value % $0.factor == 0 }) else { return ifZero }
    return "\(value / unit.factor)\(unit.name)"
  }
}

/// A numeric address, as the kernel reads it.
enum IPAddress: Equatable {
  /// `any`: 0.0.0.0.
  case four(any: Bool)
  case six(any: Bool)

  init?(_ text: String) {
    var four = in_addr()
    var six = in6_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
      self = .four(any: four.s_addr == 0)
    } else if inet_pton(AF_INET6, text, &six) == 1 {
      self = .six(any: withUnsafeBytes(of: &six) { $0.allSatisfy { $0 == 0 } })
    } else {
      return nil
    }
  }

  var isAny: Bool {
    switch self {
    case .four(let any), .six(let any): any
    }
  }
}
