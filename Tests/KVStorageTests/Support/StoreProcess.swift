import Glibc
import KVCore
import KVModel
import Testing

@testable import KVStorage
@testable import StorageDriver

/// A StorageDriver under the fault shim, with its directory. It is started, killed, cut and started again.
final class StoreProcess {
  let base = TemporaryDirectory()
  /// Arguments for the driver: durability, plants.
  private let wishes: [String]
  private var generation: UInt64 = 0
  private var running: (pid: pid_t, pipe: Int32)?

  var data: String { base.path + "/data" }

  init(_ wishes: [String]) { self.wishes = wishes }

  deinit { kill() }

  // MARK: Life

  /// Opens the store; what it says when it is refused.
  func start() -> String? {
    invariant(running == nil, "a driver runs already")
    generation += 1
    running = Self.spawn(
      Programs.driver, [data, "\(generation)"] + wishes,
      environment: [
        "LD_PRELOAD=" + Programs.faultShim + "/faultshim.so", "FAULTSHIM_DIR=" + data,
        "FAULTSHIM_STATE=" + base.path + "/state", "FAULTSHIM_CONTROL=" + base.path + "/control",
        "FAULTSHIM_LOG=" + base.path + "/log",
      ])
    switch answer() {
    case .ready: return nil
    case .refused(let text):
      kill()
      return text
    default:
      kill()
      return "the driver died"
    }
  }

  /// SIGKILL; the process is gone when this returns.
  func kill() {
    guard let (pid, pipe) = running else { return }
    running = nil
    Glibc.kill(pid, SIGKILL)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    close(pipe)
  }

  /// What the store answers; nil when its process is no more.
  func call(_ call: Call) -> Answer? {
    guard let pipe = running?.pipe, Frames.write(call.encoded, to: pipe) else { return nil }
    return answer()
  }

  private func answer() -> Answer? {
    guard let pipe = running?.pipe, let bytes = Frames.read(pipe) else { return nil }
    return try? bytes.decode { (bytes) throws(DecodeError) in
      var reader = ByteReader(bytes)
      return try Answer(from: &reader)
    }
  }

  /// Both ends of the child are one socket; nothing of it is inherited by another child. An answer that takes a minute
  /// is none.
  private static func spawn(_ program: String, _ arguments: [String], environment: [String]) -> (pid_t, Int32) {
    var ends: [Int32] = [0, 0]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    invariant(socketpair(AF_UNIX, kind, 0, &ends) == 0, "no socket pair: \(errno)")
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    defer { close(ends[1]) }
    return (Programs.spawn(program, arguments, environment: environment, input: ends[1], output: ends[1]), ends[0])
  }

  // MARK: Faults

  /// Replaces the shim's rules.
  func rules(_ rules: String...) {
    TemporaryDirectory.overwrite(base.path + "/control.new", Array(rules.joined(separator: "\n").utf8))
    rename(base.path + "/control.new", base.path + "/control")
  }

  /// Faults so far: rule, call and path.
  var faults: [(rule: String, path: String)] {
    let log = (try? FileSystem.read(base.path + "/log", bytesMax: 1 << 26)) ?? []
    return String(decoding: log, as: UTF8.self).split(separator: "\n").map { line in
      let words = line.split(separator: " ")
      return (String(words[2]), String(words[4]))
    }
  }

  /// A power cut after the kill: each file loses what was not synced.
  func cut(names: Bool = false) {
    let options = names ? ["--names"] : []
    let code = Programs.run(Programs.faultShim + "/faultshim-cut", options + [base.path + "/state"])
    invariant(code == 0, "faultshim-cut ended with \(code)")
  }

  /// A power cut that took the end of what the newest log had not synced: a torn record, as often as not.
  func tear(_ random: inout PRNG) {
    guard let log = TemporaryDirectory.names(in: data).last(where: { $0.hasSuffix(".log") }) else { return }
    let whole = (try? FileSystem.read(data + "/" + log, bytesMax: 1 << 26)) ?? []
    cut()
    let synced = ((try? FileSystem.read(data + "/" + log, bytesMax: 1 << 26)) ?? []).count
    guard whole.count > synced else { return }
    TemporaryDirectory.overwrite(data + "/" + log, Array(whole.prefix(synced + random.index(whole.count - synced))))
  }
}

/// The programs that tests start.
enum Programs {
  /// `$RINGKV_BIN`, which Scripts/test.sh sets, else the directory of this test bundle.
  private static let directory: String = {
    if let given = getenv("RINGKV_BIN") { return String(cString: given) }
    guard let path = realpath("/proc/self/exe", nil) else { fatalError("no /proc/self/exe") }
    defer { free(path) }
    return "/" + String(cString: path).split(separator: "/").dropLast().joined(separator: "/")
  }()

  static let driver = directory + "/StorageDriver"

  /// The directory with faultshim.so and faultshim-cut; made when `$RINGKV_FAULTSHIM` does not name it.
  static let faultShim: String = {
    if let given = getenv("RINGKV_FAULTSHIM") { return String(cString: given) }
    let repository = "/" + #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    let code = run(repository + "/Tests/FaultShim/build.sh", [directory + "/faultshim"])
    invariant(code == 0, "Tests/FaultShim/build.sh ended with \(code)")
    return directory + "/faultshim"
  }()

  /// Runs a program to its end; its exit code.
  static func run(_ program: String, _ arguments: [String]) -> Int32 {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(null) }
    var status: Int32 = 0
    let pid = spawn(program, arguments, environment: environment, input: null, output: null)
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status & 0x7f == 0 ? (status >> 8) & 0xff : -1
  }

  private static var environment: [String] {
    var next = environ
    var result: [String] = []
    while let entry = next.pointee {
      result.append(String(cString: entry))
      next += 1
    }
    return result
  }

  static func spawn(
    _ program: String, _ arguments: [String], environment: [String], input: Int32, output: Int32
  ) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    var argv = ([program] + arguments).map { strdup($0) } + [nil]
    var envp = environment.map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, program, &actions, nil, &argv, &envp)
    invariant(code == 0, "\(program) cannot be started: \(String(cString: strerror(code)))")
    return pid
  }
}
