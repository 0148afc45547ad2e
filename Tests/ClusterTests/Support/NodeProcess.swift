import Glibc
import KVModel
import Synchronization

/// One kvnode: its places, and its process while there is one.
final class NodeProcess: Sendable {
  /// What every start of the node has.
  struct Setting {
    var flags: [String] = []
    /// The directory of the fault shim; nil: the node runs without.
    var shim: String?
    /// Through which its peers reach it; nil: directly.
    var relay: LinkRelay?
    /// Whether nodes compare their copies by themselves.
    var exchanges = true
    /// Further settings, by the names of the environment.
    var settings: [String: String] = [:]
    /// `ulimit -n`; nil: as this process has it.
    var descriptors: Int?
  }

  let number: Int
  let directory: String
  let clientPort: UInt16
  let peerPort: UInt16
  let adminPort: UInt16
  private let flags: [String]
  private let shim: String?
  /// The port that it advertises to its peers, when that is not its own.
  private let relayPort: UInt16?
  private let exchanges: Bool
  private let settings: [String: String]
  private let descriptors: Int?
  private let child = Mutex<Child?>(nil)
  private let logStart = Mutex(0)

  var data: String { directory + "/data" }
  var endpoint: String { "127.0.0.1:\(clientPort)" }
  private var logPath: String { directory + "/kvnode.log" }

  init(number: Int, in root: String, _ setting: Setting = Setting()) throws {
    self.number = number
    flags = setting.flags
    shim = setting.shim
    exchanges = setting.exchanges
    settings = setting.settings
    descriptors = setting.descriptors
    relayPort = setting.relay?.port(of: number)
    directory = "\(root)/n\(number)"
    try Files.makeDirectory(directory)
    let ports = try Ports.take(3)
    (clientPort, peerPort, adminPort) = (ports[0], ports[1], ports[2])
  }

  // MARK: Life

  /// Starts the process; it need not serve yet when this returns.
  ///
  /// `data`: another node's directory in place of its own.
  func launch(data other: String? = nil) throws {
    guard child.withLock({ $0?.poll() != nil || $0 == nil }) else { throw HarnessError("n\(number) runs already") }
    let log = open(logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard log >= 0 else { throw systemError("open \(logPath)") }
    defer { close(log) }
    let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(null) }
    logStart.withLock { $0 = Int(lseek(log, 0, Int32(SEEK_END))) }
    let limited = descriptors.map { ["-c", "ulimit -n \($0) && exec \"$0\" \"$@\"", Programs.kvnode] }
    let started = try Child.start(
      limited == nil ? Programs.kvnode : "/bin/sh", (limited ?? []) + arguments(data: other ?? data) + flags,
      environment: Programs.environment(adding: environment),
      streams: .init(input: null, output: log, errors: log))
    child.withLock { $0 = started }
    try Guardian.shared.watch(started.pid)
  }

  private func arguments(data: String) -> [String] {
    [
      "--name", "n\(number)", "--data", data, "--client-listen", endpoint,
      "--peer-listen", "127.0.0.1:\(peerPort)", "--admin-listen", "127.0.0.1:\(adminPort)",
    ]
  }

  private var environment: [String: String] {
    let exchanging = exchanges ? [:] : ["KVNODE_REPAIR_EXCHANGE_INTERVAL": "0"]
    return settings.merging(exchanging) { $1 }.merging(shimEnvironment) { $1 }.merging(relayEnvironment) { $1 }
  }

  private var shimEnvironment: [String: String] {
    guard let shim else { return [:] }
    return [
      "LD_PRELOAD": shim + "/faultshim.so", "FAULTSHIM_DIR": data, "FAULTSHIM_STATE": directory + "/shim.state",
      "FAULTSHIM_CONTROL": directory + "/shim.control", "FAULTSHIM_LOG": directory + "/shim.log",
    ]
  }

  private var relayEnvironment: [String: String] {
    guard let relayPort else { return [:] }
    return ["KVNODE_ADVERTISE_PEER": "127.0.0.1:\(relayPort)"]
  }

  var isRunning: Bool { child.withLock { $0 != nil && $0?.poll() == nil } }

  private func current() throws -> Child {
    guard let child = child.withLock({ $0 }) else { throw HarnessError("n\(number) was never started") }
    return child
  }

  /// SIGKILL, and waits until the process is gone and its files and ports are free.
  func kill() async throws {
    let child = try current()
    child.send(SIGKILL)
    let end = try await child.ended(within: .seconds(5), "n\(number) after SIGKILL")
    guard end == .signalled(SIGKILL) else { throw HarnessError("n\(number) had ended before: \(end)\n\(logTail)") }
  }

