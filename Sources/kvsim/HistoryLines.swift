import Foundation
import KVSimulator

/// Histories as files: JSON Lines, a line for the cluster and one for each operation. The README has the table.
///
/// A write has a line before it is sent and another one once its outcome is known: of lines with one number the last
/// counts. So a load that is killed leaves a history that explains every value, and what it cut is the last line only.
enum HistoryLines {
  static let revision = 1

  // MARK: Writing

  static func head(_ history: History) -> String {
    "{\"history\":\(revision),\"copies\":\(history.copies),\"read_quorum\":\(history.readQuorum),\"write_quorum\":"
      + "\(history.writeQuorum),\"keys\":[\(history.keys.map(quoted).joined(separator: ","))]}"
  }

  static func line(_ operation: Operation) -> String {
    var line = "{\"op\":\(operation.number),\"client\":\(operation.client),\"kind\":\"\(operation.kind.rawValue)\""
    line += ",\"key\":\(operation.key),\"quorum\":\(operation.quorum)"
    if let context = operation.context { line += ",\"context\":\(context)" }
    if let ttl = operation.ttlMs { line += ",\"ttl_ms\":\(ttl)" }
    line += ",\"invoke_ns\":\(operation.invokedAt)"
    if let returned = operation.returnedAt { line += ",\"return_ns\":\(returned)" }
    line += ",\"outcome\":\"\(operation.outcome.rawValue)\""
    if let error = operation.error { line += ",\"error\":\(quoted(error))" }
    if operation.kind == .get { line += ",\"seen\":[\(operation.seen.map(String.init).joined(separator: ","))]" }
    if operation.attempts != 1 { line += ",\"attempts\":\(operation.attempts)" }
    return line + "}"
  }

  private static func quoted(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    return (try? encoder.encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
  }

  // MARK: Reading

  /// What is wrong with a history, and where.
  struct Fault: Error, Equatable, CustomStringConvertible {
    var line: Int
    var reason: String

    var description: String { "line \(line): \(reason)" }
  }

  static func read(_ file: Data) throws(Fault) -> History {
    var lines = file.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    // Behind the last newline comes nothing, or what a killed load had begun to write.
    let cut = lines.popLast() ?? Data()
    guard let head = lines.first ?? (cut.isEmpty ? nil : cut) else { throw Fault(line: 1, reason: "the file is empty") }
    var history = try self.head(head)
    var places: [Int: Int] = [:]
    for (place, line) in lines.enumerated().dropFirst() where !line.isEmpty {
      let operation = try self.operation(line, place + 1, history)
      if let place = places[operation.number] {
        history.operations[place] = operation
      } else {
        places[operation.number] = history.operations.count
        history.operations.append(operation)
      }
    }
    history.operations.sort { ($0.invokedAt, $0.number) < ($1.invokedAt, $1.number) }
    return history
  }

  private struct Head: Decodable {
    enum CodingKeys: String, CodingKey {
      case history, copies, keys
      case readQuorum = "read_quorum"
      case writeQuorum = "write_quorum"
    }

    var history: Int
    var copies: Int
    var readQuorum: Int
    var writeQuorum: Int
    var keys: [String]
  }

  private static func head(_ line: Data) throws(Fault) -> History {
    let head: Head = try decoded(line, 1)
    guard head.history == revision else { throw Fault(line: 1, reason: "history \(head.history) is not \(revision)") }
    guard head.copies >= 1, (1...head.copies).contains(head.readQuorum), (1...head.copies).contains(head.writeQuorum)
    else { throw Fault(line: 1, reason: "the quorums do not fit \(head.copies) copies") }
    return History(
      copies: head.copies, readQuorum: head.readQuorum, writeQuorum: head.writeQuorum, keys: head.keys)
  }

  private struct Line: Decodable {
    enum CodingKeys: String, CodingKey {
      case number = "op"
      case client, kind, key, quorum, context, outcome, error, seen, attempts
      case ttlMs = "ttl_ms"
      case invokedAt = "invoke_ns"
      case returnedAt = "return_ns"
    }

    var number: Int
    var client: Int
    var kind: String
    var key: Int
    var quorum: Int
    var context: Int?
    var ttlMs: UInt64?
    var invokedAt: UInt64
    var returnedAt: UInt64?
    var outcome: String
    var error: String?
    var seen: [Int]?
    var attempts: Int?
  }

  private static func operation(_ data: Data, _ number: Int, _ history: History) throws(Fault) -> Operation {
    let line: Line = try decoded(data, number)
    func fault(_ reason: String) -> Fault { Fault(line: number, reason: reason) }
    guard let kind = Operation.Kind(rawValue: line.kind) else { throw fault("kind '\(line.kind)'") }
    guard let outcome = Operation.Outcome(rawValue: line.outcome) else { throw fault("outcome '\(line.outcome)'") }
    guard line.number >= 1 else { throw fault("operations count from 1") }
    guard history.keys.indices.contains(line.key) else { throw fault("there is no key \(line.key)") }
    guard (1...history.copies).contains(line.quorum) else { throw fault("a quorum of \(line.quorum)") }
    guard line.seen == nil || kind == .get else { throw fault("a \(kind.rawValue) sees nothing") }
    guard outcome != .ok || line.returnedAt != nil else { throw fault("it is ok and never returned") }
    if let returned = line.returnedAt, returned < line.invokedAt { throw fault("it returned before its invocation") }
    var operation = Operation(
      number: line.number, client: line.client, kind: kind, key: line.key, quorum: line.quorum, context: line.context,
      ttlMs: line.ttlMs, invokedAt: line.invokedAt)
    operation.returnedAt = line.returnedAt
    operation.outcome = outcome
    operation.error = line.error
    operation.seen = line.seen ?? []
    operation.attempts = line.attempts ?? 1
    return operation
  }

  private static func decoded<Value: Decodable>(_ line: Data, _ number: Int) throws(Fault) -> Value {
    do { return try JSONDecoder().decode(Value.self, from: line) } catch let error as DecodingError {
      throw Fault(line: number, reason: reason(error))
    } catch { throw Fault(line: number, reason: "\(error)") }
  }

  private static func reason(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): "'\(key.stringValue)' is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      "'\(context.codingPath.map(\.stringValue).joined(separator: "."))' has a value of another kind"
    case .dataCorrupted: "no JSON, or a number out of range"
    @unknown default: "\(error)"
    }
  }
}
