import KVModel
import KVServer

/// One key of the configuration: all that the parser, the flags, the environment, `--check-config` and the tests of the
/// shipped file know about it.
struct Setting: Sendable {
  /// Its place in the file, as `limits.connections`.
  let path: String
  let shape: Shape
  /// What it is for, and why its default is what it is: one line.
  let reason: String
  /// With dashes; nil when only the file and the environment have it.
  let flag: String?
  /// What `""` in the file stands for; nil when a value is needed.
  let emptyMeans: String?
  /// nil: nothing is set, which stands for `emptyMeans`.
  let read: @Sendable (Configuration) -> Value?
  let write: @Sendable (inout Configuration, Value) -> Void

  /// KVNODE_ and the flag's words, or else the path's.
  var variable: String {
    let words = flag.map { $0.drop { $0 == "-" } } ?? path[...]
    return "KVNODE_" + String(words.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
  }

  /// The key without its sections.
  var key: Substring { path.split(separator: ".").last ?? "" }

  func render(_ configuration: Configuration) -> String { read(configuration).map(shape.render) ?? "" }

  var standard: String { render(Configuration()) }
}

// MARK: - Rows of the table

extension Setting {
  typealias Place<T> = any WritableKeyPath<Configuration, T> & Sendable

  static func text(
    _ path: String, _ place: Place<String>, _ shape: Shape, _ reason: String, flag: String? = nil,
    emptyMeans: String? = nil
  ) -> Setting {
    Setting(
      path: path, shape: shape, reason: reason, flag: flag, emptyMeans: emptyMeans,
      read: { $0[keyPath: place].isEmpty ? nil : .text($0[keyPath: place]) },
      write: { if case .text(let text) = $1 { $0[keyPath: place] = text } })
  }

  static func optionalText(
    _ path: String, _ place: Place<String?>, _ shape: Shape, _ reason: String, flag: String? = nil, emptyMeans: String
  ) -> Setting {
    Setting(
      path: path, shape: shape, reason: reason, flag: flag, emptyMeans: emptyMeans,
      read: { $0[keyPath: place].map(Value.text) },
      write: { if case .text(let text) = $1 { $0[keyPath: place] = text } })
  }

  static func number<T: BinaryInteger & SendableMetatype>(
    _ path: String, _ place: Place<T>, _ shape: Shape, _ reason: String, flag: String? = nil
  ) -> Setting {
    Setting(
      path: path, shape: shape, reason: reason, flag: flag, emptyMeans: nil,
      read: { .number(Int($0[keyPath: place])) },
      write: { if case .number(let number) = $1 { $0[keyPath: place] = T(number) } })
  }

  /// A whole number kept as a floating one.
  static func real(_ path: String, _ place: Place<Double>, _ shape: Shape, _ reason: String) -> Setting {
    Setting(
      path: path, shape: shape, reason: reason, flag: nil, emptyMeans: nil,
      read: { .number(Int($0[keyPath: place])) },
      write: { if case .number(let number) = $1 { $0[keyPath: place] = Double(number) } })
  }

  /// Written as a power of two, kept as its logarithm.
  static func power(_ path: String, _ place: Place<Int>, _ range: ClosedRange<Int>, _ reason: String) -> Setting {
    Setting(
      path: path, shape: .powerOfTwo(range), reason: reason, flag: nil, emptyMeans: nil,
      read: { .number(1 << $0[keyPath: place]) },
      write: { if case .number(let number) = $1 { $0[keyPath: place] = number.trailingZeroBitCount } })
  }

  static func choice<T: RawRepresentable<String> & CaseIterable & Sendable>(
    _ path: String, _ place: Place<T>, _ reason: String, flag: String? = nil
  ) -> Setting {
    Setting(
      path: path, shape: .choice(T.allCases.map(\.rawValue)), reason: reason, flag: flag, emptyMeans: nil,
      read: { .text($0[keyPath: place].rawValue) },
      write: { if case .text(let word) = $1, let value = T(rawValue: word) { $0[keyPath: place] = value } })
  }

  /// Written as yes or no.
  static func yesOrNo(_ path: String, _ place: Place<Bool>, _ reason: String) -> Setting {
    Setting(
      path: path, shape: .choice(["no", "yes"]), reason: reason, flag: nil, emptyMeans: nil,
      read: { .text($0[keyPath: place] ? "yes" : "no") },
      write: { $0[keyPath: place] = $1 == .text("yes") })
  }

  static func listen(_ path: String, _ place: Place<Address>, _ reason: String, flag: String) -> Setting {
    Setting(
      path: path, shape: .address(numeric: true), reason: reason, flag: flag, emptyMeans: nil,
      read: { .text($0[keyPath: place].description) },
      write: { if case .text(let text) = $1, let address = Address(text) { $0[keyPath: place] = address } })
  }

  static func addresses(
    _ path: String, _ place: Place<[Address]>, most: Int, _ reason: String, flag: String, emptyMeans: String
  ) -> Setting {
    Setting(
      path: path, shape: .addresses(most: most), reason: reason, flag: flag, emptyMeans: emptyMeans,
      read: { configuration in
        let addresses = configuration[keyPath: place]
        return addresses.isEmpty ? nil : .text(addresses.map(\.description).joined(separator: ","))
      },
      write: {
        if case .text(let text) = $1 {
          $0[keyPath: place] = text.split(separator: ",").compactMap { Address(String($0)) }
        }
      })
  }

  static func advertise(_ path: String, _ place: Place<Address?>, _ reason: String, emptyMeans: String) -> Setting {
    Setting(
      path: path, shape: .address(numeric: false), reason: reason, flag: nil, emptyMeans: emptyMeans,
      read: { $0[keyPath: place].map { .text($0.description) } },
      write: { if case .text(let text) = $1 { $0[keyPath: place] = Address(text) } })
  }
}
