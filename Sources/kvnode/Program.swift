import ArgumentParser
import Glibc
import Logging

/// From the command line to the exit code.
@main
enum Program {
  /// The node stopped in order.
  static let stopped: Int32 = 0
  /// It could not start, or not go on.
  static let failed: Int32 = 1
  /// The command line or the configuration is wrong.
  static let usage: Int32 = 2

  static func main() async {
    signal(SIGPIPE, SIG_IGN)
    let status = await run(Array(CommandLine.arguments.dropFirst()))
    // Not `exit`: it runs the static destructors of RocksDB, under the feet of the loops and of the log's writer, which
    // still use it when a node could not go on or not start. That ended in SIGSEGV in place of the exit code.
    fflush(nil)
    _exit(status)
  }

  static func run(_ arguments: [String]) async -> Int32 {
    let command: KVNodeCommand
    do {
      command = try KVNodeCommand.parse(arguments)
    } catch {
      return onUnparsed(error)
    }
    let loaded: LoadedConfiguration
    do {
      loaded = try load(command)
    } catch {
      for fault in error.faults { complain("\(fault)") }
      complain("kvnode: \(error.faults.count == 1 ? "1 fault" : "\(error.faults.count) faults"); nothing was started")
      return usage
    }
    if command.checkConfig { return report(loaded) }
    return await NodeProcess(loaded).run()
  }

  /// Help and version are asked for this way too; they are no errors.
  private static func onUnparsed(_ error: any Error) -> Int32 {
    let message = KVNodeCommand.fullMessage(for: error)
    if KVNodeCommand.exitCode(for: error) == .success {
      print(message)
      return stopped
    }
    complain(message)
    return usage
  }

  private static func report(_ loaded: LoadedConfiguration) -> Int32 {
    print(ConfigurationReport.text(loaded), terminator: "")
    for warning in loaded.warnings { complain("warning: \(warning)") }
    return stopped
  }

  private static func complain(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }
}

// MARK: - The layers of the configuration, from this process

extension Program {
  private static func load(_ command: KVNodeCommand) throws(ConfigurationFaults) -> LoadedConfiguration {
    var sources = ConfigurationSources(environment: environment(), flags: command.settings)
    let variable = sources.environment[ConfigurationLoader.fileVariable]
    if let path = command.config ?? variable {
      let origin: Origin = command.config == nil ? .environment(ConfigurationLoader.fileVariable) : .flag("--config")
      sources.file = (path, try text(of: path, origin))
    }
    return try ConfigurationLoader.load(sources, on: HostFacts(hostName: hostName(), kind: kind))
  }

  private static func text(of path: String, _ origin: Origin) throws(ConfigurationFaults) -> String {
    func fault(_ what: String, _ remedy: String) -> ConfigurationFaults {
      ConfigurationFaults([Fault(origin: origin, path: nil, what: what, remedy: remedy)])
    }
    guard let file = fopen(path, "re") else {
      let cause = String(cString: strerror(errno))
      throw fault("cannot read \(Shape.quoted(path)): \(cause)", "name a file that this user can read")
    }
    defer { fclose(file) }
    // One byte more than is allowed, which then is told.
    var bytes = [UInt8](repeating: 0, count: ConfigurationFile.bytesMax + 1)
    let count = fread(&bytes, 1, bytes.count, file)
    guard ferror(file) == 0 else {
      throw fault("cannot read \(Shape.quoted(path)): \(String(cString: strerror(errno)))", "name a file")
    }
    guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
      throw fault("\(Shape.quoted(path)) is no text in UTF-8", "is it the right file?")
    }
    return text
  }

  private static func environment() -> [String: String] {
    var result: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      let pair = String(cString: entry).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
      next += 1
    }
    return result
  }

  private static func hostName() -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard gethostname(&bytes, bytes.count - 1) == 0 else { return "" }
    return String(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  private static func kind(of path: String) -> HostFacts.PathKind {
    var found = stat()
    guard stat(path, &found) == 0 else { return .missing }
    return found.st_mode & S_IFMT == S_IFDIR ? .directory : .other
  }
}
