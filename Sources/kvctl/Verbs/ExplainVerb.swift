import ArgumentParser
import KVClient
import KVModel

struct ExplainVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Shows what each owner of a key holds, and which copies are stale.",
    discussion: """
      Shows versions, dots, stamps, expiry, sizes and checksums, never the values. It repairs nothing; a get with
      --consistency all does.

      Example: kvctl explain user:1
      """)

  @OptionGroup var key: KeyArguments
  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) { _ = try key.kvKey() }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let (key, model) = (try key.kvKey(), try key.model())
    let views = try await asking { () throws(KVError) in try await session.admin.explain(key) }
    let layout = try? await session.admin.fetchLayout().0
    let names = Dictionary(uniqueKeysWithValues: (layout?.members ?? []).map { ($0.id, $0.name) })
    return Explanation(views, of: model).report(key, names)
  }
}

/// The copies of a key, side by side.
struct Explanation {
  enum Copy: Equatable {
    case record(Record)
    case damaged(DecodeError)
    case unreadable
    case unreachable
  }

  let copies: [(node: NodeID, copy: Copy)]
  /// The join of all copies that could be read.
  let joined: Record

  private let key: Key

  init(_ views: [ReplicaView], of key: Key) {
    self.key = key
    copies = views.map { ($0.node, Explanation.copy($0.state)) }
    joined = copies.reduce(into: Record()) { joined, entry in
      if case .record(let record) = entry.copy { joined.join(record) }
    }
  }

  private static func copy(_ state: ReplicaView.State) -> Copy {
    switch state {
    case .record(let encoded):
      do { return .record(try encoded.decoded()) } catch { return .damaged(error) }
    case .unreachable: return .unreachable
    case .unreadable: return .unreadable
    }
  }

  /// One word on a copy.
  func verdict(_ copy: Copy) -> String {
    switch copy {
    case .record(let record) where isStale(copy): record.isEmpty ? "stale: nothing of it" : "stale"
    case .record(let record): record.isEmpty ? "never written" : "current"
    case .damaged(let error): "damaged (\(error))"
    case .unreadable: "unreadable"
    case .unreachable: "unreachable"
    }
  }

  /// By digests: a copy whose expired value was swept is as good as one that still has its bytes.
  func isStale(_ copy: Copy) -> Bool {
    guard case .record(let record) = copy else { return false }
    return record.digest(of: key, seed: 0) != joined.digest(of: key, seed: 0)
  }

  func report(_ key: KVKey, _ names: [NodeID: String]) -> Report {
    var report = Report(
      .object([
        ("key", .bytes(key.partitionKey)), ("sort_key", key.sortKey.isEmpty ? .null : .bytes(key.sortKey)),
        ("owners", .array(copies.map { document($0.node, $0.copy, names) })),
      ]))
    for (node, copy) in copies {
      report.lines.append("\(names[node] ?? node.description)  \(verdict(copy))")
      if case .record(let record) = copy { report.lines += lines(record, names) }
    }
    report.lines.append(conclusion(names))
    return report
  }

  private func conclusion(_ names: [NodeID: String]) -> String {
    let stale = copies.filter { isStale($0.copy) }.map { names[$0.node] ?? $0.node.description }
    let away = copies.filter { if case .record = $0.copy { false } else { true } }.count
    let agree = copies.count - stale.count - away
    if stale.isEmpty, away == 0 { return "OK    all \(copies.count) copies agree" }
    var parts: [String] = ["\(agree) of \(copies.count) copies are current"]
    if !stale.isEmpty {
      parts.append("stale: \(stale.joined(separator: ", ")); a 'kvctl get --consistency all' mends them")
    }
    if away > 0 { parts.append("\(away) could not be read") }
    return "WARN  " + parts.joined(separator: "; ")
  }

  private func lines(_ record: Record, _ names: [NodeID: String]) -> [String] {
    var lines = record.versions.map { version in
      var line =
        "    \(kind(version))  dot \(dot(version.dot, names))  \(Units.time(ms: version.stamp.wall.milliseconds))"
      if case .value(let value) = version.content { line += "  \(Units.size(bytes: UInt64(value.count)))" }
      if version.checksum != 0 { line += "  checksum \(NodeID(version.checksum))" }
      if let expiry = version.expiry { line += "  expires \(Units.time(ms: expiry.milliseconds))" }
      return line
    }
    if !record.isEmpty { lines.append("    context \(context(record.context, names))") }
    return lines
  }

  private func kind(_ version: Version) -> String {
    switch version.content {
    case .value: "value    "
    case .tombstone: "tombstone"
    case .swept: "expired  "
    }
  }

  /// `n1.3:17/0`: actor (node and epoch), sequence, shard.
  private func dot(_ dot: Dot, _ names: [NodeID: String]) -> String {
    let node = names[dot.actor.node] ?? dot.actor.node.description
    return "\(node).\(dot.actor.epoch):\(dot.counter >> 8)/\(dot.counter & 0xff)"
  }

  private func context(_ vector: VersionVector, _ names: [NodeID: String]) -> String {
    vector.entries.map { dot(Dot(actor: $0.actor, counter: $0.counter), names) }.joined(separator: " ")
  }

  private func document(_ node: NodeID, _ copy: Copy, _ names: [NodeID: String]) -> JSON {
    var members: [(String, JSON)] = [
      ("node", .text(names[node] ?? node.description)), ("node_id", .text(node)), ("state", .text(state(copy))),
      ("stale", .bool(isStale(copy))),
    ]
    if case .record(let record) = copy {
      members.append(("versions", .array(record.versions.map(document))))
      members.append(
        (
          "context",
          .array(
            record.context.entries.map { document(Dot(actor: $0.actor, counter: $0.counter)) })
        ))
    }
    return .object(members)
  }

  private func state(_ copy: Copy) -> String {
    switch copy {
    case .record: "record"
    case .damaged: "damaged"
    case .unreadable: "unreadable"
    case .unreachable: "unreachable"
    }
  }

  private func document(_ version: Version) -> JSON {
    .object([
      ("dot", document(version.dot)), ("kind", .text(kind(version).filter { $0 != " " })),
      ("stamp", .text(version.stamp.description)), ("written_at_ms", .integer(version.stamp.wall.milliseconds)),
      ("expires_at_ms", .optional(version.expiry) { .integer($0.milliseconds) }),
      ("value_bytes", .integer(version.valueBytes)), ("checksum", .text(NodeID(version.checksum))),
      ("request_id", .text(version.requestID.description)),
    ])
  }

  private func document(_ dot: Dot) -> JSON {
    .object([
      ("node_id", .text(dot.actor.node)), ("epoch", .integer(Int64(dot.actor.epoch))),
      ("counter", .text(String(dot.counter))),
    ])
  }
}
