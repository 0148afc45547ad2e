import KVModel
import KVServer

/// What `--check-config` prints: every value in force and where it comes from, as a file that can be given back.
enum ConfigurationReport {
  static func text(_ loaded: LoadedConfiguration) -> String {
    var lines: [(text: String, comment: String)] = []
    var section = ""
    for setting in SettingTable.all {
      let words = setting.path.split(separator: ".")
      let isNested = words.count > 1
      let own = isNested ? String(words[0]) : ""
      if own != section, isNested { lines.append(("\(own):", "")) }
      section = own
      lines.append(
        ("\(isNested ? "  " : "")\(setting.key): \(scalar(value(of: setting, loaded)))", origin(of: setting, loaded)))
    }
    let width = lines.map { $0.comment.isEmpty ? 0 : $0.text.count }.max() ?? 0
    return lines.map { line in
      if line.comment.isEmpty { return line.text }
      return line.text + String(repeating: " ", count: max(0, width - line.text.count)) + "  # \(line.comment)"
    }.joined(separator: "\n") + "\n"
  }

  private static func value(of setting: Setting, _ loaded: LoadedConfiguration) -> String {
    let node = loaded.configuration.node
    switch setting.path {
    case "node.host": return node.host ?? node.name
    case "advertise.client": return (node.clientAdvertise ?? node.clientListen).description
    case "advertise.peer": return (node.peerAdvertise ?? node.peerListen).description
    default: return setting.render(loaded.configuration)
    }
  }

  private static func origin(of setting: Setting, _ loaded: LoadedConfiguration) -> String {
    let origin = loaded.origin(setting.path)
    guard let meaning = setting.emptyMeans, origin == .standard else { return origin.description }
    return "default: \(meaning)"
  }

  /// Plain where YAML reads it back as it is, else in double quotes.
  private static func scalar(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || [0x2D, 0x2E, 0x2F, 0x3A, 0x5F].contains(byte)
    }
    let isNull = ["null", "~"].contains(text.lowercased())
    if isPlain, !text.isEmpty, !isNull, text.last != ":", !(text.first == "-" && text.count == 1) { return text }
    let escaped = text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
    return "\"\(escaped)\""
  }
}
