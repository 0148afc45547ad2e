import Foundation
import Glibc

/// kvctl, run to its end.
struct Ended: CustomStringConvertible, Sendable {
  /// Its exit code; 128 + signal when one ended it.
  var status: Int32
  var output: [UInt8]
  var errors: String
  var elapsed: Duration

  var text: String { String(decoding: output, as: UTF8.self) }

  var description: String {
    "exit \(status) after \(elapsed.milliseconds) ms; stdout: \(text.prefix(2_000)); stderr: \(errors.prefix(2_000))"
  }

  func json<Document: Decodable>(_ type: Document.Type) throws -> Document {
    do { return try JSONDecoder().decode(Envelope<Document>.self, from: Data(output)).data } catch {
      throw HarnessError("not the JSON that was expected (\(error)): \(self)")
    }
  }
}

extension Cluster {
  /// Runs kvctl against these nodes (all, unless told). Input and output go through pipes.
  func kvctl(
    _ arguments: String..., at numbers: [Int]? = nil, input: [UInt8] = [], limit: Duration = .seconds(30)
  ) async throws -> Ended {
    try await kvctl(arguments, at: numbers, input: input, limit: limit)
  }

  func kvctl(
    _ arguments: [String], at numbers: [Int]? = nil, input: [UInt8] = [], limit: Duration = .seconds(30)
  ) async throws -> Ended {
    let (stdin, stdout, stderr) = (try Pipe(), try Pipe(), try Pipe())
    let begin = ContinuousClock.now
    let child = try Child.start(
      Programs.kvctl, arguments,
      environment: Programs.environment(adding: ["KVCTL_ENDPOINTS": endpoints(numbers ?? everyNumber)]),
      streams: .init(input: stdin.reading, output: stdout.writing, errors: stderr.writing))
    for descriptor in [stdin.reading, stdout.writing, stderr.writing] { close(descriptor) }
    async let output = onThread { try Pipe.drain(stdout.reading) }
    async let errors = onThread { try Pipe.drain(stderr.reading) }
    async let fed: Void = onThread { Pipe.feed(input, stdin.writing) }
    let end: Child.End
    do { end = try await child.ended(within: limit, "kvctl \(arguments.joined(separator: " "))") } catch {
      child.send(SIGKILL)
      throw error
    }
    try await fed
    let status: Int32 =
      switch end {
      case .exited(let code): code
      case .signalled(let signal): 128 + signal
      }
    let elapsed = begin.duration(to: .now)
    return Ended(
      status: status, output: try await output, errors: String(decoding: try await errors, as: UTF8.self),
      elapsed: elapsed)
  }

  /// `kvctl explain`, read.
  func explain(_ key: String, at numbers: [Int]? = nil) async throws -> Explained {
    let ended = try await kvctl("explain", key, "--json", at: numbers)
    guard ended.status == 0 else { throw HarnessError("explain: \(ended)") }
    return try ended.json(Explained.self)
  }
}

/// What surrounds the data of every `kvctl --json`.
private struct Envelope<Document: Decodable>: Decodable { var data: Document }

/// What `kvctl explain --json` has in its `data`.
struct Explained: Decodable {
  struct Dot: Decodable, Hashable {
    var nodeID: String
    var epoch: Int
    var counter: String

    enum CodingKeys: String, CodingKey {
      case nodeID = "node_id"
      case epoch, counter
    }
  }

  struct Version: Decodable, Hashable {
    var dot: Dot
    var kind: String
    var checksum: String
  }

  struct Owner: Decodable {
    var node: String
    var state: String
    var stale: Bool
    var versions: [Version]?
    var context: [Dot]?
  }

  var owners: [Owner]

  func owner(_ number: Int) throws -> Owner {
    guard let owner = owners.first(where: { $0.node == "n\(number)" }) else {
      throw HarnessError("explain names no n\(number)")
    }
    return owner
  }

  /// All copies could be read, are equal, and have so many versions.
  func agree(on versions: Int) -> Bool {
    guard let first = owners.first else { return false }
    return owners.allSatisfy {
      $0.state == "record" && !$0.stale && $0.versions?.count == versions && $0.versions == first.versions
        && $0.context == first.context
    }
  }
}
