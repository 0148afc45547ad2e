import ArgumentParser
import KVClient
import KVModel

struct RepairAcceptLossVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "accept-loss", abstract: "Has owners answer again for what too many of them have lost.",
    discussion: """
      Of three owners two have lost something in the same place, by damaged disks: each has taken over what the others
      have left, and none answers reads of it, since a write that was acknowledged may have been on the two alone. When no
      backup and no old disk can bring that back, this says that what is left has to do. Lists it first, and asks. Nothing
      that an owner still has is lost by it.

      Exits with 0 also when there is nothing of the kind, with 9 when a node did not answer or something is left.

      Example: kvctl repair accept-loss
      Example: kvctl repair accept-loss --node n2 --partition 17 --yes
      """)

  @Option(name: .long, help: ArgumentHelp("Only what this node has lost, by name or id.", valueName: "node"))
  var node: String?

  @Option(name: .long, help: ArgumentHelp("Only this partition; see 'kvctl ring locate'.", valueName: "number"))
  var partition: Int?

  @OptionGroup var global: GlobalOptions

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let copies = try await Copies.take(session).limited(node: node, partition: partition)
    var standing = await LossStanding.take(copies, session)
    if node == nil { standing.failures = copies.failures + standing.failures }
    guard !standing.rows.isEmpty else { return report(accepted: 0, standing, left: 0) }
    for line in standing.lines { session.say(line) }
    session.say("writes that were acknowledged may be missing from what is left; nobody can tell which")
    if !session.isYes, Terminal.isInput, !Terminal.confirm("Answer for what is left?") {
      throw CommandFailure(.error, "declined", "nothing was changed")
    }
    var accepted = 0
    for (owner, entry) in standing.rows {
      switch await accept(entry, at: owner, session) {
      case .success(let parts): accepted += parts
      case .failure(let failure): standing.failures.append(failure)
      }
    }
    return report(accepted: accepted, standing, left: await left(copies, session))
  }

  private func accept(
    _ entry: Losses.Entry, at owner: Copies.Owner, _ session: Session
  ) async -> Result<Int, CommandFailure> {
    do throws(KVError) {
      let request = RepairRequest.acceptLoss(entry.partition)
      let answer = try await session.admin.repair(request, at: owner.address, deadline: session.timeout)
      if case .accepted(let parts) = answer { return .success(Int(parts)) }
      return .failure(CommandFailure(.error, "protocol_mismatch", "another answer than was asked", node: owner.name))
    } catch { return .failure(CommandFailure(error, node: owner.name)) }
  }

  /// What is still there when the nodes have had a moment to note it.
  private func left(_ copies: Copies, _ session: Session) async -> Int {
    let end = ContinuousClock.now.advanced(by: min(session.timeout, .seconds(5)))
    while true {
      let standing = await LossStanding.take(copies, session)
      if standing.rows.isEmpty || ContinuousClock.now >= end { return standing.rows.count }
      do { try await Task.sleep(for: .milliseconds(100)) } catch { return standing.rows.count }
    }
  }

  private func report(accepted: Int, _ standing: LossStanding, left: Int) -> Report {
    var report = Report(
      .object([("losses", standing.json), ("accepted", .integer(accepted)), ("left", .integer(left))]))
    report.failures = standing.failures
    report.lines =
      standing.rows.isEmpty
      ? ["nothing is lost beyond what the other owners have"]
      : ["\(Units.plural(accepted, "part")) accepted: they are answered for again"]
    if left > 0 {
      report.lines.append("\(Units.plural(left, "loss", "losses")) left, found since the list was made: run it again")
    }
    if !report.failures.isEmpty || left > 0 { report.exit = .degraded }
    return report
  }
}

/// What nodes have lost that too many others have lost too.
struct LossStanding: Sendable {
  var rows: [(owner: Copies.Owner, entry: Losses.Entry)] = []
  var failures: [CommandFailure] = []

  static func take(_ copies: Copies, _ session: Session) async -> LossStanding {
    let admin = session.admin
    let limit = min(session.timeout, .seconds(3))
    let answers = await copies.each { owner in await losses(of: owner, admin, limit) }
    var standing = LossStanding()
    for (owner, answer) in answers {
      switch answer {
      case .success(let entries):
        standing.rows += entries.filter { owner.partitions.contains($0.partition) }.map { (owner, $0) }
      case .failure(let failure): standing.failures.append(failure)
      }
    }
    return standing
  }

  private static func losses(
    of owner: Copies.Owner, _ admin: KVAdmin, _ limit: Duration
  ) async -> Result<[Losses.Entry], CommandFailure> {
    var entries: [Losses.Entry] = []
    var (shard, shards) = (UInt16(0), UInt16(1))
    while shard < shards {
      do throws(KVError) {
        guard
          case .losses(let losses) = try await admin.repair(.losses(shard: shard), at: owner.address, deadline: limit)
        else {
          return .failure(
            CommandFailure(.error, "protocol_mismatch", "another answer than was asked", node: owner.name))
        }
        shards = losses.shards
        entries += losses.entries
      } catch { return .failure(CommandFailure(error, node: owner.name)) }
      shard += 1
    }
    return .success(entries.sorted { $0.partition < $1.partition })
  }

  var lines: [String] {
    var table = Table(["NODE", "PARTITION", "LOST"])
    table.rows = rows.map { owner, entry in
      [owner.name, "\(entry.partition.index)", entry.keys == 0 ? "all of it" : Units.plural(Int(entry.keys), "key")]
    }
    return table.lines()
  }

  var json: JSON {
    .array(
      rows.map { owner, entry in
        .object([
          ("node", .text(owner.name)), ("node_id", .text(owner.id)),
          ("partition", .integer(Int(entry.partition.index))), ("keys", .integer(Int(entry.keys))),
        ])
      })
  }
}
