import ArgumentParser
import KVClient
import KVModel

struct TopVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Shows the nodes as they work, refreshed in place.",
    discussion: """
      A row for each member: the reads and writes that it coordinates, their latencies over the last minute, what it
      holds, and how that grows. Ends with Ctrl-C. In a pipe it prints one table after another; with -o jsonl one document a line.

      Example: kvctl top
      Example: kvctl top --watch 500ms
      """)

  @OptionGroup var global: GlobalOptions

  static let watchByDefault = Duration.seconds(2)
  var watchEvery: Duration? { global.watch?.duration ?? TopVerb.watchByDefault }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let before = await Survey.take(session)
    guard !before.descriptions.isEmpty else { throw before.unreachable }
    // Nodes count anew once a second: looked at sooner, some would show nothing.
    let pause = Duration.milliseconds(1_200)
    do { try await Task.sleep(for: pause) } catch { throw CommandFailure(.interrupted, "cancelled", "interrupted") }
    let (after, layout, table) = try await Survey.ofCluster(session)
    let health = ClusterHealth(layout: layout, table: table, answers: after.answers)
    return TopDocument.report(health, before: before.descriptions.map(\.1), colour: session.colour)
  }
}

/// `kvctl top`, for people and for programs.
enum TopDocument {
  static func report(_ health: ClusterHealth, before: [NodeDescription], colour: Colour) -> Report {
    let rows = health.rows.map { row in (row, Rates(of: row, since: before)) }
    var report = Report(.array(rows.map(json)))
    var table = Table(["NODE", "STATE", "READS/S", "WRITES/S", "P99 R/W", "KEYS", "KEYS/S", "DATA", "DISK"])
    table.rows = rows.map(cells)
    report.lines = table.lines { cell, column in
      column != 1 ? cell : cell == "up" ? colour.green(cell) : colour.red(cell)
    }
    report.lines += health.verdict(colour)
    return report
  }

  /// What a node did a second, by its own uptime; nil when it does not answer, or restarted in between.
  struct Rates {
    var keys: Double
    var reads: Double
    var writes: Double

    init?(of row: ClusterHealth.Row, since before: [NodeDescription]) {
      guard let now = row.description?.measurements,
        let then = before.first(where: { $0.member.id == row.member.id })?.measurements, now.uptimeMs > then.uptimeMs,
        now.reads >= then.reads, now.writes >= then.writes
      else { return nil }
      let seconds = Double(now.uptimeMs - then.uptimeMs) / 1_000
      keys = (Double(now.keys) - Double(then.keys)) / seconds
      reads = Double(now.reads - then.reads) / seconds
      writes = Double(now.writes - then.writes) / seconds
    }
  }

  private static func cells(_ row: ClusterHealth.Row, _ rates: Rates?) -> [String] {
    guard let measured = row.description?.measurements else {
      return [row.member.name, StatusDocument.word(row.condition)] + [String](repeating: "-", count: 7)
    }
    func whole(_ value: Double?) -> String { value.map { JSON.fixed($0, digits: 0) } ?? "-" }
    return [
      row.member.name, StatusDocument.word(row.condition), whole(rates?.reads), whole(rates?.writes),
      StatusDocument.latencies(measured), Units.count(measured.keys), whole(rates?.keys),
      Units.size(bytes: measured.dataBytes), StatusDocument.disk(measured),
    ]
  }

  private static func json(_ row: ClusterHealth.Row, _ rates: Rates?) -> JSON {
    var members: [(String, JSON)] = [
      ("node", .text(row.member.name)), ("state", .text(StatusDocument.word(row.condition).filter { $0 != "!" })),
    ]
    if let measured = row.description?.measurements {
      members += [
        ("read_p99_us", .integer(measured.readP99Us)), ("write_p99_us", .integer(measured.writeP99Us)),
        ("keys", .integer(measured.keys)), ("keys_per_s", .optional(rates?.keys) { .fraction($0, digits: 1) }),
        ("reads_per_s", .optional(rates?.reads) { .fraction($0, digits: 1) }),
        ("writes_per_s", .optional(rates?.writes) { .fraction($0, digits: 1) }),
        ("data_bytes", .integer(measured.dataBytes)), ("disk_used_bytes", .integer(measured.diskUsedBytes)),
        ("disk_total_bytes", .integer(measured.diskTotalBytes)), ("uptime_ms", .integer(measured.uptimeMs)),
      ]
    }
    return .object(members)
  }
}
