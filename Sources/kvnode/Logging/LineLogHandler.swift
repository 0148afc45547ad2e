import Glibc
import Logging

/// One line an event: `time level event key=value …`, or the same as a JSON object.
struct LineLogHandler: LogHandler {
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  private let label: String
  private let format: LogSettings.Format
  private let sink: LogSink
  private let clock: @Sendable () -> timespec

  init(
    label: String, settings: LogSettings, sink: LogSink, clock: @escaping @Sendable () -> timespec = LineLogHandler.now
  ) {
    self.label = label
    logLevel = settings.level
    format = settings.format
    self.sink = sink
    self.clock = clock
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var all = metadata
    if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
    if let given = event.metadata { all.merge(given) { _, new in new } }
    if let error = event.error { all["error"] = .string(String(describing: error)) }
    let pairs = all.sorted { $0.key < $1.key }
    let time = LineLogHandler.timestamp(clock())
    let line =
      switch format {
      case .text: LineLogHandler.textLine(time, event.level, event.message.description, pairs)
      case .json: LineLogHandler.jsonLine(time, event.level, label, event.message.description, pairs)
      }
    sink.write(line)
  }

  static func now() -> timespec {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time
  }

  /// RFC 3339, UTC, milliseconds.
  static func timestamp(_ time: timespec) -> String {
    var seconds = time.tv_sec
    var parts = tm()
    gmtime_r(&seconds, &parts)
    let year = Int(parts.tm_year) + 1_900
    return "\(year)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T\(two(parts.tm_hour)):\(two(parts.tm_min)):"
      + "\(two(parts.tm_sec)).\(three(time.tv_nsec / 1_000_000))Z"
  }

  private static func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
  private static func three(_ number: Int) -> String { String(1_000 + number).dropFirst().description }
}

// MARK: - The two formats

extension LineLogHandler {
  static func textLine(
    _ time: String, _ level: Logger.Level, _ message: String, _ pairs: [(key: String, value: Logger.MetadataValue)]
  ) -> String {
    var line = "\(time) \(level.rawValue) \(oneLine(message))"
    for (key, value) in pairs { line += " \(key)=\(textValue(value.description))" }
    return line
  }

  /// In quotes when it has a space, a quote, an equals sign or a control character.
  private static func textValue(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3D && $0 != 0x5C && $0 != 0x7F }
    return isPlain && !text.isEmpty ? text : jsonString(text)
  }

  private static func oneLine(_ text: String) -> String {
    if text.utf8.allSatisfy({ $0 >= 0x20 }) { return text }
    return String(jsonString(text).dropFirst().dropLast())
  }

  static func jsonLine(
    _ time: String, _ level: Logger.Level, _ label: String, _ message: String,
    _ pairs: [(key: String, value: Logger.MetadataValue)]
  ) -> String {
    var line = "{\"time\":\"\(time)\",\"level\":\"\(level.rawValue)\",\"logger\":\(jsonString(label))"
    line += ",\"event\":\(jsonString(message))"
    for (key, value) in pairs {
      let isTaken = ["time", "level", "logger", "event"].contains(key)
      line += ",\(jsonString(isTaken ? "_\(key)" : key)):\(jsonValue(value))"
    }
    return line + "}"
  }

  private static func jsonValue(_ value: Logger.MetadataValue) -> String {
    switch value {
    case .string(let text): return jsonString(text)
    case .stringConvertible(let number as any FixedWidthInteger): return number.description
    case .stringConvertible(let flag as Bool): return flag.description
    case .stringConvertible(let other): return jsonString(other.description)
    case .array(let values): return "[" + values.map(jsonValue).joined(separator: ",") + "]"
    case .dictionary(let values):
      let pairs = values.sorted { $0.key < $1.key }
      return "{" + pairs.map { "\(jsonString($0.key)):\(jsonValue($0.value))" }.joined(separator: ",") + "}"
    }
  }

  static func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        result += "\\u00" + (scalar.value < 0x10 ? "0" : "") + String(scalar.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
