import Glibc
import KVServer
import Logging

@testable import kvnode

/// A machine called `testhost` on which every directory exists but those below /missing.
let testHost = HostFacts(hostName: "testhost") { $0.hasPrefix("/missing") ? .missing : .directory }

/// What came of the layers: the configuration, or every fault as it is printed.
func load(
  _ text: String? = nil, environment: [String: String] = [:], flags: [(flag: String, text: String)] = [],
  on host: HostFacts = testHost
) -> Result<LoadedConfiguration, ConfigurationFaults> {
  let file = text.map { (name: "kvnode.yaml", text: $0) }
  let sources = ConfigurationSources(file: file, environment: environment, flags: flags)
  return Result { () throws(ConfigurationFaults) in try ConfigurationLoader.load(sources, on: host) }
}

extension Result<LoadedConfiguration, ConfigurationFaults> {
  /// As they are printed; empty when there are none.
  var faults: [String] {
    switch self {
    case .success: []
    case .failure(let found): found.faults.map(\.description)
    }
  }

  /// `line: path` of each fault, where both are known.
  var places: [String] {
    switch self {
    case .success: []
    case .failure(let found): found.faults.map { "\($0.origin): \($0.path ?? "-")" }
    }
  }
}

/// A file of this package, from its root.
func packageFile(_ path: String, from here: StaticString = #filePath) -> String? {
  let root = "\(here)".split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
  guard let file = fopen("\(root)/\(path)", "r") else { return nil }
  defer { fclose(file) }
  var bytes = [UInt8](repeating: 0, count: 1 << 20)
  let count = fread(&bytes, 1, bytes.count, file)
  return String(validating: bytes[..<count], as: UTF8.self)
}
