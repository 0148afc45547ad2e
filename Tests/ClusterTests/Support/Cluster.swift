import KVClient
import KVModel
import Logging
import Synchronization
import Testing

/// Nodes 1, 2, 3 … on loopback, in a directory of their own.
final class Cluster: Sendable {
  struct Options {
    var nodes = 3
    /// Flags of every node.
    var flags: [String] = []
    var underFaultShim = false
    /// The links run through `relay`, which cuts them.
    var isRelayed = false
    /// Nodes compare their copies by themselves; without it a copy that is behind stays so until it is read.
    var exchanges = true
    /// Further settings of every node, by the names of the environment.
    var settings: [String: String] = [:]
    /// `ulimit -n` of every node; nil: as this process has it.
    var descriptors: Int?
    /// Of n1's data directory, which is a file system of its own then, bytes; nil: it is not.
    var tmpfsBytes: Int?
    /// Form a cluster; otherwise the nodes only listen.
    var isFormed = true
  }

  let root: String
  let nodes: [NodeProcess]
  /// Between the nodes, when the options asked for it.
  let relay: LinkRelay?
  /// A file system of its own; root only.
  private let mounted: String?

  private static let count = Atomic<Int>(0)

  private init(_ options: Options) async throws {
    root = "\(Guardian.shared.root)/c\(Cluster.count.add(1, ordering: .relaxed).newValue)"
    try Files.makeDirectory(root)
    let shim = options.underFaultShim ? try await Programs.faultShim() : nil
    relay = options.isRelayed ? try LinkRelay(nodes: options.nodes) : nil
    let setting = NodeProcess.Setting(
      flags: options.flags, shim: shim, relay: relay, exchanges: options.exchanges, settings: options.settings,
      descriptors: options.descriptors)
    nodes = try [Int](1...options.nodes).map { [root] number in
      try NodeProcess(number: number, in: root, setting)
    }
    relay?.start(to: nodes.map(\.peerPort))
    mounted = options.tmpfsBytes == nil ? nil : nodes[0].data
    if let mounted, let bytes = options.tmpfsBytes {
      try Files.makeDirectory(mounted)
      try await Files.run("/bin/mount", "-t", "tmpfs", "-o", "size=\(bytes)", "ringkv-test", mounted)
    }
  }

  /// Node I, from 1.
  subscript(_ number: Int) -> NodeProcess { nodes[number - 1] }

  func endpoints(_ numbers: [Int]) -> String { numbers.map { self[$0].endpoint }.joined(separator: ",") }

  var everyNumber: [Int] { nodes.map(\.number) }

  // MARK: Life

  /// A cluster that serves, for as long as `body` runs. Whatever happens, no process is left.
  static func run<Result>(
    _ options: Options = Options(), isolation: isolated (any Swift.Actor)? = #isolation,
    _ body: (Cluster) async throws -> Result
  ) async throws -> Result {
    let cluster = try await Cluster(options)
    do {
      for node in cluster.nodes { try node.launch() }
      try await cluster.awaitListening()
      if options.isFormed { try await cluster.form() }
      let result = try await body(cluster)
      await cluster.end()
      return result
    } catch {
      await cluster.end()
      throw HarnessError("\(error)\n" + cluster.nodes.map(\.logTail).joined(separator: "\n"))
    }
  }

  private func end() async {
    for node in nodes { await node.end() }
    relay?.end()
    if let mounted { try? await Files.run("/bin/umount", mounted) }
    if Programs.environment["RINGKV_KEEP"] == nil { try? await Files.run("/bin/rm", "-rf", root) }
  }

  func form() async throws {
    let ended = try await kvctl("cluster", "init", "--yes", limit: .seconds(30))
    guard ended.status == 0 else { throw HarnessError("cluster init: \(ended)") }
    try await awaitServing()
  }

  /// SIGKILL to these, at one moment.
  func kill(_ numbers: [Int]) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in numbers { group.addTask { [node = self[number]] in try await node.kill() } }
      try await group.waitForAll()
    }
  }

  /// Starts these, and waits until all that run serve.
  func restart(_ numbers: [Int]) async throws {
    for number in numbers { try self[number].launch() }
    try await awaitServing()
  }

  /// Stops these in order, and flips a bit in the largest table file of each. What a killed node has in its log lies in table
  /// files after its next start.
  func damage(_ numbers: [Int]) async throws {
    for number in numbers {
      try await self[number].kill()
      try await restart([number])
      try await self[number].flipBit()
    }
  }

  // MARK: Waiting

  func awaitListening() async throws {
    for node in nodes where node.isRunning {
      let description = try await node.describe(within: .seconds(20)) { _ in true }
      relay?.learn(description.member.id, of: node.number)
    }
  }

  /// Until each node that runs serves, and has a link to each other one that runs.
  func awaitServing(within limit: Duration = .seconds(20)) async throws {
    let running = nodes.filter(\.isRunning)
    for node in running {
      _ = try await node.describe(within: limit) { description in
        description.state == .serving
          && description.peers.count { $0.health == .up || $0.health == .slow } >= running.count - 1
      }
    }
  }

  // MARK: Clients

  func configuration(_ numbers: [Int]? = nil, deadline: Duration = .seconds(5)) -> KVClientConfiguration {
    var configuration = KVClientConfiguration(endpoints: (numbers ?? everyNumber).map { self[$0].endpoint })
    configuration.deadline = deadline
    return configuration
  }

  /// A client in this process that knows of these nodes (and learns of the others).
  func withClient<Result>(
    _ numbers: [Int]? = nil, deadline: Duration = .seconds(5), isolation: isolated (any Swift.Actor)? = #isolation,
    _ body: (KVClient) async throws -> Result
  ) async throws -> Result {
    let logger = Logger(label: "client") { _ in SwiftLogNoOpLogHandler() }
    return try await withKVClient(configuration(numbers, deadline: deadline), logger: logger) { client in
      try await body(client)
    }
  }
}

extension NodeProcess {
  /// What it says of itself, once that fits.
  func describe(
    within limit: Duration, until fits: (NodeDescription) -> Bool
  ) async throws -> NodeDescription {
    var last: NodeDescription?
    do {
      return try await eventually(within: limit, "n\(number) is as it should be") {
        guard isRunning else { throw HarnessError("n\(number) has ended") }
        guard let connection = try? RawConnection.open(clientPort) else { return nil }
        guard (try? await connection.greet()) != nil else { return nil }
        guard case .described(let description)? = try? await connection.ask(.describe) else { return nil }
        last = description
        return fits(description) ? description : nil
      }
    } catch {
      throw HarnessError("\(error); it said last: \(last.map { "\($0.state), peers \($0.peers)" } ?? "nothing")")
    }
  }
}
