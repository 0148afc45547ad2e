import KVClient
import KVModel

/// Why a verb, or a part of it, failed.
struct CommandFailure: Error, Equatable {
  var exit: ShellStatus
  /// One word for scripts.
  var code: String
  /// One line for people: the cause, and what to do.
  var message: String
  var node: String?

  init(_ exit: ShellStatus, _ code: String, _ message: String, node: String? = nil) {
    self.exit = exit
    self.code = code
    self.message = message
    self.node = node
  }

  static func usage(_ message: String) -> CommandFailure { CommandFailure(.usage, "usage", message) }

  init(_ error: KVError, node: String? = nil) {
    var message = error.code == .cancelled ? "interrupted" : error.message
    if error.outcome == .unknown { message += "; the outcome is unknown: read the key before you write it again" }
    if error.needed > 0 { message += " (\(error.got) of \(error.needed) owners answered)" }
    if let wait = error.retryAfter {
      message += "; try again in \(Units.span(ms: UInt64(max(0, wait / .milliseconds(1)))))"
    }
    self.init(ShellStatus(error), error.code.description, message, node: node ?? error.attempts.last?.node)
  }

  var json: JSON {
    .object([("code", .text(code)), ("message", .text(message)), ("node", .optional(node) { .text($0) })])
  }
}

/// What a verb found: once for people, once for programs.
struct Report {
  /// `data` of the JSON envelope.
  var data: JSON
  /// What a person sees on stdout.
  var lines: [String] = []
  /// Bytes for stdout, untouched, in place of `lines`.
  var value: [UInt8]?
  /// What a person sees on stderr.
  var notes: [String] = []
  var failures: [CommandFailure] = []
  var exit = ShellStatus.done

  init(_ data: JSON) { self.data = data }

  /// Of a verb that came to nothing.
  init(_ failure: CommandFailure) {
    data = .null
    failures = [failure]
    exit = failure.exit
  }

  /// The document of `--json`.
  func envelope(_ identity: ClusterIdentity?) -> JSON {
    .object([
      ("schema", .text("kvctl/1")), ("cluster", .optional(identity) { .text($0.cluster.description) }),
      ("layout", .optional(identity) { .integer(Int64($0.layoutVersion)) }), ("data", data),
      ("errors", .array(failures.map(\.json))),
    ])
  }

  /// The lines of `-o jsonl`: each row of a list, or the one document.
  var jsonLines: [String] {
    switch data {
    case .array(let rows): rows.map(\.line)
    case .null: []
    case .bool, .integer, .fraction, .text, .object: [data.line]
    }
  }
}
