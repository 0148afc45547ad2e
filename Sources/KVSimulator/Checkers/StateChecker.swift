import KVCore
import KVModel

/// Looks at what the nodes mint and store, never at what they think of it: one dot one value, stamps within the bound,
/// replicas that agree in the end.
struct StateChecker {
  /// What a dot names, for ever.
  private struct Name: Equatable {
    var request: RequestID
    var stamp: Stamp
    var checksum: UInt64
  }

  private var minted: [Dot: Name] = [:]

  /// A node has minted a version.
  mutating func onMinted(_ version: Version, by node: SimulatedNode) -> Violation? {
    let name = Name(request: version.requestID, stamp: version.stamp, checksum: version.checksum)
    if let other = minted.updateValue(name, forKey: version.dot), other != name {
      return Violation(.dotUnique, "\(node.name) minted dot \(version.dot) twice, for different writes")
    }
    return nil
  }

  /// A node is about to mint a version with this stamp.
  func onMinting(_ stamp: Stamp, by node: SimulatedNode, _ shard: Int, at now: Now) -> Violation? {
    let bound = HybridClock.ceiling(at: now.wall)
    // The counter may borrow from the next millisecond.
    if stamp.wall.milliseconds > bound.wall.milliseconds + 1 {
      let ahead = stamp.wall.milliseconds - now.wall.milliseconds
      return Violation(.clockBound, "\(node.name) minted a stamp \(ahead) ms ahead of its clock")
    }
    if stamp < node.acceptedStamp[shard] {
      return Violation(
        .clockBound, "\(node.name) minted stamp \(stamp) after it had accepted \(node.acceptedStamp[shard])")
    }
    return nil
  }

  /// What all disks hold at the end.
  func check(_ nodes: [SimulatedNode]) -> [Violation] {
    for node in nodes where !node.isStranger {
      for disk in node.disks {
        if disk.unsweptVersions > 0 {
          return [Violation(.quiet, "\(node.name) got bytes back that it had swept, \(disk.unsweptVersions) times")]
        }
        if let violation = check(disk.snapshot(), of: node) { return [violation] }
      }
    }
    return []
  }

  private func check(_ snapshot: StorageSnapshot, of node: SimulatedNode) -> Violation? {
    for entry in snapshot.records {
      guard let record = try? entry.record.decoded() else { continue }
      for version in record.versions {
        let name = Name(request: version.requestID, stamp: version.stamp, checksum: version.checksum)
        guard let known = minted[version.dot], known == name else {
          return Violation(.dotUnique, "\(node.name) holds \(version.dot), which names another write, or none")
        }
      }
    }
    return nil
  }
}
