/// Where a setting's value comes from. A later case overrides an earlier one.
enum Origin: Hashable, Sendable, CustomStringConvertible {
  case standard
  case file(String, line: Int)
  /// The name of the variable.
  case environment(String)
  /// The flag, with its dashes.
  case flag(String)

  var description: String {
    switch self {
    case .standard: "default"
    case .file(let name, 0): name
    case .file(let name, let line): "\(name):\(line)"
    case .environment(let variable): variable
    case .flag(let flag): flag
    }
  }

  private var layer: Int {
    switch self {
    case .standard: 0
    case .file: 1
    case .environment: 2
    case .flag: 3
    }
  }

  /// Faults are told, and the culprit of a contradiction is chosen, in this order.
  static func precedes(_ a: Origin, _ b: Origin) -> Bool {
    if case .file(_, let lineA) = a, case .file(_, let lineB) = b { return lineA < lineB }
    return a.layer < b.layer
  }
}

/// One thing that is wrong with the configuration, where it stands, and what to do about it.
struct Fault: Error, Equatable, Sendable, CustomStringConvertible {
  var origin: Origin
  /// The key; nil when the fault is none of a key.
  var path: String?
  var what: String
  var remedy: String

  var description: String { "\(origin): \(path.map { "\($0): " } ?? "")\(what); \(remedy)" }
}

/// Everything that is wrong with the configuration, in the order in which a reader meets it.
struct ConfigurationFaults: Error, Equatable, Sendable {
  let faults: [Fault]

  init(_ faults: [Fault]) {
    self.faults = faults.enumerated().sorted {
      if Origin.precedes($0.element.origin, $1.element.origin) { return true }
      return !Origin.precedes($1.element.origin, $0.element.origin) && $0.offset < $1.offset
    }.map(\.element)
  }
}
