import KVSimulator

enum HistoryLines {
  static func head(_ history: History) -> String {
    let keys = history.keys.map { "\"\($0)\"" }.joined(separator: ",")
    return
      "{\"history\":1,\"copies\":\(history.copies),\"read_quorum\":\(history.readQuorum),\"write_quorum\":\(history.writeQuorum),\"keys\":[\(keys)]}\n"
  }

  static func line(_ operation: Operation) -> String {
    var line = "{\"op\":\(operation.number),\"client\":\(operation.client),\"kind\":\"\(operation.kind.rawValue)\""
    line += ",\"key\":\(operation.key),\"quorum\":\(operation.quorum)"
    if let context = operation.context { line += ",\"context\":\(context)" }
    if let ttl = operation.ttlMs { line += ",\"ttl_ms\":\(ttl)" }
    line += ",\"invoke_ns\":\(operation.invokedAt)"
    if let returned = operation.returnedAt { line += ",\"return_ns\":\(returned)" }
    line += ",\"outcome\":\"\(operation.outcome.rawValue)\""
    if let error = operation.error { line += ",\"error\":\"\(error)\"" }
    if operation.kind == .get { line += ",\"seen\":[\(operation.seen.map(String.init).joined(separator: ","))]" }
    if operation.attempts != 1 { line += ",\"attempts\":\(operation.attempts)" }
    return line + "}\n"
  }
}
