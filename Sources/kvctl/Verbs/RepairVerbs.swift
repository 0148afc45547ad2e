import ArgumentParser
import KVClient
import KVModel

struct RepairVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair", abstract: "Shows, hastens and checks the comparisons of owners' copies.",
    discussion: """
      Owners compare their copies all the time and mend what differs; nothing of this has to be run.

      Example: kvctl repair status
      Example: kvctl repair verify
      """,
    subcommands: [RepairStatusVerb.self, RepairRunVerb.self, RepairVerifyVerb.self, RepairAcceptLossVerb.self])
}

struct RepairStatusVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows how each node's comparisons with each peer stand.",
    discussion: """
      PAIRS are partitions that both own. OLDEST is the age of the comparison that lies back longest; never: since the
      node's start some pair has not been compared. MENDED keys differed since its start. LEAVES are parts of a tree in
      which the peer missed something after there was no more room for hints. Exits with 9 when a node did not answer.

      Example: kvctl repair status
      Example: kvctl repair status --watch 2s
      Example: kvctl repair status --json
      """)

  @OptionGroup var global: GlobalOptions

  var watchEvery: Duration? { global.watch?.duration }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let copies = try await Copies.take(session)
    let found = await RepairStanding.take(copies, session)
    var report = Report(RepairDocument.json(found.rows, copies.names))
    report.lines = RepairDocument.lines(found.rows, copies.names)
    report.failures = copies.failures + found.failures
    if !report.failures.isEmpty { report.exit = .degraded }
    return report
  }
}

/// What nodes say of their comparisons.
struct RepairStanding: Sendable {
  var rows: [(owner: Copies.Owner, peer: RepairStatus.Peer)] = []
  var failures: [CommandFailure] = []

  static func take(_ copies: Copies, _ session: Session) async -> RepairStanding {
    let admin = session.admin
    let limit = min(session.timeout, .seconds(3))
    let answers = await copies.each { owner in await peers(of: owner, admin, limit) }
    var standing = RepairStanding()
    for (owner, answer) in answers {
      switch answer {
      case .success(let peers): standing.rows += peers.map { (owner, $0) }
      case .failure(let failure): standing.failures.append(failure)
      }
    }
    return standing
  }

  /// The sum over a node's shards, by peer.
  private static func peers(
    of owner: Copies.Owner, _ admin: KVAdmin, _ limit: Duration
  ) async -> Result<[RepairStatus.Peer], CommandFailure> {
    var peers: [RepairStatus.Peer] = []
    var (shard, shards) = (UInt16(0), UInt16(1))
    while shard < shards {
      do throws(KVError) {
        guard
          case .status(let status) = try await admin.repair(.status(shard: shard), at: owner.address, deadline: limit)
        else {
          return .failure(
            CommandFailure(.error, "protocol_mismatch", "another answer than was asked", node: owner.name))
        }
        shards = status.shards
        for peer in status.peers {
          if let place = peers.firstIndex(where: { $0.node == peer.node }) {
            peers[place].add(peer)
          } else {
            peers.append(peer)
          }
        }
      } catch { return .failure(CommandFailure(error, node: owner.name)) }
      shard += 1
    }
    return .success(peers.sorted { $0.node < $1.node })
  }

  /// Comparisons that were asked for and are not done.
  var asked: Int { rows.reduce(0) { $0 + Int($1.peer.asked) } }
}

/// `kvctl repair status`, for people and for programs.
enum RepairDocument {
  static func lines(
    _ rows: [(owner: Copies.Owner, peer: RepairStatus.Peer)], _ names: [NodeID: String]
  ) -> [String] {
    var table = Table(["NODE", "PEER", "PAIRS", "OLDEST", "URGENT", "RUNNING", "MENDED", "FAILED", "LEAVES"])
    table.rows = rows.map { owner, peer in
      [
        owner.name, names[peer.node] ?? "\(peer.node)", Units.count(Int(peer.pairs)),
        peer.never > 0 ? "never" : Units.span(ms: peer.oldestMs), Units.count(Int(peer.urgent)),
        Units.count(Int(peer.running)), Units.count(peer.mended), Units.count(peer.failed), Units.count(peer.marks),
      ]
    }
    return table.lines()
  }

