/// Durations and sizes as people write them.
enum Amounts {
  private static let spanUnits: [(String, Int64)] = [
    ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
  ]
  private static let sizeUnits: [(String, Int64)] = [
    ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("KB", 1_000), ("MB", 1_000_000),
    ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
  ]

  /// `500ms`, `2s`, `1.5h`, `7m12s`; nil for anything else, a number without a unit included.
  static func duration(_ text: String) -> Duration? {
    var rest = text[...]
    var total: Int64 = 0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let number = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
      rest = rest.dropFirst(number.count)
      let unit = rest.prefix { $0.isLetter }
      rest = rest.dropFirst(unit.count)
      guard let scale = spanUnits.first(where: { $0.0 == unit })?.1, let part = scaled(number, by: scale) else {
        return nil
      }
      let (sum, overflow) = total.addingReportingOverflow(part)
      guard !overflow else { return nil }
      total = sum
    }
    return .milliseconds(total)
  }

  /// `64MiB`, `1.5 GiB`, `4096`: bytes.
  static func bytes(_ text: String) -> Int64? {
    let number = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
    let unit = text.dropFirst(number.count).drop { $0 == " " }
    if unit.isEmpty { return Int64(number) }
    guard let scale = sizeUnits.first(where: { $0.0 == unit })?.1 else { return nil }
    return scaled(number, by: scale)
  }

  /// A decimal number times `scale`, exact to three digits behind the point.
  private static func scaled(_ number: Substring, by scale: Int64) -> Int64? {
    let parts = number.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = parts.first, let whole = Int64(first) else { return nil }
    let (product, overflow) = whole.multipliedReportingOverflow(by: scale)
    guard !overflow else { return nil }
    guard parts.count == 2 else { return product }
    guard (1...3).contains(parts[1].count), let fraction = Int64(parts[1]) else { return nil }
    let thousandths = [100, 10, 1][parts[1].count - 1] * fraction
    return product + thousandths * scale / 1_000
  }
}
