extension SimulationOptions {
  /// Why an option was not set.
  public struct SetFault: Error, Equatable, CustomStringConvertible {
    public var description: String
  }

  /// Options that can be set instead of drawn, with what they take: what `kvsim --set` knows.
  public static let settable: [(name: String, takes: String)] = [
    ("nodes", "3 to 7"), ("copies", "1 to the nodes"), ("read-quorum", "1 to the copies"),
    ("write-quorum", "1 to the copies"), ("clients", "1 or more"), ("operations", "1 or more"), ("keys", "1 or more"),
    ("faults", "kinds, or none"), ("fault-interval", "milliseconds in the mean"), ("keep", "places of faults, or none"),
    ("loss", "of ten thousand messages"),
    ("duplicates", "of ten thousand messages"), ("clogged", "of ten thousand messages"),
    ("clock-offset", "milliseconds"), ("slow-reads", "of a million"), ("read-errors", "of a million slow reads"),
    ("lost", "of ten thousand requests"),
    ("retries", "of a hundred"), ("weak-reads", "of a hundred"),
    ("cancels", "of a hundred"), ("strays", "of a hundred"), ("shards", "1 to 8, of all"),
    ("exchange-interval", "milliseconds, 0 = never"), ("hints", "keys of each shard, or none"),
    ("sweep-interval", "milliseconds, 0 = never"), ("sweep-margin", "milliseconds"), ("ttl", "milliseconds at most"),
    ("deletes", "weight of deletes, with a context and without"),
    ("expiring", "weight of puts that expire, and of reads when they do"),
    ("scrub", "bytes a second, 0 = never"), ("pulls", "bytes a second, 0 = no limit"),
  ]

  /// Sets one option, as `--set name=value` does.
  public mutating func set(_ name: String, _ value: String) throws(SetFault) {
    switch name {
    case "faults": faults = try kinds(value)
    case "fault-interval": faultInterval = UInt64(try whole(value, 1, 60_000, name)) * 1_000_000
    case "keep": keptFaults = try places(value)
    case "nodes": setNodes(try whole(value, 1, 16, name))
    case "copies": copies = try whole(value, 1, nodes, name)
    case "read-quorum": readQuorum = try whole(value, 1, copies, name)
    case "write-quorum": writeQuorum = try whole(value, 1, copies, name)
    case "clients": workload.clients = try whole(value, 1, 1_000, name)
    case "operations": workload.operations = try whole(value, 1, 10_000_000, name)
    case "keys": workload.keys = try whole(value, 1, 100_000, name)
    case "loss": network.loss = UInt64(try whole(value, 0, 10_000, name))
    case "duplicates": network.duplication = UInt64(try whole(value, 0, 10_000, name))
    case "clogged": network.clogged = UInt64(try whole(value, 0, 10_000, name))
    case "clock-offset": clocks.offsetMs = UInt64(try whole(value, 0, 1_000_000, name))
    case "slow-reads": disks.slowRead = UInt64(try whole(value, 0, 1_000_000, name))
    case "read-errors": disks.readError = UInt64(try whole(value, 0, 1_000_000, name))
    case "lost": workload.lost = UInt64(try whole(value, 0, 10_000, name))
    case "retries": workload.retries = UInt64(try whole(value, 0, 100, name))
    case "weak-reads": workload.weakReads = UInt64(try whole(value, 0, 100, name))
    case "cancels": workload.cancels = UInt64(try whole(value, 0, 100, name))
    case "strays": workload.strayRequests = UInt64(try whole(value, 0, 100, name))
    case "shards":
      let count = try whole(value, 1, 8, name)
      shards = shards.map { _ in count }
    case "exchange-interval": exchangeInterval = UInt64(try whole(value, 0, 60_000, name)) * 1_000_000
    case "scrub": scrubBytesPerSecond = UInt64(try whole(value, 0, 1_000_000_000, name))
    case "pulls": pullBytesPerSecond = UInt64(try whole(value, 0, 1_000_000_000, name))
    case "hints": hintKeysMax = value == "none" ? nil : try whole(value, 0, 1_000_000, name)
    case "sweep-interval": sweeps.intervalMs = UInt64(try whole(value, 0, 60_000, name))
    case "sweep-margin": sweeps.marginMs = UInt64(try whole(value, 0, 3_600_000, name))
    case "ttl": workload.ttlMsMax = UInt64(try whole(value, 1, 3_600_000, name))
    case "deletes":
      let weight = UInt64(try whole(value, 0, 1_000, name))
      workload.weights[.delete] = weight
      workload.weights[.deleteContext] = weight
    case "expiring":
      let weight = UInt64(try whole(value, 0, 1_000, name))
      workload.weights[.putExpiring] = weight
      workload.weights[.getAtExpiry] = weight
    default:
      let names = SimulationOptions.settable.map(\.name).joined(separator: ", ")
      throw SetFault(description: "there is no option \(name); there are: \(names)")
    }
  }

  /// Quorums that no longer fit fall back to majorities.
  private mutating func setNodes(_ count: Int) {
    nodes = count
    shards = (0..<count).map { $0 < shards.count ? shards[$0] : shards[0] }
    guard copies > count else { return }
    copies = count
    readQuorum = count / 2 + 1
    writeQuorum = count / 2 + 1
  }

  private func whole(_ text: some StringProtocol, _ least: Int, _ most: Int, _ name: String) throws(SetFault) -> Int {
    guard let number = Int(text), least <= number, number <= most else {
      throw SetFault(description: "\(name) is \(text); it must be a number from \(least) to \(most)")
    }
    return number
  }

  private func places(_ text: String) throws(SetFault) -> [Int] {
    var places: [Int] = []
    for word in text.split(separator: ",") where word != "none" { places.append(try whole(word, 0, .max, "keep")) }
    return places
  }

  private func kinds(_ text: String) throws(SetFault) -> Set<Fault.Kind> {
    var kinds: Set<Fault.Kind> = []
    for word in text.split(separator: ",") where word != "none" {
      guard let kind = Fault.Kind(rawValue: String(word)) else {
        let all = Fault.Kind.allCases.map(\.rawValue).joined(separator: ", ")
        throw SetFault(description: "there is no fault \(word); there are: \(all)")
      }
      kinds.insert(kind)
    }
    return kinds
  }
}
