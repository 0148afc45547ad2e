import KVModel
import KVServer

/// What the configuration is made of, the later overriding the earlier: defaults, file, environment, flags.
struct ConfigurationSources: Sendable {
  var file: (name: String, text: String)?
  var environment: [String: String] = [:]
  /// In the order of the command line: the flag with its dashes, and its value.
  var flags: [(flag: String, text: String)] = []
}

/// What the machine says that the configuration depends on.
struct HostFacts: Sendable {
  enum PathKind: Sendable {
    case directory
    case other
    case missing
  }

  var hostName: String
  var kind: @Sendable (_ path: String) -> PathKind
}

/// A configuration without fault, and where each of its values comes from.
struct LoadedConfiguration: Sendable {
  var configuration: Configuration
  /// By path; what is not here is the default.
  var origins: [String: Origin]
  /// What is allowed and hardly meant.
  var warnings: [Fault]

  func origin(_ path: String) -> Origin { origins[path] ?? .standard }
}

/// Reads the layers one over the other and collects every fault of all of them.
struct ConfigurationLoader {
  var configuration = Configuration()
  var origins: [String: Origin] = [:]
  var faults: [Fault] = []
  /// Paths whose value was refused: nothing is concluded from them.
  var unknown: Set<String> = []

  static func load(_ sources: ConfigurationSources, on host: HostFacts) throws(ConfigurationFaults)
    -> LoadedConfiguration
  {
    var loader = ConfigurationLoader()
    if let file = sources.file { loader.readFile(named: file.name, file.text) }
    loader.readEnvironment(sources.environment)
    loader.readFlags(sources.flags)
    loader.complete(from: host)
    let (contradictions, warnings) = loader.contradictions(on: host)
    loader.faults += contradictions
    guard loader.faults.isEmpty else { throw ConfigurationFaults(loader.faults) }
    return LoadedConfiguration(
      configuration: loader.configuration, origins: loader.origins, warnings: ConfigurationFaults(warnings).faults)
  }

  func origin(_ path: String) -> Origin { origins[path] ?? .standard }

  private mutating func readFile(named name: String, _ text: String) {
    let file = ConfigurationFile(name: name, text: text)
    faults += file.faults
    for fault in file.faults { if let path = fault.path { unknown.insert(path) } }
    for entry in file.entries {
      guard let setting = SettingTable.setting(entry.setting) else { continue }
      let origin = Origin.file(name, line: entry.line)
      if entry.text.isEmpty, setting.emptyMeans != nil {
        origins[setting.path] = origin
      } else {
        set(setting, entry.text, origin)
      }
    }
  }

  /// Every variable that begins with KVNODE_ must be one of ours, so that a misspelt one is not passed over.
  private mutating func readEnvironment(_ environment: [String: String]) {
    let byVariable = Dictionary(uniqueKeysWithValues: SettingTable.all.map { ($0.variable, $0) })
    for (variable, text) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix("KVNODE_") {
      if variable == ConfigurationLoader.fileVariable || isKubernetes(variable) { continue }
      if let setting = byVariable[variable] {
        set(setting, text, .environment(variable))
      } else {
        let meant = Likeness.nearest(
          to: variable, among: SettingTable.all.map(\.variable) + [ConfigurationLoader.fileVariable])
        let remedy = meant.map { "did you mean `\($0)`?" } ?? "unset it"
        faults.append(Fault(origin: .environment(variable), path: nil, what: "no such variable", remedy: remedy))
      }
    }
  }

  /// Names the file when `--config` does not.
  static let fileVariable = "KVNODE_CONFIG"

  /// Kubernetes gives these to every container beside a service called `kvnode`.
  private func isKubernetes(_ variable: String) -> Bool {
    variable == "KVNODE_PORT" || variable.hasPrefix("KVNODE_PORT_") || variable.hasPrefix("KVNODE_SERVICE_")
  }

  private mutating func readFlags(_ flags: [(flag: String, text: String)]) {
    for (flag, text) in flags {
      guard let setting = SettingTable.all.first(where: { $0.flag == flag }) else { continue }
      set(setting, text, .flag(flag))
    }
  }

  /// Takes a value over, or keeps why it cannot. An empty one outside the file is most likely an unset shell variable.
  private mutating func set(_ setting: Setting, _ text: String, _ origin: Origin) {
    do throws(Misfit) {
      if text.isEmpty {
        let inFile = if case .file = origin { true } else { false }
        throw Misfit(
          what: "it is empty",
          remedy: inFile ? "write \(setting.shape.bounds)" : "leave it out, or give \(setting.shape.bounds)")
      }
      setting.write(&configuration, try setting.shape.parse(text))
      origins[setting.path] = origin
    } catch {
      faults.append(Fault(origin: origin, path: setting.path, what: error.what, remedy: error.remedy))
      unknown.insert(setting.path)
    }
  }

  private mutating func complete(from host: HostFacts) {
    guard configuration.node.name.isEmpty, !unknown.contains("node.name"),
      let setting = SettingTable.setting("node.name")
    else { return }
    do throws(Misfit) {
      setting.write(&configuration, try setting.shape.parse(host.hostName))
    } catch {
      let what = "it would be the host's name, \(Shape.quoted(host.hostName)): \(error.what)"
      faults.append(
        Fault(origin: origin("node.name"), path: "node.name", what: what, remedy: "name the node by --name"))
    }
  }
}
