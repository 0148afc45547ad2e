import Yams

/// A configuration file's keys and values with their lines, and what is wrong with its form. Whether the values fit is
/// not decided here.
struct ConfigurationFile {
  struct Entry: Equatable {
    let setting: String
    let text: String
    let line: Int
  }

  private(set) var entries: [Entry] = []
  private(set) var faults: [Fault] = []
  private let name: String
  /// Where each key was first met.
  private var firstLines: [String: Int] = [:]

  /// More than any file that a person writes.
  static let bytesMax = 1 << 20
  /// Nothing that is repeated more often is told apart.
  private static let repetitionsMax = 100
  /// Stands before a key that was given twice, so that Yams, which refuses those, reads on. In no valid key.
  private static let mark = "\u{E000}"

  init(name: String, text: String) {
    self.name = name
    guard text.utf8.count <= ConfigurationFile.bytesMax else {
      add(0, nil, "it is larger than 1 MiB", "is it the right file?")
      return
    }
    compose(text)
  }

  /// Yams stops at the first mapping with a repeated key and names the place of its first use: mark that one and read again.
  private mutating func compose(_ original: String) {
    var text = original
    for repetition in 0...ConfigurationFile.repetitionsMax {
      do {
        guard let root = try Yams.compose(yaml: text, .default, .default, .utf8) else { return }
        return read(root)
      } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
        let marked = ConfigurationFile.marking(
          text, line: context.mark.line, column: context.mark.column, with: repetition)
        guard repetition < ConfigurationFile.repetitionsMax, let marked else {
          add(context.mark.line, nil, "\(keys.joined(separator: ", ")): given more than once", "keep one")
          return
        }
        text = marked
      } catch {
        return addSyntax(error)
      }
    }
  }

  private static func marking(_ text: String, line: Int, column: Int, with number: Int) -> String? {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    guard lines.indices.contains(line - 1) else { return nil }
    let scalars = lines[line - 1].unicodeScalars
    guard let at = scalars.index(scalars.startIndex, offsetBy: column - 1, limitedBy: scalars.endIndex),
      at < scalars.endIndex
    else { return nil }
    let start = ["\"", "'"].contains(scalars[at]) ? scalars.index(after: at) : at
    lines[line - 1].insert(contentsOf: "\(mark)\(number)\(mark)", at: start)
    return lines.joined(separator: "\n")
  }

  private mutating func read(_ root: Node) {
    if root.scalar.map(ConfigurationFile.isNull) == true { return }
    guard case .mapping(let mapping) = root else {
      add(root.mark?.line ?? 1, nil, "it is no mapping of keys to values", "write it as Config/kvnode.yaml is written")
      return
    }
    for (key, value) in mapping { readPair(key, value, in: "") }
  }

  private mutating func readPair(_ key: Node, _ value: Node, in section: String) {
    let line = key.mark?.line ?? 0
    guard let written = key.scalar?.string else {
      return add(line, section.isEmpty ? nil : section, "a key is no word", "write key: value")
    }
    let path = section + (section.isEmpty ? "" : ".") + (written.split(separator: ConfigurationFile.mark).last ?? "")
    if let first = firstLines[path] {
      add(line, path, "it is given twice, first in line \(first)", "keep one of them")
    } else {
      firstLines[path] = line
    }
    if SettingTable.setting(path) != nil {
      readValue(value, of: path, line: line)
    } else if section.isEmpty, SettingTable.sections.contains(path) {
      readSection(value, path, line: line)
    } else {
      addUnknown(path, line: line)
    }
  }

  private mutating func readSection(_ value: Node, _ path: String, line: Int) {
    switch value {
    case .mapping(let mapping): for (key, value) in mapping { readPair(key, value, in: path) }
    case .scalar(let scalar) where ConfigurationFile.isNull(scalar): break
    case .scalar, .sequence, .alias:
      add(line, path, "it is a section, not a value", "write its keys below it, indented")
    }
  }

  private mutating func readValue(_ value: Node, of path: String, line: Int) {
    switch value {
    case .scalar(let scalar) where !ConfigurationFile.isNull(scalar):
      entries.append(Entry(setting: path, text: scalar.string, line: line))
    case .scalar:
      let standard = SettingTable.setting(path)?.standard ?? ""
      add(
        line, path, "it has no value",
        "write one, or leave the key out for the default, \(standard.isEmpty ? "\"\"" : standard)")
    case .sequence(let sequence) where ConfigurationFile.takesList(path) && sequence.allSatisfy({ $0.scalar != nil }):
      let words = sequence.compactMap(\.scalar?.string)
      entries.append(Entry(setting: path, text: words.joined(separator: ","), line: line))
    case .mapping, .sequence, .alias:
      add(line, path, "it takes a single value", "write \(path.split(separator: ".").last ?? ""): value")
    }
  }

  private static func takesList(_ path: String) -> Bool {
    if case .addresses? = SettingTable.setting(path)?.shape { true } else { false }
  }

  private static func isNull(_ scalar: Node.Scalar) -> Bool {
    scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
  }
}

// MARK: - Faults

extension ConfigurationFile {
  private mutating func add(_ line: Int, _ path: String?, _ what: String, _ remedy: String) {
    faults.append(Fault(origin: .file(name, line: line), path: path, what: what, remedy: remedy))
  }

  private mutating func addUnknown(_ path: String, line: Int) {
    let shown = Shape.quoted(path).dropFirst().dropLast()
    let remedy = ConfigurationFile.meant(by: path).map { "did you mean `\($0)`?" } ?? "remove it"
    add(line, String(shown), "no such key", remedy)
  }

  /// The same key in another section, else what is spelt alike as a whole, else a key that is spelt alike.
  static func meant(by path: String) -> String? {
    let key = path.split(separator: ".").last ?? ""
    if let moved = SettingTable.all.first(where: { $0.key == key }) { return moved.path }
    let paths = SettingTable.all.map(\.path) + SettingTable.sections
    if let alike = Likeness.nearest(to: path, among: paths) { return alike }
    let keys = SettingTable.all.map { String($0.key) }
    guard let alike = Likeness.nearest(to: String(key), among: keys) else { return nil }
    return SettingTable.all.first { $0.key == alike }?.path
  }

  private mutating func addSyntax(_ error: any Error) {
    let remedy = "mend this first: what follows it could not be read"
    switch error {
    case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
      YamlError.composer(_, let problem, let mark, _):
      add(mark.line, nil, "it is no YAML: \(problem)", remedy)
    case YamlError.reader(let problem, _, _, _): add(0, nil, "it is no YAML: \(problem)", remedy)
    default: add(0, nil, "it is no YAML", remedy)
    }
  }
}
