import ArgumentParser
import KVClient
import KVModel

struct PutVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "put", abstract: "Writes a key.",
    discussion: """
      The value is the argument, or --file; without either, or with -, standard input. Without --context the write
      replaces everything; with the context of a read it replaces what was read. The receipt goes to stderr.

      Example: kvctl put user:1 Ada --ttl 1h
      Example: kvctl put photo:7 --file photo.jpg
      """)

  @OptionGroup var key: KeyArguments
  @Argument(help: "The value, up to 1 MiB.")
  var value: String?
  @Option(name: .long, help: ArgumentHelp("Take the value from a file, or from standard input (-).", valueName: "file"))
  var file: String?
  @Flag(name: .long, help: "The value is given in hexadecimal.")
  var hex = false
  @Option(
    name: .long, help: ArgumentHelp("The key is absent after so long, such as 10s.", valueName: "duration"),
    transform: DurationArgument.init(reading:))
  var ttl: DurationArgument?
  @OptionGroup var write: WriteOptions
  @OptionGroup var global: GlobalOptions

  private var bytes: [UInt8] = []

  private enum CodingKeys: CodingKey { case key, value, file, hex, ttl, write, global }

  mutating func prepare() throws(CommandFailure) {
    _ = try key.kvKey()
    _ = try write.level()
    _ = try write.kvContext()
    if let ttl, ttl.duration <= .zero {
      throw CommandFailure(.usage, "invalid_ttl", "--ttl is not above zero; leave it out for a value that stays")
    }
    bytes = try readValue()
    guard bytes.count <= Limits.valueBytesMax else {
      throw CommandFailure(
        .usage, "value_too_large",
        "the value has \(bytes.count) bytes; the most is \(Limits.valueBytesMax): store it in parts")
    }
  }

  private func readValue() throws(CommandFailure) -> [UInt8] {
    if value != nil, file != nil { throw .usage("give the value or --file, not both") }
    guard let value else { return try decoded(Files.value(file ?? "-")) }
    return try value == "-" ? decoded(Files.value("-")) : decoded(Array(value.utf8))
  }

  private func decoded(_ bytes: [UInt8]) throws(CommandFailure) -> [UInt8] {
    guard hex else { return bytes }
    guard let text = String(validating: bytes, as: UTF8.self), let value = Hex.decode(text.filter { !$0.isWhitespace })
    else { throw .usage("--hex: the value is not pairs of hexadecimal digits") }
    return value
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let (key, level, context) = (try key.kvKey(), try write.level(), try write.kvContext())
    let receipt = try await asking { () throws(KVError) in
      try await session.client.put(key, bytes, context: context, ttl: ttl?.duration, consistency: level)
    }
    return ReceiptDocument.report("written", receipt, showContext: write.showContext)
  }
}

/// What put and delete share.
struct WriteOptions: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("Replace exactly what the read with this context saw.", valueName: "token"))
  var context: String?
  @Option(name: .customShort("w"), help: "So many owners must have it durably.")
  var w: Int?
  @Option(name: .long, help: "one, quorum (default) or all owners must have it durably.")
  var consistency: String?
  @Flag(name: .long, help: "Print the context of the write on stderr.")
  var showContext = false

  func level() throws(CommandFailure) -> KVConsistency { try Consistency.of(consistency, count: w, flag: "-w") }

  func kvContext() throws(CommandFailure) -> KVContext? {
    guard let context else { return nil }
    do { return try KVContext(text: context) } catch { throw CommandFailure(error) }
  }
}

/// A receipt, for people and for programs.
enum ReceiptDocument {
  static func report(_ verb: String, _ receipt: KVReceipt, showContext: Bool) -> Report {
    var report = Report(
      .object([
        ("written_at_ms", .integer(receipt.writtenAtMs)), ("acknowledgements", .integer(receipt.acknowledgements)),
        ("hints", .integer(receipt.hints)), ("context", receipt.context.map { .text($0.text) } ?? .null),
        ("siblings", .text(receipt.siblings.rawValue)), ("found_applied", .bool(receipt.wasFound)),
      ]))
    var note = "\(verb): durable on \(Units.plural(receipt.acknowledgements, "owner")) when acknowledged"
    if receipt.hints > 0 { note += ", \(receipt.hints) missed and told later" }
    if receipt.wasFound { note += "; by an attempt whose answer was lost" }
    report.notes.append(note)
    if receipt.siblings == .present || receipt.context == nil {
      let verb = receipt.siblings == .present ? "lie" : "may lie"
      report.notes.append("other versions \(verb) beside it: see 'kvctl get KEY --show-context'")
    }
    if showContext, let context = receipt.context { report.notes.append("context \(context.text)") }
    return report
  }
}