  /// SIGTERM; how it ended, and how long that took.
  @discardableResult
  func terminate(within limit: Duration = .seconds(8)) async throws -> (end: Child.End, after: Duration) {
    let child = try current()
    let begin = ContinuousClock.now
    child.send(SIGTERM)
    let end = try await child.ended(within: limit, "n\(number) after SIGTERM")
    return (end, begin.duration(to: .now))
  }

  /// Stops the node, and flips a bit in its largest table file.
  func flipBit() async throws {
    let (end, _) = try await terminate()
    guard end == .exited(0) else { throw HarnessError("n\(number) did not stop in order: \(end)") }
    let names = data + ".tables"
    try await Files.run("/bin/sh", "-c", "ls -S \(data)/shard-0/*.sst > \(names)")
    guard let table = try Files.text(names).split(separator: "\n").first.map(String.init) else {
      throw HarnessError("n\(number) has no table file")
    }
    var bytes = try Files.read(table)
    bytes[bytes.count / 3] ^= 1
    try Files.write(bytes, to: table)
  }

  /// How it ended by itself.
  func ended(within limit: Duration) async throws -> Child.End {
    try await current().ended(within: limit, "n\(number)")
  }

  /// SIGSTOP, and waits until the kernel has stopped it.
  func pause() async throws {
    let child = try current()
    child.send(SIGSTOP)
    _ = try await eventually(within: .seconds(2), "n\(number) is stopped", every: .milliseconds(1)) {
      child.state == "T" ? true : nil
    }
  }

  func resume() throws { try current().send(SIGCONT) }

  /// Whatever state it is in: gone when this returns. Never throws: it is what cleaning up does.
  func end() async {
    guard let child = child.withLock({ $0 }), child.poll() == nil else { return }
    child.send(SIGKILL)
    _ = try? await child.ended(within: .seconds(10), "n\(number)")
  }

  var pid: pid_t { get throws { try current().pid } }

  var residentBytes: Int { get throws { try current().residentBytes ?? 0 } }

  /// The status of an HTTP request to the admin port, and its body.
  func admin(_ path: String) async throws -> (status: String, body: String) {
    let connection = try RawConnection.open(adminPort)
    try connection.send(Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
    guard let answer = try await connection.readToEnd(within: .seconds(5)) else {
      throw HarnessError("n\(number)'s admin port does not close")
    }
    let parts = String(decoding: answer, as: UTF8.self).split(separator: "\r\n", maxSplits: 1)
    return (String(parts.first?.split(separator: " ").dropFirst().first ?? ""), String(parts.last ?? ""))
  }

  // MARK: Log

  var log: String { (try? Files.text(logPath)) ?? "" }

  /// Of the last start.
  var logSinceStart: String { String(decoding: log.utf8.dropFirst(logStart.withLock { $0 }), as: UTF8.self) }

  var logTail: String { log.split(separator: "\n").suffix(12).map { "  n\(number): \($0)" }.joined(separator: "\n") }

  /// The epoch that the last start wrote into its log.
  var loggedEpoch: Int? {
    let log = logSinceStart
    guard let line = log.split(separator: "\n").first(where: { $0.contains("listening") }) else { return nil }
    guard let field = line.firstRange(of: "epoch=") else { return nil }
    return Int(line[field.upperBound...].drop { $0 == "\"" }.prefix { $0.isNumber })
  }

  // MARK: Faults

  /// Replaces the shim's rules.
  func rules(_ rules: String...) throws {
    let path = directory + "/shim.control"
    try Files.write(Array(rules.joined(separator: "\n").utf8), to: path + ".new")
    guard rename(path + ".new", path) == 0 else { throw systemError("rename") }
  }

  var shimLog: String { (try? Files.text(directory + "/shim.log")) ?? "" }

  /// A power cut, of a node that was killed: each of its files loses what was not synced.
  ///
  /// `names`: and a file whose directory was not synced since it was made goes altogether.
  func cut(names: Bool = false) async throws {
    guard let shim else { throw HarnessError("n\(number) runs without the shim") }
    try await Files.run(shim + "/faultshim-cut", (names ? ["--names"] : []) + [directory + "/shim.state"])
  }

  /// A copy of the data directory of a stopped node, to be put back by `restore`.
  func takeImage() async throws { try await Files.run("/bin/cp", "-a", data, data + ".image") }

  func restoreImage() async throws {
    try await Files.run("/bin/rm", "-rf", data)
    try await Files.run("/bin/cp", "-a", data + ".image", data)
  }

  func wipe() async throws {
    try await Files.run("/bin/rm", "-rf", data, directory + "/shim.state")
  }
}
