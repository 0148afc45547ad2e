import KVCore
import KVModel

// A disk of which only the reserve is left, and what is expected of its node then: clients' values are refused, so that the
// reserve is there for what must go on; their deletes and reads are not.
extension Simulation {
  func setDisk(of node: SimulatedNode, usedPercent: UInt64) {
    node.diskPercent = usedPercent
    measureDisk(of: node)
  }

  /// What a shell does once a second.
  func measureDisk(of node: SimulatedNode) {
    guard node.condition == .running else { return }
    let isNearlyFull = node.diskPercent >= 95
    if isNearlyFull == node.isReserveAnnounced { return }
    node.isReserveAnnounced = isNearlyFull
    node.reserveRequests.removeAll()
    trace.line(time) { "\(node.name): its disk is \(isNearlyFull ? "nearly full" : "as it was")" }
    var measurements = NodeDescription.Measurements()
    (measurements.diskUsedBytes, measurements.diskTotalBytes) = (node.diskPercent, 100)
    stepControl(node, .measured(measurements, slow: []))
  }

  func watchReserve(
    _ node: SimulatedNode, _ request: ClientRequest, _ number: UInt64, _ client: Int, _ partition: PartitionID
  ) {
    guard node.isReserveAnnounced, node.shards[0].view.owners(of: partition).place(of: node.id) != nil else { return }
    let isPut = if case .write(let write) = request { write.payload != .delete } else { false }
    node.reserveRequests[client] = (number, isPut)
  }

  func checkReserve(_ node: SimulatedNode, _ response: ClientResponse, _ client: ClientRef) {
    guard let watched = node.reserveRequests.removeValue(forKey: Int(client.connection)),
      watched.request == client.request
    else { return }
    switch response {
    case .written where watched.isPut:
      fail(Violation(.bounded, "\(node.name) took a client's value though only its disk's reserve is left"))
    case .failed(let failure) where !watched.isPut && failure.code == .overloaded:
      fail(Violation(.bounded, "\(node.name) refused what its disk's reserve is there for: \(failure.detail)"))
    case .written, .failed, .value, .explained, .described, .layout, .done, .reserved, .repaired: break
    }
  }
}
