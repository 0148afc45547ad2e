import ArgumentParser
import KVClient

struct GetVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Prints the value of a key.",
    discussion: """
      The value goes to stdout as it is, byte for byte; everything else goes to stderr. Exit code 5: there is no such key.

      Example: kvctl get user:1
      Example: kvctl get photo:7 --file photo.jpg --consistency all
      """)

  @OptionGroup var key: KeyArguments
  @Option(name: .long, help: "one, quorum (default) or all owners must answer.")
  var consistency: String?
  @Option(name: .customShort("r"), help: "So many owners must answer.")
  var r: Int?
  @Flag(name: .long, help: "Print the value in hexadecimal.")
  var hex = false
  @Option(name: .long, help: ArgumentHelp("Write the value to a file instead of stdout.", valueName: "out"))
  var file: String?
  @Flag(name: .long, help: "Print the context on stderr: --context of the put or delete that replaces what was read.")
  var showContext = false
  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) {
    _ = try key.kvKey()
    _ = try level()
  }

  private func level() throws(CommandFailure) -> KVConsistency {
    try Consistency.of(consistency, count: r, flag: "-r")
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let key = try key.kvKey()
    let level = try level()
    let state = try await asking { () throws(KVError) in try await session.client.read(key, consistency: level) }
    var report = Report(StateDocument.json(key, state))
    if showContext { report.notes.append("context \(state.context.text)") }
    guard let value = state.value else {
      report.exit = .notFound
      report.failures = [CommandFailure(.notFound, "not_found", "there is no such key")]
      return report
    }
    if state.versions.count > 1 {
      report.notes.append(
        "\(state.versions.count) concurrent versions; this is the newest. --json shows all; a put with --context "
          + "replaces them")
    }
    try deliver(value, &report)
    return report
  }

  private func deliver(_ value: [UInt8], _ report: inout Report) throws(CommandFailure) {
    if let file {
      try Files.write(value, path: file)
      report.notes.append("\(Units.size(bytes: UInt64(value.count))) written to \(file)")
    } else if hex {
      report.lines = [Hex.encode(value)]
    } else {
      report.value = value
    }
  }
}

/// What a read found, for programs.
enum StateDocument {
  static func json(_ key: KVKey, _ state: KVState) -> JSON {
    .object([
      ("key", .bytes(key.partitionKey)), ("sort_key", key.sortKey.isEmpty ? .null : .bytes(key.sortKey)),
      ("found", .bool(state.value != nil)), ("value", .optional(state.value) { .bytes($0) }),
      ("versions", .array(state.versions.map(version))), ("context", .text(state.context.text)),
    ])
  }

  private static func version(_ version: KVVersion) -> JSON {
    .object([
      ("value", .optional(version.value) { .bytes($0) }), ("written_at_ms", .integer(version.writtenAtMs)),
      ("expires_at_ms", .optional(version.expiresAtMs) { .integer($0) }),
    ])
  }
}