  static func json(
    _ rows: [(owner: Copies.Owner, peer: RepairStatus.Peer)], _ names: [NodeID: String]
  ) -> JSON {
    .array(
      rows.map { owner, peer in
        .object([
          ("node", .text(owner.name)), ("node_id", .text(owner.id)),
          ("peer", .optional(names[peer.node]) { .text($0) }), ("peer_id", .text(peer.node)),
          ("pairs", .integer(Int(peer.pairs))), ("never_compared", .integer(Int(peer.never))),
          ("oldest_ms", peer.never > 0 ? .null : .integer(peer.oldestMs)), ("urgent", .integer(Int(peer.urgent))),
          ("running", .integer(Int(peer.running))), ("asked_for", .integer(Int(peer.asked))),
          ("keys_mended", .integer(peer.mended)), ("incomplete", .integer(peer.failed)),
          ("leaves_marked", .integer(peer.marks)),
        ])
      })
  }
}

struct RepairRunVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Has owners compare their copies now.",
    discussion: """
      Each node compares its copies with all their other owners before anything else, and what differs is mended. Waits
      until every comparison that was asked for has ended well; exits with 9 when one is still due though nothing has
      moved for a minute, as while an owner is away. Ctrl-C ends the waiting, not the comparisons.

      Example: kvctl repair run
      Example: kvctl repair run --node n2 --no-wait
      Example: kvctl repair run --partition 17 --json
      """)

  @Option(name: .long, help: ArgumentHelp("Only the copies of this node, by name or id.", valueName: "node"))
  var node: String?

  @Option(name: .long, help: ArgumentHelp("Only this partition; see 'kvctl ring locate'.", valueName: "number"))
  var partition: Int?

  @Flag(name: .long, help: "Do not wait until they have ended.")
  var noWait = false

  @OptionGroup var global: GlobalOptions

  static let patience = Duration.seconds(60)

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let copies = try await Copies.take(session).limited(node: node, partition: partition)
    let admin = session.admin
    let limit = session.timeout
    let answers = await copies.each { owner in await RepairRunVerb.ask(owner, admin, limit) }
    var failures = node == nil ? copies.failures : []
    var pairs = 0
    for (_, answer) in answers {
      switch answer {
      case .success(let count): pairs += count
      case .failure(let failure): failures.append(failure)
      }
    }
    let left = noWait ? nil : await wait(for: pairs, copies, session)
    return report(pairs, left, failures)
  }

  private static func ask(
    _ owner: Copies.Owner, _ admin: KVAdmin, _ limit: Duration
  ) async -> Result<Int, CommandFailure> {
    var pairs = 0
    for partition in owner.partitions {
      do throws(KVError) {
        guard
          case .comparing(let count) = try await admin.repair(.compare(partition), at: owner.address, deadline: limit)
        else {
          return .failure(
            CommandFailure(.error, "protocol_mismatch", "another answer than was asked", node: owner.name))
        }
        pairs += Int(count)
      } catch { return .failure(CommandFailure(error, node: owner.name)) }
    }
    return .success(pairs)
  }

  /// Comparisons that are still due when they have ended, or when nothing moves any more.
  private func wait(for pairs: Int, _ copies: Copies, _ session: Session) async -> Int {
    let progress = SharedProgress("comparisons", of: pairs)
    defer { progress.clear() }
    var (left, movedAt) = (pairs, ContinuousClock.now)
    while left > 0, movedAt.duration(to: .now) < RepairRunVerb.patience {
      let standing = await RepairStanding.take(copies, session)
      if standing.failures.isEmpty {
        if standing.asked != left { movedAt = .now }
        left = standing.asked
        progress.show(done: max(0, pairs - left))
      }
      if left == 0 { break }
      do { try await Task.sleep(for: .milliseconds(200)) } catch { break }
    }
    return left
  }

  private func report(_ pairs: Int, _ left: Int?, _ failures: [CommandFailure]) -> Report {
    var report = Report(
      .object([
        ("comparisons", .integer(pairs)), ("waited", .bool(left != nil)),
        ("completed", .optional(left) { .integer(max(0, pairs - $0)) }),
      ]))
    report.failures = failures
    switch left {
    case nil: report.lines = ["\(Units.plural(pairs, "comparison")) will be made; see 'kvctl repair status'"]
    case 0?: report.lines = ["\(Units.plural(pairs, "comparison")) made; what differed is mended"]
    case let left?:
      report.lines = [
        "\(Units.count(pairs - left)) of \(Units.plural(pairs, "comparison")) made; see 'kvctl repair status' and "
          + "'kvctl doctor' for the rest"
      ]
    }
    if !failures.isEmpty || (left ?? 0) > 0 { report.exit = .degraded }
    return report
  }
}
