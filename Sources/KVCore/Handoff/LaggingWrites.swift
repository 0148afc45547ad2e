import KVModel

// A write that was answered stays until each owner has it or has a hint. An owner that was known to be away has its hint
// in the record's own batch; one that refuses, is lost, or is silent at the deadline gets it now. A crash of this node in
// between leaves neither: then the exchanges find what that owner lacks.
extension Shard {
  /// Owners that are known to miss a write when it is merged.
  func hints(for operation: WriteOperation) -> [NodeID] {
    operation.hinted.bits == 0 ? [] : operation.owners.nodes(of: operation.hinted)
  }

  /// Owners that a peer's write passes by, as far as this node sees: whoever merges it notes them too, since the
  /// coordinator may be the next to go. The cheap question comes first.
  func hints(for write: ReplicaWrite, from peer: NodeID, _ owners: OwnerSet) -> [NodeID] {
    guard settings.keepsHints, case .write = write.purpose, !reachability.areAllLinked else { return [] }
    return owners.nodes.filter { $0 != identity.node && $0 != peer && !reachability.isLinked($0) }
  }

  /// Ends a write for its client; it lags until the other owners are heard of. `isOver`: nothing more is waited for.
  mutating func lag(_ id: OperationID, isOver: Bool = false, _ effects: inout [Effect]) {
    guard writes.isLive(id), writes[id]?.isAnswered == false else { return }
    laggingWrites += 1
    writes[id]?.letGo()
    settleLag(id, isOver: isOver || laggingWrites > settings.laggingWritesMax, &effects)
  }

  mutating func settleLag(_ id: OperationID, isOver: Bool = false, _ effects: inout [Effect]) {
    guard let phase = writes[id]?.phase, phase != .minting,
      let (missing, open) = writes[id]?.unheard(besides: identity.node)
    else { return }
    guard missing.bits == 0 || open.bits == 0 || isOver else { return }
    let operation = writes.remove(id)
    laggingWrites -= 1
    if planted(.silentOwnerForgotten), open.bits != 0 { return }
    if missing.bits != 0, let operation {
      hint(operation.write.key, operation.owners.nodes(of: missing), &effects)
    }
  }

  /// A version was merged here after its write had been given up, or before a second round that never came: no owner was
  /// told, or nobody knows which.
  mutating func hintAll(_ operation: WriteOperation, _ effects: inout [Effect]) {
    hint(operation.write.key, operation.owners.nodes.filter { $0 != identity.node }, &effects)
  }
}

extension WriteOperation {
  /// Not answered, or answered before its merge was known.
  var mayStillMint: Bool { !isAnswered || phase == .minting }

  /// Owners other than `node` that have not synced it and have no hint, and those of them that may still answer.
  func unheard(besides node: NodeID) -> (missing: OwnerMask, open: OwnerMask) {
    let all = (UInt64(1) << UInt64(owners.nodes.count)) - 1
    var missing = OwnerMask(bits: UInt32(truncatingIfNeeded: all) & ~acknowledged.bits & ~hinted.bits)
    if let own = owners.place(of: node) { missing.remove(own) }
    return (missing, OwnerMask(bits: missing.bits & ~failed.bits))
  }
}
