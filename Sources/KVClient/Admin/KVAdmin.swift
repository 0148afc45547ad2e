package import KVModel

/// What kvctl asks of nodes beyond reads and writes.
package struct KVAdmin: Sendable {
  let client: KVClient

  /// What the node at `endpoint` says of itself and of its peers.
  package func describe(_ endpoint: Address, deadline: Duration? = nil) async throws(KVError) -> NodeDescription {
    let response = try await client.engine().perform(.describe, .address(endpoint), within: deadline)
    guard case .described(let description) = response else { throw KVError.unexpectedReply }
    return description
  }

  /// The layout and its table, of the node at `endpoint`, or of any.
  package func fetchLayout(
    _ endpoint: Address? = nil, deadline: Duration? = nil
  ) async throws(KVError) -> (Layout, PartitionTable) {
    let response = try await client.engine().perform(
      .fetchLayout, endpoint.map(Route.address) ?? .any, within: deadline)
    guard case .layout(let layout, let table) = response else { throw KVError.unexpectedReply }
    return (layout, table)
  }

  /// Holds the node at `endpoint` for a cluster for ten seconds. A member of it already tells the cluster's secret.
  package func reserveCluster(_ cluster: ClusterID, at endpoint: Address) async throws(KVError) -> ClusterSecret? {
    let response = try await client.engine().perform(.reserveCluster(cluster), .address(endpoint), within: nil)
    guard case .reserved(let secret) = response else { throw KVError.unexpectedReply }
    return secret
  }

  /// Has the node at `endpoint` accept layout version 1.
  package func formCluster(
    _ layout: Layout, _ secret: ClusterSecret, at endpoint: Address
  ) async throws(KVError) {
    let response = try await client.engine().perform(.formCluster(layout, secret), .address(endpoint), within: nil)
    guard case .done = response else { throw KVError.unexpectedReply }
  }

  /// What the node at `endpoint` answers about its copies.
  package func repair(
    _ request: RepairRequest, at endpoint: Address, deadline: Duration? = nil
  ) async throws(KVError) -> RepairAnswer {
    let response = try await client.engine().perform(.repair(request), .address(endpoint), within: deadline)
    guard case .repaired(let answer) = response else { throw KVError.unexpectedReply }
    return answer
  }

  /// What each owner of a key holds. Repairs nothing.
  package func explain(_ key: KVKey, deadline: Duration? = nil) async throws(KVError) -> [ReplicaView] {
    let key = try key.modelKey()
    let response = try await client.engine().perform(.explain(key), .key(key.token), within: deadline)
    guard case .explained(let views) = response else { throw KVError.unexpectedReply }
    return views
  }

  /// The cluster and the layout's version that the client has learnt, if any.
  package func known() async -> (cluster: ClusterID, layoutVersion: UInt32)? {
    guard let engine = try? client.engine() else { return nil }
    return await engine.onLoop { engine in engine.routes.map { ($0.layout.cluster, $0.layout.version) } }
  }

  package func counters() async throws(KVError) -> ClientCounters {
    try await client.engine().onLoop { $0.counters }
  }
}

extension KVClient {
  package var admin: KVAdmin { KVAdmin(client: self) }
}

extension KVKey {
  /// The key as nodes see it.
  package func model() throws(KVError) -> Key { try modelKey() }
}
