import Glibc
import Synchronization

/// Where the programs under test are.
enum Programs {
  /// `$RINGKV_BIN`, which Scripts/test.sh sets, else the directory of this test bundle.
  static let directory: String = {
    if let given = environment["RINGKV_BIN"] { return real(given) }
    return String(real("/proc/self/exe").split(separator: "/").dropLast().joined(separator: "/").withSlash)
  }()

  static var kvnode: String { directory + "/kvnode" }
  static var kvctl: String { directory + "/kvctl" }

  /// The directory with faultshim.so and faultshim-cut; made when `$RINGKV_FAULTSHIM` does not name it.
  static func faultShim() async throws -> String {
    if let given = environment["RINGKV_FAULTSHIM"] { return real(given) }
    let out = directory + "/faultshim"
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    defer { close(null) }
    let child = try Child.start(
      repository + "/Tests/FaultShim/build.sh", [out], environment: environment,
      streams: .init(input: null, output: null, errors: 2))
    let end = try await child.ended(within: .seconds(60), "Tests/FaultShim/build.sh")
    guard end == .exited(0) else { throw HarnessError("the fault shim cannot be built: \(end)") }
    return out
  }

  static let repository: String = {
    #filePath.split(separator: "/").dropLast(4).joined(separator: "/").withSlash
  }()

  static let environment: [String: String] = {
    var result: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      let pair = String(cString: entry).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
      next += 1
    }
    return result
  }()

  /// For children: what configures a node, a shim or a kvctl of somebody else is left out.
  static func environment(adding more: [String: String]) -> [String: String] {
    environment.filter { key, _ in
      !["KVNODE_", "KVCTL_", "FAULTSHIM_", "LD_PRELOAD"].contains { key.hasPrefix($0) }
    }.merging(["NO_COLOR": "1"]) { $1 }.merging(more) { $1 }
  }

  private static func real(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}

extension String {
  fileprivate var withSlash: String { "/" + self }
}

/// A shell that ends what is left of this process's nodes, and their files, when this process is gone: also when it
/// trapped or was killed, and could not clean up.
final class Guardian: Sendable {
  /// Where all clusters of this process live. `RINGKV_KEEP=1` leaves it there for a look.
  let root: String
  private let pipe: Int32

  static let shared: Guardian = {
    do { return try Guardian() } catch { fatalError("no guardian: \(error)") }
  }()

  private static let script = """
    pids=
    while read -r pid; do pids="$pids $pid"; done
    for pid in $pids; do
      case $(readlink "/proc/$pid/exe") in "$1"|"$1 (deleted)") kill -9 "$pid" ;; esac
    done 2>/dev/null
    [ -n "$RINGKV_KEEP" ] || rm -rf "$2"
    """

  private init() throws {
    let base = Programs.environment["TMPDIR"] ?? "/tmp"
    root = "\(base)/ringkv-processes-\(getpid())"
    try Files.makeDirectory(root)
    let ends = try Pipe()
    let null = open("/dev/null", O_RDWR | O_CLOEXEC)
    _ = try Child.start(
      "/bin/sh", ["-c", Guardian.script, "guardian", Programs.kvnode, root], environment: Programs.environment,
      streams: .init(input: ends.reading, output: null, errors: null), ownSession: true)
    close(ends.reading)
    close(null)
    pipe = ends.writing
  }

  func watch(_ pid: pid_t) throws { try Files.writeAll(Array("\(pid)\n".utf8), to: pipe) }
}

/// Ports that nothing listens on.
enum Ports {
  private static let given = Mutex<Set<UInt16>>([])

  /// Below the range from which the kernel takes ports for outgoing connections: a node that is restarted must find its
  /// port free again, and not in use by some client's connection.
  static func take(_ count: Int) throws -> [UInt16] {
    let range = try Files.text("/proc/sys/net/ipv4/ip_local_port_range").split { $0 == "\t" || $0 == "\n" || $0 == " " }
    let lowest = range.first.flatMap { Int($0) } ?? 32_768
    guard lowest > 12_000 else { throw HarnessError("no ports below \(lowest)") }
    return try given.withLock { given in
      var ports: [UInt16] = []
      for _ in 0..<10_000 where ports.count < count {
        let port = UInt16(Int.random(in: 10_000..<lowest))
        if !given.contains(port), isFree(port) {
          given.insert(port)
          ports.append(port)
        }
      }
      guard ports.count == count else { throw HarnessError("no free ports") }
      return ports
    }
  }

  private static func isFree(_ port: UInt16) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = Loopback.address(port)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}

enum Loopback {
  static func address(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }
}
