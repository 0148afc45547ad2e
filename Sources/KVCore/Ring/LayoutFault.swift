import KVModel

/// What makes a layout impossible to live by. All faults are reported at once.
public enum LayoutFault: Error, Equatable, Sendable, CustomStringConvertible {
  case noMembers
  case duplicateNode(NodeID)
  case duplicateName(String)
  case duplicateAddress(Address)
  case tooFewHosts(hosts: Int, replication: Int)
  case quorum(String)
  case settings(String)

  public var description: String {
    switch self {
    case .noMembers: "the layout has no members"
    case .duplicateNode(let id): "node id \(id) occurs twice: was a data directory copied?"
    case .duplicateName(let name): "two nodes are named \(name)"
    case .duplicateAddress(let address): "two nodes listen on \(address)"
    case .tooFewHosts(let hosts, let replication):
      "\(replication) copies need \(replication) distinct hosts; there are \(hosts)"
    case .quorum(let text), .settings(let text): text
    }
  }

  /// Every fault of `layout`, in the order of this enumeration.
  public static func all(in layout: Layout) -> [LayoutFault] {
    var faults: [LayoutFault] = layout.members.isEmpty ? [.noMembers] : []
    faults += duplicates(layout.members.map(\.id)).map { .duplicateNode($0) }
    faults += duplicates(layout.members.map(\.name)).map { .duplicateName($0) }
    let addresses = layout.members.flatMap { [$0.clientAddress, $0.peerAddress] }
    faults += duplicates(addresses).map { .duplicateAddress($0) }
    let settings = layout.settings
    let hosts = Set(layout.members.map(\.host)).count
    if hosts < settings.replication { faults.append(.tooFewHosts(hosts: hosts, replication: settings.replication)) }
    for (name, count) in [("read_quorum", settings.readQuorum), ("write_quorum", settings.writeQuorum)]
    where !(1...settings.replication).contains(count) {
      faults.append(.quorum("\(name) is \(count); it must be 1 to \(settings.replication)"))
    }
    if !Limits.partitionBits.contains(settings.partitionBits) {
      faults.append(
        .settings("partitions must be 2^\(Limits.partitionBits.lowerBound) to 2^\(Limits.partitionBits.upperBound)"))
    }
    return faults
  }

  private static func duplicates<Value: Equatable>(_ values: [Value]) -> [Value] {
    var result: [Value] = []
    for (index, value) in values.enumerated() where values[..<index].contains(value) && !result.contains(value) {
      result.append(value)
    }
    return result
  }
}
