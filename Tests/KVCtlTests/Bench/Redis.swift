import Foundation
import KVNet

/// A redis-server of the test's own, on a free port of 127.0.0.1, that keeps nothing.
struct Redis {
  let port: UInt16
  private let process: Process

  private static let path = "/usr/bin/redis-server"

  static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: path) }

  static func start() async throws -> Redis {
    let port = try await freePort()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = ["--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process.currentDirectoryURL = FileManager.default.temporaryDirectory
    let log = try TemporaryFile([])
    defer { log.remove() }
    process.standardOutput = FileHandle(forWritingAtPath: log.path)
    process.standardError = FileHandle.nullDevice
    try process.run()
    for _ in 0..<3_000 {
      if String(decoding: log.bytes, as: UTF8.self).contains("Ready to accept connections") {
        return Redis(port: port, process: process)
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    kill(process.processIdentifier, SIGKILL)
    throw RedisFault.didNotStart
  }

  /// It keeps nothing, and it was started from a thread that blocks SIGTERM, so it does too.
  func stop() { kill(process.processIdentifier, SIGKILL) }

  private enum RedisFault: Error { case didNotStart }

  /// A port that the kernel gave away a moment ago, and so gives nobody else just now.
  private static func freePort() async throws -> UInt16 {
    let loop = try EventLoop(label: "test.port")
    return try await withCheckedThrowingContinuation { continuation in
      loop.execute {
        let result = Result { try Listener.bind(to: .loopback(port: 0), on: loop) { _, _ in }.boundPort }
        loop.stop { continuation.resume(with: result) }
      }
    }
  }
}
