import KVModel

/// Which node a request goes to: by its place among the nodes of the run.
enum Router: Sendable {
  /// There is one node.
  case single
  /// To owners of the key: a write to the first, a read to the less busy of two.
  case ring(PartitionTable)

  /// nil when no node is ready. An owner that is not is passed over; when all of them are, any node may forward.
  func node(for key: [UInt8], isWrite: Bool, _ pools: [LanePool], _ random: inout PRNG) -> Int? {
    switch self {
    case .single: return pools[0].isReady ? 0 : nil
    case .ring(let table):
      let token = key.withUnsafeBytes { Token(partitionKey: $0) }
      let owners = table[token.partition(bits: table.partitionBits)]
      let wanted = isWrite ? Int(owners[owners.startIndex]) : Router.lessBusy(owners, pools, &random)
      if pools[wanted].isReady { return wanted }
      return owners.first { pools[Int($0)].isReady }.map(Int.init) ?? pools.firstIndex(where: \.isReady)
    }
  }

  /// The power of two choices: of two owners the one with less under way.
  private static func lessBusy(_ owners: ArraySlice<UInt16>, _ pools: [LanePool], _ random: inout PRNG) -> Int {
    guard owners.count > 1 else { return Int(owners[owners.startIndex]) }
    let first = random.index(owners.count)
    let step = 1 + random.index(owners.count - 1)
    let one = Int(owners[owners.startIndex + first])
    let other = Int(owners[owners.startIndex + (first + step) % owners.count])
    if !pools[one].isReady { return other }
    return pools[other].isReady && pools[other].inFlight < pools[one].inFlight ? other : one
  }
}
