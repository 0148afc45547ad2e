import ArgumentParser
import KVClient
import KVModel

/// A duration as people write it.
struct DurationArgument: Equatable, CustomStringConvertible {
  var duration: Duration
  init(_ duration: Duration) { self.duration = duration }

  init(reading text: String) throws {
    guard let duration = Amounts.duration(text) else {
      throw ValidationError("a duration is a number and its unit, such as 500ms, 2s or 1h")
    }
    self.duration = duration
  }

  var description: String { Units.span(ms: UInt64(max(0, duration / .milliseconds(1)))) }
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case table
  case json
  case jsonl
}

/// The flags that every verb takes.
struct GlobalOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "Nodes to talk to, host:port,… (default: $KVCTL_ENDPOINTS, else 127.0.0.1:7420).", valueName: "host:port,…"))
  var endpoints: String?

  @Option(
    name: .long, help: ArgumentHelp("The most that one call takes, such as 500ms or 2s.", valueName: "duration"),
    transform: DurationArgument.init(reading:))
  var timeout = DurationArgument(.seconds(10))

  @Option(
    name: .shortAndLong,
    help: "table for people; json: one document; jsonl: one row of its data a line.")
  var output: OutputFormat = .table

  @Option(
    name: .long,
    help: ArgumentHelp("status and top: show it anew so often, until interrupted.", valueName: "duration"),
    transform: DurationArgument.init(reading:))
  var watch: DurationArgument?

  @Flag(name: .long, help: "The same as -o json.")
  var json = false

  @Flag(name: .long, help: "No colours, on a terminal either.")
  var noColor = false

  @Flag(name: .long, help: "Answer every question with yes.")
  var yes = false

  var format: OutputFormat { json ? .json : output }

  /// The endpoints in force, in their order, each once.
  func addresses(environment: [String: String]) throws(CommandFailure) -> [Address] {
    let source = endpoints.map { ($0, "--endpoints") } ?? environment["KVCTL_ENDPOINTS"].map { ($0, "KVCTL_ENDPOINTS") }
    let (text, name) = source ?? ("127.0.0.1:7420", "--endpoints")
    var addresses: [Address] = []
    for part in text.split(separator: ",") {
      let trimmed = part.drop { $0 == " " }
      guard let address = Address(String(trimmed)) else {
        throw .usage("\(name): \"\(trimmed)\" is not host:port, such as 10.0.0.1:7420 or [::1]:7420")
      }
      if !addresses.contains(address) { addresses.append(address) }
    }
    guard !addresses.isEmpty else { throw .usage("\(name) names no node; give host:port,…") }
    return addresses
  }

  func checkTimeout() throws(CommandFailure) {
    guard timeout.duration > .zero else { throw .usage("--timeout is not above zero; give for example 10s") }
  }
}

/// A key on the command line.
struct KeyArguments: ParsableArguments {
  @Argument(help: "The key: 1 to 256 bytes.")
  var key: String

  @Option(name: .long, help: "The sort key under it.")
  var sortKey: String = ""

  /// Checked here, so that nothing is connected for a key that no node takes.
  func kvKey() throws(CommandFailure) -> KVKey {
    _ = try model()
    return KVKey(key, sortKey: sortKey)
  }

  func model() throws(CommandFailure) -> Key {
    do { return try KVKey(key, sortKey: sortKey).model() } catch { throw CommandFailure(error) }
  }
}

/// How many owners a call waits for: `--consistency`, or a number under the verb's own letter.
enum Consistency {
  static func of(
    _ word: String?, count: Int?, flag: String
  ) throws(CommandFailure) -> KVConsistency {
    if word != nil, count != nil { throw .usage("give --consistency or \(flag), not both") }
    if let count {
      guard Limits.replication.contains(count) else {
        throw .usage("\(flag) \(count): give 1 up to the number of copies that the cluster keeps")
      }
      return .owners(count)
    }
    switch word {
    case nil, "quorum": return .quorum
    case "one": return .one
    case "all": return .all
    case let other?: throw .usage("--consistency \(other) is unknown; give one, quorum or all")
    }
  }
}
