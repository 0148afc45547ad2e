import KVModel
import KVServer

/// What is wrong between values that are each right. Told at the one that was set last; nothing is said about values that
/// could not be read.
extension ConfigurationLoader {
  func contradictions(on host: HostFacts) -> (faults: [Fault], warnings: [Fault]) {
    var found = Findings(loader: self)
    quorums(&found)
    bounds(&found)
    ports(&found)
    reachability(&found)
    seeds(&found)
    dataDirectory(&found, host)
    return (found.faults, found.warnings)
  }

  private struct Findings {
    let loader: ConfigurationLoader
    var faults: [Fault] = []
    var warnings: [Fault] = []

    func canTell(_ paths: [String]) -> Bool { loader.unknown.isDisjoint(with: paths) }

    mutating func fault(_ paths: [String], _ what: String, _ remedy: String) {
      faults.append(make(paths, what, remedy))
    }
    mutating func warning(_ paths: [String], _ what: String, _ remedy: String) {
      warnings.append(make(paths, what, remedy))
    }

    private func make(_ paths: [String], _ what: String, _ remedy: String) -> Fault {
      let last = paths.reduce(paths[0]) { Origin.precedes(loader.origin($0), loader.origin($1)) ? $1 : $0 }
      return Fault(origin: loader.origin(last), path: last, what: what, remedy: remedy)
    }
  }

  private func quorums(_ found: inout Findings) {
    let cluster = configuration.node.cluster
    let n = cluster.replication
    for (path, value) in [("cluster.read_quorum", cluster.readQuorum), ("cluster.write_quorum", cluster.writeQuorum)] {
      guard found.canTell([path, "cluster.replication"]), value > n else { continue }
      found.fault(
        [path, "cluster.replication"], "\(path) \(value) is above cluster.replication \(n): it could never be met",
        "set the quorum to \(n / 2 + 1), or replication to at least \(value)")
    }
    let all = ["cluster.replication", "cluster.read_quorum", "cluster.write_quorum"]
    guard found.canTell(all), cluster.readQuorum <= n, cluster.writeQuorum <= n else { return }
    if cluster.readQuorum + cluster.writeQuorum <= n {
      found.warning(
        all,
        "R \(cluster.readQuorum) + W \(cluster.writeQuorum) is not above N \(n): reads may miss acknowledged writes",
        "let R + W be above N unless that is meant")
    }
  }

  /// Pairs of which the first may not exceed the second.
  private func bounds(_ found: inout Findings) {
    let pairs = [
      ("limits.connections_before_hello", "limits.connections"),
      ("limits.bytes_in_flight_per_connection", "limits.bytes_in_flight_total"),
      ("storage.batch_limit", "storage.unsynced_limit"),
    ]
    for (small, large) in pairs where found.canTell([small, large]) {
      guard let a = SettingTable.setting(small), let b = SettingTable.setting(large),
        case .number(let first) = a.read(configuration), case .number(let second) = b.read(configuration),
        first > second
      else { continue }
      found.fault(
        [small, large], "\(small) \(a.render(configuration)) is above \(large) \(b.render(configuration))",
        "lower the first or raise the second")
    }
  }

  private func ports(_ found: inout Findings) {
    let node = configuration.node
    let listeners = [
      ("listen.client", node.clientListen), ("listen.peer", node.peerListen), ("listen.admin", node.adminListen),
    ]
    for (index, second) in listeners.enumerated() {
      for first in listeners[..<index] where found.canTell([first.0, second.0]) && overlap(first.1, second.1) {
        found.fault(
          [first.0, second.0], "\(first.0) and \(second.0) both listen on port \(second.1.port)",
          "give each a port of its own")
      }
    }
  }

  private func overlap(_ a: Address, _ b: Address) -> Bool {
    let anyHost = IPAddress(a.host)?.isAny == true || IPAddress(b.host)?.isAny == true
    return a.port == b.port && (a.host == b.host || anyHost)
  }

  /// Others cannot connect to 0.0.0.0, so a node that listens there must say where it is.
  private func reachability(_ found: inout Findings) {
    let node = configuration.node
    let pairs = [
      ("listen.client", node.clientListen, "advertise.client", node.clientAdvertise),
      ("listen.peer", node.peerListen, "advertise.peer", node.peerAdvertise),
    ]
    for (listen, address, advertise, advertised) in pairs where found.canTell([listen, advertise]) {
      if advertised == nil, IPAddress(address.host)?.isAny == true {
        found.fault(
          [listen], "it is every address of this machine, and \(advertise) does not say which one others shall use",
          "set \(advertise) to this machine's address and port")
      }
      if let advertised, IPAddress(advertised.host)?.isAny == true {
        found.fault([advertise], "nobody can connect to \(advertised)", "write this machine's address and port")
      }
    }
  }

  /// A node that asks only itself finds nobody, and would wait for ever.
  private func seeds(_ found: inout Findings) {
    let node = configuration.node
    guard !node.seeds.isEmpty, found.canTell(["seeds", "listen.peer", "advertise.peer"]) else { return }
    let own = [node.peerListen, node.peerAdvertise].compactMap(\.self)
    if node.seeds.allSatisfy(own.contains) {
      found.fault(
        ["seeds"], "they point only to this node itself", "name peer addresses of other nodes, or leave seeds out")
    }
  }

  /// The node makes its directory, but not those above: a disk that is not mounted must not be taken for an empty one.
  private func dataDirectory(_ found: inout Findings, _ host: HostFacts) {
    let path = configuration.node.dataDirectory
    guard found.canTell(["node.data"]) else { return }
    let parent = path.split(separator: "/").dropLast().joined(separator: "/")
    let above = path.hasPrefix("/") ? "/" + parent : parent.isEmpty ? "." : parent
    switch host.kind(path) {
    case .directory: break
    case .other: found.fault(["node.data"], "\(path) is no directory", "name a directory")
    case .missing where host.kind(above) != .directory:
      found.fault(
        ["node.data"], "there is no directory \(above) to make it in", "is a disk not mounted? else: mkdir -p \(path)")
    case .missing: break
    }
  }
}
