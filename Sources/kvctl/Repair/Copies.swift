import KVClient
import KVModel

/// The members of a cluster that answer, and which partitions each owns: what repair verbs walk over.
struct Copies: Sendable {
  struct Owner: Sendable {
    let id: NodeID
    let name: String
    let address: Address
    let partitions: [PartitionID]
  }

  var owners: [Owner]
  let partitionCount: Int
  let names: [NodeID: String]
  /// Why the others did not answer.
  let failures: [CommandFailure]

  static func take(_ session: Session) async throws(CommandFailure) -> Copies {
    let (survey, layout, table) = try await Survey.ofCluster(session)
    var owned = [[PartitionID]](repeating: [], count: layout.members.count)
    for index in 0..<table.partitions {
      let partition = PartitionID(UInt16(index))
      for place in table[partition] { owned[Int(place)].append(partition) }
    }
    let addresses = Dictionary(
      survey.descriptions.map { ($1.member.id, $0) }, uniquingKeysWith: { first, _ in first })
    let owners = layout.members.indices.compactMap { place -> Owner? in
      let member = layout.members[place]
      guard let address = addresses[member.id] else { return nil }
      return Owner(id: member.id, name: member.name, address: address, partitions: owned[place])
    }
    return Copies(
      owners: owners.sorted { $0.name < $1.name }, partitionCount: table.partitions,
      names: Dictionary(layout.members.map { ($0.id, $0.name) }, uniquingKeysWith: { first, _ in first }),
      failures: survey.failures)
  }

  /// One node by name or id, one partition; all of them where nothing is named.
  func limited(node: String?, partition: Int?) throws(CommandFailure) -> Copies {
    var copies = self
    if let node {
      copies.owners = owners.filter { $0.name == node || $0.id.description == node }
      if copies.owners.isEmpty {
        throw .usage("--node: no member that answers is named \(node); see 'kvctl status'")
      }
    }
    if let partition {
      guard (0..<partitionCount).contains(partition) else {
        throw .usage("--partition: there are \(Units.count(partitionCount)) partitions, numbered from 0")
      }
      copies.owners = copies.owners.compactMap { owner in
        let partitions = owner.partitions.filter { Int($0.index) == partition }
        return partitions.isEmpty
          ? nil : Owner(id: owner.id, name: owner.name, address: owner.address, partitions: partitions)
      }
      if copies.owners.isEmpty {
        throw .usage("--node: \(node ?? "nobody that answers") owns no copy of partition \(partition)")
      }
    }
    return copies
  }

  /// Does something for every owner, all at once; what came of each, in their order.
  func each<Value: Sendable>(_ body: @escaping @Sendable (Owner) async -> Value) async -> [(Owner, Value)] {
    let tasks = owners.map { owner in (owner, Task { await body(owner) }) }
    return await withTaskCancellationHandler {
      var results: [(Owner, Value)] = []
      for (owner, task) in tasks { results.append((owner, await task.value)) }
      return results
    } onCancel: {
      for (_, task) in tasks { task.cancel() }
    }
  }
}

/// Reads copies again, partition by partition, no faster than is allowed.
struct Rescanner: Sendable {
  let admin: KVAdmin
  let timeout: Duration
  /// Of each node, bytes a second.
  let rate: Int64
  let progress: SharedProgress

  /// A whole partition of one owner, page by page. Asked again a few times where the node has too much to do.
  func read(_ partition: PartitionID, of owner: Copies.Owner) async -> Result<Rescan, CommandFailure> {
    var whole = Rescan(nextLeaf: 0)
    while let leaf = whole.nextLeaf {
      let begin = ContinuousClock.now
      let before = whole.bytes
      switch await page(partition, from: leaf, bytesMax: UInt32(Rescan.bytesMax), of: owner) {
      case .success(let page): whole.add(page)
      case .failure(let failure): return .failure(failure)
      }
      let due = Duration.seconds(Double(whole.bytes - before) / Double(max(1, rate)))
      let spent = begin.duration(to: .now)
      if due > spent { try? await Task.sleep(for: due - spent) }
    }
    progress.onPartition()
    return .success(whole)
  }

  /// The digest of the partition's tree, as it is now.
  func root(_ partition: PartitionID, of owner: Copies.Owner) async -> Result<Digest, CommandFailure> {
    await page(partition, from: 0, bytesMax: 0, of: owner).map(\.root)
  }

  private func page(
    _ partition: PartitionID, from leaf: UInt32, bytesMax: UInt32, of owner: Copies.Owner
  ) async -> Result<Rescan, CommandFailure> {
    var attempts = 0
    while true {
      attempts += 1
      do throws(KVError) {
        let request = RepairRequest.rescan(partition, from: leaf, bytesMax: bytesMax)
        let answer = try await admin.repair(request, at: owner.address, deadline: timeout)
        guard case .rescanned(let rescan) = answer else {
          return .failure(
            CommandFailure(.error, "protocol_mismatch", "another answer than was asked", node: owner.name))
        }
        return .success(rescan)
      } catch {
        guard error.code == .overloaded, attempts < 20, !Task.isCancelled else {
          return .failure(CommandFailure(error, node: owner.name))
        }
        try? await Task.sleep(for: error.retryAfter ?? .milliseconds(200))
      }
    }
  }
}
