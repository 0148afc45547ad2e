import Foundation

@testable import kvctl

/// The program itself, as a process, against fake nodes.
struct KvctlProcess {
  var endpoints: [String]

  struct Ended: Sendable {
    var status: Int32
    var output: [UInt8]
    var errors: String

    var text: String { String(decoding: output, as: UTF8.self) }
  }

  func callAsFunction(_ arguments: String..., input: [UInt8]? = nil) async throws -> Ended {
    try await self(arguments, input: input)
  }

  /// `interrupt`: sends SIGINT once this holds.
  func callAsFunction(
    _ arguments: [String], input: [UInt8]? = nil, interrupt: (@Sendable () -> Bool)? = nil
  ) async throws -> Ended {
    let directory = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    let (output, errors) = (try TemporaryFile([]), try TemporaryFile([]))
    let stdin = try TemporaryFile(input ?? [])
    defer { for file in [output, errors, stdin] { file.remove() } }
    let process = Process()
    process.executableURL = directory.appendingPathComponent("kvctl")
    process.arguments = arguments
    var environment = ProcessInfo.processInfo.environment
    environment["KVCTL_ENDPOINTS"] = endpoints.joined(separator: ",")
    process.environment = environment
    process.standardInput = FileHandle(forReadingAtPath: stdin.path)
    process.standardOutput = FileHandle(forWritingAtPath: output.path)
    process.standardError = FileHandle(forWritingAtPath: errors.path)
    try await process.runToEnd { id in
      guard let interrupt else { return }
      Task {
        while !interrupt() { try await Task.sleep(for: .milliseconds(1)) }
        kill(id, SIGINT)
      }
    }
    return Ended(
      status: process.terminationStatus, output: output.bytes, errors: String(decoding: errors.bytes, as: UTF8.self))
  }
}

extension Process {
  /// `started` gets its id.
  func runToEnd(_ started: (Int32) -> Void = { _ in }) async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      terminationHandler = { _ in continuation.resume() }
      do { try run() } catch { return continuation.resume(throwing: error) }
      started(processIdentifier)
    }
  }
}
