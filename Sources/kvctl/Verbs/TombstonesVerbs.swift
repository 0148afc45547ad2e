import ArgumentParser
import KVClient
import KVModel

struct TombstonesVerbs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tombstones", abstract: "What deleted and expired values still cost.",
    discussion: "Example: kvctl tombstones stats", subcommands: [TombstonesStatsVerb.self])
}

struct TombstonesStatsVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "stats", abstract: "Counts tombstones and swept values, and their bytes, on each node.",
    discussion: """
      SWEPT are values whose bytes were dropped after their expiry; what is left of them costs as much as a tombstone. It
      reads --sample partitions of each node, spread over the ring, and takes them for all; --all reads every one. The
      answer is of now. Exits with 9 when a node did not answer.

      Example: kvctl tombstones stats
      Example: kvctl tombstones stats --all --rate 200MiB
      Example: kvctl tombstones stats --sample 16 --json
      """)

  @Option(name: .long, help: ArgumentHelp("Partitions to be read on each node.", valueName: "number"))
  var sample = 64

  @Flag(name: .long, help: "Read all partitions instead of a sample.")
  var all = false

  @Option(name: .long, help: ArgumentHelp("What each node may read in a second.", valueName: "size"))
  var rate = "64MiB"

  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) {
    _ = try RepairVerifyVerb.rate(rate)
    guard sample >= 1 else { throw .usage("--sample: read one partition at least") }
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let copies = try await Copies.take(session)
    let most = all ? Int.max : sample
    let total = copies.owners.reduce(0) { $0 + min(most, $1.partitions.count) }
    let scanner = Rescanner(
      admin: session.admin, timeout: session.timeout, rate: try RepairVerifyVerb.rate(rate),
      progress: SharedProgress("partitions", of: total))
    let results = await copies.each { owner in await DeadCount.take(owner, scanner, most: most) }
    scanner.progress.clear()
    let counts = results.compactMap { try? $0.1.get() }
    var report = Report(DeadCount.json(counts))
    report.lines = DeadCount.lines(counts)
    report.failures = copies.failures
    for (_, result) in results { if case .failure(let failure) = result { report.failures.append(failure) } }
    if !report.failures.isEmpty { report.exit = .degraded }
    return report
  }
}

/// What one node's copies have of values that nobody sees any more.
struct DeadCount: Sendable {
  let owner: Copies.Owner
  /// Of the partitions that were read.
  private(set) var read = Rescan()
  private(set) var partitionsRead = 0

  static func take(
    _ owner: Copies.Owner, _ scanner: Rescanner, most: Int
  ) async -> Result<DeadCount, CommandFailure> {
    var count = DeadCount(owner: owner)
    for partition in sample(of: owner.partitions, most: most) {
      switch await scanner.read(partition, of: owner) {
      case .success(let rescan):
        count.read.add(rescan)
        count.partitionsRead += 1
      case .failure(let failure): return .failure(failure)
      }
    }
    return .success(count)
  }

  /// Spread evenly: neighbours on the ring may hold related keys.
  static func sample(of partitions: [PartitionID], most: Int) -> [PartitionID] {
    guard partitions.count > most else { return partitions }
    return (0..<most).map { partitions[$0 * partitions.count / most] }
  }

  var isEstimate: Bool { partitionsRead < owner.partitions.count }

  /// What it would be for all of the node's partitions.
  func scaled(_ value: UInt64) -> UInt64 {
    guard isEstimate, partitionsRead > 0 else { return value }
    return UInt64(Double(value) * Double(owner.partitions.count) / Double(partitionsRead))
  }

  static func lines(_ counts: [DeadCount]) -> [String] {
    var table = Table(["NODE", "TOMBSTONES", "BYTES", "SWEPT", "BYTES", "RECORDS", "BYTES", "PARTITIONS READ"])
    table.rows = counts.map { count in
      let about = count.isEstimate ? "~" : ""
      return [
        count.owner.name, about + Units.count(count.scaled(count.read.tombstones.versions)),
        about + Units.size(bytes: count.scaled(count.read.tombstones.bytes)),
        about + Units.count(count.scaled(count.read.swept.versions)),
        about + Units.size(bytes: count.scaled(count.read.swept.bytes)),
        about + Units.count(count.scaled(count.read.keys)), about + Units.size(bytes: count.scaled(count.read.bytes)),
        "\(Units.count(count.partitionsRead)) of \(Units.count(count.owner.partitions.count))",
      ]
    }
    return table.lines()
  }

  static func json(_ counts: [DeadCount]) -> JSON {
    .array(
      counts.map { count in
        .object([
          ("node", .text(count.owner.name)), ("node_id", .text(count.owner.id)),
          ("is_estimate", .bool(count.isEstimate)),
          ("tombstones", .integer(count.scaled(count.read.tombstones.versions))),
          ("tombstone_bytes", .integer(count.scaled(count.read.tombstones.bytes))),
          ("swept", .integer(count.scaled(count.read.swept.versions))),
          ("swept_bytes", .integer(count.scaled(count.read.swept.bytes))),
          ("records", .integer(count.scaled(count.read.keys))),
          ("record_bytes", .integer(count.scaled(count.read.bytes))),
          ("partitions_read", .integer(count.partitionsRead)), ("partitions", .integer(count.owner.partitions.count)),
        ])
      })
  }
}
