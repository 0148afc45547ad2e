import Glibc
import Synchronization

/// A process that this one started. Its pid names nobody else until its end was taken from the kernel, which only this
/// object does: so a signal never reaches a stranger.
final class Child: Sendable {
  enum End: Equatable, Sendable {
    case exited(Int32)
    case signalled(Int32)
  }

  let pid: pid_t
  private let end = Mutex<End?>(nil)

  private init(pid: pid_t) { self.pid = pid }

  /// What becomes the child's descriptors 0, 1, 2.
  struct Streams {
    var input: Int32
    var output: Int32
    var errors: Int32
  }

  static func start(
    _ program: String, _ arguments: [String], environment: [String: String], streams: Streams,
    ownSession: Bool = false
  ) throws -> Child {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (place, descriptor) in [streams.input, streams.output, streams.errors].enumerated() {
      posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(place))
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Signals that this process ignores or blocks (SIGPIPE for one) must not be so in the child.
    var none = sigset_t()
    sigemptyset(&none)
    var all = sigset_t()
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    let session = ownSession ? 0x80 : 0  // POSIX_SPAWN_SETSID, which Glibc's overlay lacks
    posix_spawnattr_setflags(
      &attributes, Int16(Int(POSIX_SPAWN_SETSIGMASK) | Int(POSIX_SPAWN_SETSIGDEF) | session))
    var argv = ([program] + arguments).map { strdup($0) } + [nil]
    var envp = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let code = Pipe.noneIsHalfMade.withLock { _ in posix_spawn(&pid, program, &actions, &attributes, &argv, &envp) }
    guard code == 0 else { throw systemError("posix_spawn \(program)", code) }
    return Child(pid: pid)
  }

  /// How it ended; nil while it lives.
  func poll() -> End? {
    end.withLock { end in
      if end != nil { return end }
      var status: Int32 = 0
      guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
      end = status & 0x7f == 0 ? .exited((status >> 8) & 0xff) : .signalled(status & 0x7f)
      return end
    }
  }

  func ended(within limit: Duration, _ what: String) async throws -> End {
    try await eventually(within: limit, "the end of \(what)", every: .milliseconds(3)) { poll() }
  }

  func send(_ signal: Int32) { end.withLock { if $0 == nil { kill(pid, signal) } } }

  /// Its state in /proc: R, S, T, Z …
  var state: Character? {
    guard let stat = try? Files.read("/proc/\(pid)/stat") else { return nil }
    // Behind the command's name, which may hold spaces and ')'.
    guard let close = stat.lastIndex(of: UInt8(ascii: ")")), stat.count > close + 2 else { return nil }
    return Character(Unicode.Scalar(stat[close + 2]))
  }

  var residentBytes: Int? {
    guard let status = try? Files.text("/proc/\(pid)/status") else { return nil }
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
  }
}

/// A pipe that children inherit only where they are told to.
struct Pipe {
  var reading: Int32
  var writing: Int32

  /// Glibc's overlay lacks pipe2: until a new pipe is marked close-on-exec no child may start, or it would hold the
  /// writing end of another child's pipe open.
  static let noneIsHalfMade = Mutex(())

  init() throws {
    var ends: [Int32] = [0, 0]
    let isMade = Pipe.noneIsHalfMade.withLock { _ in
      pipe(&ends) == 0 && ends.allSatisfy { fcntl($0, F_SETFD, FD_CLOEXEC) == 0 }
    }
    guard isMade else { throw systemError("pipe") }
    (reading, writing) = (ends[0], ends[1])
  }

  static func drain(_ descriptor: Int32) throws -> [UInt8] {
    defer { close(descriptor) }
    return try Files.readToEnd(descriptor)
  }

  /// That a reader does not read to the end is no fault: kvctl may refuse what it is given.
  static func feed(_ bytes: [UInt8], _ descriptor: Int32) {
    defer { close(descriptor) }
    signal(SIGPIPE, SIG_IGN)
    try? Files.writeAll(bytes, to: descriptor)
  }
}

/// Small files, whole.
enum Files {
  static func read(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw systemError("open \(path)") }
    defer { close(descriptor) }
    return try readToEnd(descriptor)
  }

  static func readToEnd(_ descriptor: Int32) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw systemError("read")
      }
      bytes += chunk[..<count]
    }
  }

  static func text(_ path: String) throws -> String { String(decoding: try read(path), as: UTF8.self) }

  static func write(_ bytes: [UInt8], to path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw systemError("open \(path)") }
    defer { close(descriptor) }
    try writeAll(bytes, to: descriptor)
  }

  static func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw systemError("write")
      }
      rest = rest.dropFirst(count)
    }
  }

  static func makeDirectory(_ path: String) throws {
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw systemError("mkdir \(path)") }
  }

  static func names(in directory: String) -> [String] {
    guard let handle = opendir(directory) else { return [] }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Runs a program of the system to its end: cp, rm.
  static func run(_ program: String, _ arguments: String...) async throws { try await run(program, arguments) }

  static func run(_ program: String, _ arguments: [String]) async throws {
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(null) }
    let child = try Child.start(
      program, arguments, environment: [:], streams: .init(input: null, output: null, errors: null))
    let end = try await child.ended(within: .seconds(20), program)
    guard end == .exited(0) else { throw HarnessError("\(program) \(arguments): \(end)") }
  }
}
