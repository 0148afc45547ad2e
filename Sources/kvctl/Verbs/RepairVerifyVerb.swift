import ArgumentParser
import KVClient
import KVModel

struct RepairVerifyVerb: Verb {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Reads all copies again, and holds them against each other and their trees.",
    discussion: """
      Every partition's owners must have equal trees, and each tree must be that of the data beside it. Copies that are
      written to differ for moments: what differs is looked at again for ten seconds. Exits with 9 when something still
      differs, a record is damaged, or an owner did not answer. It reads everything once, and no faster than --rate.

      Example: kvctl repair verify
      Example: kvctl repair verify --partition 17 --json
      Example: kvctl repair verify --rate 200MiB
      """)

  @Option(name: .long, help: ArgumentHelp("Only this partition; see 'kvctl ring locate'.", valueName: "number"))
  var partition: Int?

  @Option(name: .long, help: ArgumentHelp("What each node may read in a second.", valueName: "size"))
  var rate = "64MiB"

  @OptionGroup var global: GlobalOptions

  mutating func prepare() throws(CommandFailure) { _ = try Self.rate(rate) }

  static func rate(_ text: String) throws(CommandFailure) -> Int64 {
    guard let rate = Amounts.bytes(text), rate > 0 else { throw .usage("--rate: give a size such as 64MiB") }
    return rate
  }

  func execute(_ session: Session) async throws(CommandFailure) -> Report {
    let copies = try await Copies.take(session).limited(node: nil, partition: partition)
    let total = copies.owners.reduce(0) { $0 + $1.partitions.count }
    let scanner = Rescanner(
      admin: session.admin, timeout: session.timeout, rate: try Self.rate(rate),
      progress: SharedProgress("copies of partitions", of: total))
    var verification = await Verification.read(copies, scanner)
    await verification.settle(copies, scanner)
    scanner.progress.clear()
    var report = Report(verification.json)
    report.lines = verification.lines(copies)
    report.failures = copies.failures + verification.failures
    if !report.failures.isEmpty || !verification.isEqual { report.exit = .degraded }
    return report
  }
}

/// What was read of all copies, and where they differ.
struct Verification: Sendable {
  typealias Copy = (owner: Copies.Owner, rescan: Rescan)

  /// By partition, those that were read, by their owners' names.
  private(set) var copies: [PartitionID: [Copy]] = [:]
  private(set) var failures: [CommandFailure] = []

  static func read(_ copies: Copies, _ scanner: Rescanner) async -> Verification {
    let results = await copies.each { owner in
      var found: [(PartitionID, Rescan)] = []
      for partition in owner.partitions {
        if Task.isCancelled { break }
        switch await scanner.read(partition, of: owner) {
        case .success(let rescan): found.append((partition, rescan))
        case .failure(let failure): return (found, failure as CommandFailure?)
        }
      }
      return (found, nil)
    }
    var verification = Verification()
    for (owner, (found, failure)) in results {
      for (partition, rescan) in found { verification.copies[partition, default: []].append((owner, rescan)) }
      if let failure { verification.failures.append(failure) }
    }
    return verification
  }

  private static let patience = Duration.seconds(10)

  /// What differed may have been about to be written: looks again until it agrees, or time is up.
  mutating func settle(_ all: Copies, _ scanner: Rescanner) async {
    let end = ContinuousClock.now + Verification.patience
    while case let doubtful = differing + drifted, !doubtful.isEmpty, ContinuousClock.now < end, !Task.isCancelled {
      for partition in Set(doubtful).sorted() { await lookAgain(partition, scanner) }
      if !differing.isEmpty || !drifted.isEmpty { try? await Task.sleep(for: .milliseconds(200)) }
    }
  }

  private mutating func lookAgain(_ partition: PartitionID, _ scanner: Rescanner) async {
    guard let found = copies[partition] else { return }
    for place in found.indices {
      if found[place].rescan.differingLeaves > 0,
        case .success(let rescan) = await scanner.read(partition, of: found[place].owner)
      {
        copies[partition]?[place].rescan = rescan
      }
    }
    // All roots at once, so that they are of about one moment.
    let roots = found.map { copy in Task { await scanner.root(partition, of: copy.owner) } }
    for place in roots.indices {
      if case .success(let root) = await roots[place].value { copies[partition]?[place].rescan.root = root }
    }
  }

  /// Partitions whose owners have different trees, and those with a tree that is not that of its data.
  var differing: [PartitionID] {
    copies.filter { !$0.value.allSatisfy { [first = $0.value[0]] in $0.rescan.root == first.rescan.root } }.keys
      .sorted()
  }

  var drifted: [PartitionID] { copies.filter { $0.value.contains { $0.rescan.differingLeaves > 0 } }.keys.sorted() }

  var damaged: UInt64 { copies.values.joined().reduce(0) { $0 + $1.rescan.damaged } }

  var isEqual: Bool { differing.isEmpty && drifted.isEmpty && damaged == 0 }

  private var keys: UInt64 { copies.values.joined().reduce(0) { $0 + $1.rescan.keys } }
  private var bytes: UInt64 { copies.values.joined().reduce(0) { $0 + $1.rescan.bytes } }

  func lines(_ all: Copies) -> [String] {
    var lines: [String] = []
    for partition in differing {
      let owners = copies[partition, default: []].map { "\($0.owner.name) \($0.rescan.root)" }
      lines.append("partition \(partition): its owners differ: \(owners.joined(separator: ", "))")
    }
    for partition in drifted {
      for copy in copies[partition, default: []] where copy.rescan.differingLeaves > 0 {
        lines.append(
          "partition \(partition): the tree of \(copy.owner.name) is not that of its data, in "
            + "\(Units.plural(Int(copy.rescan.differingLeaves), "leaf", "leaves"))")
      }
    }
    for partition in copies.keys.sorted() {
      for copy in copies[partition, default: []] where copy.rescan.damaged > 0 {
        lines.append(
          "partition \(partition): \(copy.owner.name) has \(Units.plural(Int(copy.rescan.damaged), "damaged record"))")
      }
    }
    let total = Set(all.owners.flatMap(\.partitions)).count
    let part = copies.count < total ? "\(copies.count) of " : ""
    let read =
      "\(part)\(Units.plural(total, "partition")) read on \(Units.plural(all.owners.count, "node")), "
      + "\(Units.count(keys)) records, \(Units.size(bytes: bytes))"
    let agreement = failures.isEmpty ? "all owners agree, and their trees with their data" : "what was read agrees"
    lines.append(isEqual ? "\(read): \(agreement)" : read)
    return lines
  }

  var json: JSON {
    .object([
      ("equal", .bool(isEqual && failures.isEmpty)), ("partitions", .integer(copies.count)),
      ("records", .integer(keys)), ("bytes", .integer(bytes)), ("damaged_records", .integer(damaged)),
      ("differing", .array(differing.map(document))), ("drifted", .array(drifted.map(document))),
    ])
  }

  private func document(_ partition: PartitionID) -> JSON {
    .object([
      ("partition", .integer(Int(partition.index))),
      (
        "owners",
        .array(
          copies[partition, default: []].map { copy in
            .object([
              ("node", .text(copy.owner.name)), ("node_id", .text(copy.owner.id)),
              ("root", .text("\(copy.rescan.root)")), ("records", .integer(copy.rescan.keys)),
              ("leaves_drifted", .integer(Int(copy.rescan.differingLeaves))),
              ("damaged_records", .integer(copy.rescan.damaged)),
            ])
          })
      ),
    ])
  }
}
