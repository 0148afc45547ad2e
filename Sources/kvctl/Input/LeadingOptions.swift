/// Global options may stand before the verb as well as behind it: `kvctl --endpoints a:1 status`.
///
/// ArgumentParser knows them on the verbs only, so those in front are moved to the end (in front of a `--`).
enum LeadingOptions {
  private static let withValue: Set<String> = ["--endpoints", "--timeout", "--output", "-o", "--watch"]
  private static let flags: Set<String> = ["--json", "--no-color", "--yes"]

  static func moved(_ arguments: [String]) -> [String] {
    var leading: [String] = []
    var rest = arguments[...]
    while let first = rest.first {
      let name = String(first.prefix { $0 != "=" })
      if withValue.contains(name) {
        leading.append(contentsOf: rest.prefix(first.contains("=") ? 1 : 2))
        rest = rest.dropFirst(first.contains("=") ? 1 : 2)
      } else if flags.contains(first) {
        leading.append(first)
        rest = rest.dropFirst()
      } else {
        break
      }
    }
    let end = rest.firstIndex(of: "--") ?? rest.endIndex
    return Array(rest[..<end]) + leading + Array(rest[end...])
  }
}
