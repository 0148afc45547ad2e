import KVCore
import KVModel

/// A scenario file: a sentence, then commands and, below each, what they brought about.
///
/// ```
/// # A GET is answered after two equal replies.
/// cluster nodes=3
/// > get k via=n1
/// m1 n1→n2 read k
/// > run
/// m2 n2→n1 has nothing
/// n1 answers c1: absent {}
/// ```
///
/// Lines after a command are its expected trace. `RINGKV_REWRITE=1` writes what happened instead.
struct Scenario {
  private var cluster = ScenarioCluster(nodes: 3, settings: ClusterSettings())
  private var requests: [UInt64: ClientRequest] = [:]
  private var nextRequest: UInt64 = 1

  /// Runs a scenario's text; returns it with the traces that really happened.
  static func replay(_ text: String) throws -> String {
    var scenario = Scenario()
    var output: [String] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("#") || line.isEmpty {
        output.append(String(line))
      } else if line.hasPrefix("> ") || line.hasPrefix("cluster") {
        output.append(String(line))
        try scenario.perform(String(line.hasPrefix("> ") ? line.dropFirst(2) : line))
        output.append(contentsOf: scenario.cluster.lines)
        scenario.cluster.lines = []
      }
    }
    return output.joined(separator: "\n")
  }

  struct Malformed: Error { let line: String }

  private mutating func perform(_ line: String) throws {
    let words = line.split(separator: " ").map(String.init)
    let plain = words.dropFirst().filter { !$0.contains("=") }
    var options: [String: String] = [:]
    for word in words.dropFirst() where word.contains("=") {
      let parts = word.split(separator: "=", maxSplits: 1)
      options[String(parts[0])] = String(parts[1])
    }
    func node(_ text: String?) throws -> Int {
      guard let text, let number = Int(text.dropFirst()), (1...cluster.nodes.count).contains(number) else {
        throw Malformed(line: line)
      }
      return number - 1
    }
    func word(_ place: Int) throws -> String {
      guard plain.count > place else { throw Malformed(line: line) }
      return plain[plain.startIndex + place]
    }
    switch words[0] {
    case "cluster": cluster = makeCluster(options)
    case "get": ask(.get(try key(word(0)), quorum(options["r"])), at: try node(options["via"]), options)
    case "explain": ask(.explain(try key(word(0))), at: try node(options["via"]), options)
    case "put":
      let value = Array(try word(1).utf8)
      let whole = options["bytes"].flatMap(Int.init).map { [UInt8](repeating: value[0], count: $0) } ?? value
      try write(word(0), .put(whole, checksum: Checksum.of(whole)), at: try node(options["via"]), options)
    case "delete": try write(word(0), .delete, at: try node(options["via"]), options)
    case "retry":
      guard let number = UInt64(try word(0).dropFirst()), case .write(var write)? = requests[number] else {
        throw Malformed(line: line)
      }
      write.isRetry = true
      ask(.write(write), at: try node(options["via"]), options)
    case "cancel":
      let number = UInt64(try word(0).dropFirst()) ?? 0
      for index in cluster.nodes.indices {
        cluster.input(.cancel(ClientRef(connection: UInt64(index), request: number)), at: index)
      }
    case "deliver": guard cluster.deliver(try word(0)) else { throw Malformed(line: line) }
    case "duplicate": guard cluster.deliver(try word(0), keeps: true) else { throw Malformed(line: line) }
    case "drop": cluster.flights.removeAll { [name = plain] flight in name.contains(flight.name) }
    case "run": cluster.run()
    case "hold": cluster.nodes[try node(word(0))].holdsSyncs = true
    case "sync":
      cluster.nodes[try node(word(0))].holdsSyncs = false
      cluster.sync(try node(word(0)))
    case "advance": cluster.advance(by: .milliseconds(UInt64(try word(0)) ?? 0))
    case "cut": cluster.setLink(try node(word(0)), try node(word(1)), isUp: false)
    case "heal": cluster.setLink(try node(word(0)), try node(word(1)), isUp: true)
    case "crash": cluster.crash(try node(word(0)))
    case "start": cluster.start(try node(word(0)))
    case "pause": cluster.nodes[try node(word(0))].isPaused = true
    case "resume": cluster.nodes[try node(word(0))].isPaused = false
    case "damage": cluster.nodes[try node(word(0))].damaged.insert(try key(word(1)))
    case "clock": cluster.nodes[try node(word(0))].wallOffsetMs = Int64(try word(1)) ?? 0
    case "show": try show(try key(word(0)))
    default: throw Malformed(line: line)
    }
  }

  private func makeCluster(_ options: [String: String]) -> ScenarioCluster {
    func number(_ name: String, _ fallback: Int) -> Int { options[name].flatMap(Int.init) ?? fallback }
    let settings = ClusterSettings(
      replication: number("n", 3), readQuorum: number("r", 2), writeQuorum: number("w", 2), partitionBits: 8)
    return ScenarioCluster(nodes: number("nodes", 3), settings: settings)
  }

  private func key(_ text: String) throws -> Key { try Key(Array(text.utf8)) }

  private func quorum(_ text: String?) -> Quorum {
    switch text {
    case nil, "quorum": .quorum
    case "all": .all
    case let text?: .owners(UInt8(text) ?? 0)
    }
  }

  private mutating func ask(_ request: ClientRequest, at node: Int, _ options: [String: String]) {
    let number = nextRequest
    nextRequest += 1
    requests[number] = request
    let deadline = cluster.instant.advanced(by: .milliseconds(options["deadline"].flatMap(UInt64.init) ?? 1_000))
    cluster.input(
      .request(request, from: ClientRef(connection: UInt64(node), request: number), deadline: deadline), at: node)
  }

  private mutating func write(
    _ key: String, _ payload: WriteRequest.Payload, at node: Int, _ options: [String: String]
  ) throws {
    var request = WriteRequest(
      key: try self.key(key), quorum: quorum(options["w"]), requestID: RequestID(client: 7, sequence: nextRequest),
      ttlMs: options["ttl"].flatMap(UInt64.init), payload: payload)
    if let name = options["context"], let number = UInt64(name.dropFirst()) {
      switch cluster.answered[number] {
      case .value(let answer)?: request.context = answer.context
      case .written(let receipt)?: request.context = receipt.context
      default: throw Malformed(line: "no context in \(name)")
      }
    }
    ask(.write(request), at: node, options)
  }

  private mutating func show(_ key: Key) throws {
    for (index, node) in cluster.nodes.enumerated() {
      let stored = node.storage.snapshot().records.first { $0.key == key.bytes }?.record ?? .empty
      cluster.lines.append("n\(index + 1): \(Describe.record(stored))")
    }
  }
}
