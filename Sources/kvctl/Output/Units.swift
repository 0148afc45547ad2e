/// Amounts as people read them.
enum Units {
  /// `7m12s`, `41 s` stays `41s`, `3d4h`: the two largest units.
  static func span(ms: UInt64) -> String {
    let seconds = ms / 1_000
    switch seconds {
    case 0: return "\(ms)ms"
    case ..<60: return "\(seconds)s"
    case ..<3_600: return pair(seconds / 60, "m", seconds % 60, "s")
    case ..<86_400: return pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m")
    default: return pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h")
    }
  }

  private static func pair(_ a: UInt64, _ unitA: String, _ b: UInt64, _ unitB: String) -> String {
    b == 0 ? "\(a)\(unitA)" : "\(a)\(unitA)\(b)\(unitB)"
  }

  /// `512 B`, `1.2 KiB`, `64 MiB`.
  static func size(bytes: UInt64) -> String {
    guard bytes >= 1_024 else { return "\(bytes) B" }
    var amount = Double(bytes)
    var unit = 0
    let names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while amount >= 1_024, unit < names.count - 1 {
      amount /= 1_024
      unit += 1
    }
    return "\(JSON.fixed(amount, digits: amount < 10 ? 1 : 0)) \(names[unit])"
  }

  /// `33.4 %`
  static func percent(_ part: UInt64, of whole: UInt64, digits: Int) -> String {
    whole == 0 ? "-" : JSON.fixed(100 * Double(part) / Double(whole), digits: digits) + " %"
  }

  /// `60,123`
  static func count(_ value: UInt64) -> String {
    var digits = String(value)
    var place = digits.utf8.count - 3
    while place > 0 {
      digits.insert(",", at: digits.index(digits.startIndex, offsetBy: place))
      place -= 3
    }
    return digits
  }

  static func count(_ value: Int) -> String { count(UInt64(value)) }

  /// `1 key`, `2 keys`
  static func plural(_ value: Int, _ noun: String) -> String { plural(value, noun, noun + "s") }

  static func plural(_ value: Int, _ one: String, _ many: String) -> String {
    "\(count(value)) \(value == 1 ? one : many)"
  }

  /// Milliseconds since 1970 as `2026-11-21 12:04:33.123Z`. (Days to dates: Hinnant, "chrono-compatible low-level date
  /// algorithms".)
  static func time(ms: UInt64) -> String {
    let days = Int(ms / 86_400_000) + 719_468
    let era = days / 146_097
    let dayOfEra = days % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let rest = Int(ms % 86_400_000)
    let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    let clock = "\(padded(rest / 3_600_000, 2)):\(padded(rest / 60_000 % 60, 2)):\(padded(rest / 1_000 % 60, 2))"
    return "\(date) \(clock).\(padded(rest % 1_000, 3))Z"
  }

  private static func padded(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }
}
