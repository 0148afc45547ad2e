internal import KVCore
public import KVModel
internal import Synchronization

/// The records of a fake cluster, which all of its nodes share: every read is a quorum read.
public final class FakeStore: Sendable {
  private let records = Mutex<[Key: Record]>([:])
  private let counter = Atomic<UInt64>(0)

  /// Every fake cluster seals with it, whatever it was told.
  static let secret = ClusterSecret(low: 1, high: 2)

  public init() {}

  public subscript(key: Key) -> Record { records.withLock { $0[key] ?? Record() } }

  public var keys: Int { records.withLock { $0.count } }

  /// Puts a record there as it is.
  public func set(_ record: Record, for key: Key) { records.withLock { $0[key] = record } }

  func read(_ key: Key, cluster: ClusterID, at wall: WallTime) -> ReadAnswer {
    let record = self[key]
    let stamp = record.versions.map(\.stamp).max() ?? .zero
    let siblings = record.versions.sorted { $0.stamp > $1.stamp }.map {
      ReadAnswer.Sibling(stamp: $0.stamp, expiry: $0.expiry, checksum: $0.checksum, value: $0.value(at: wall))
    }
    return ReadAnswer(
      context: ContextToken(cluster: cluster, key: key, vector: record.context, stamp: stamp, secret: FakeStore.secret),
      siblings: siblings)
  }

  func write(_ write: WriteRequest, by node: NodeID, cluster: ClusterID, at wall: WallTime) -> ClientResponse {
    if let context = write.context,
      !context.belongs(to: write.key, of: cluster) || !context.isSealed(by: FakeStore.secret)
    {
      return .failed(Failure(.invalidContext))
    }
    let merged = records.withLock { records in
      let mint = mint(write, by: node, at: wall)
      return Merge.apply(.mint(mint), to: records[write.key] ?? Record()).map { outcome in
        records[write.key] = outcome.record
        return outcome
      }
    }
    switch merged {
    case .failure(let failure): return .failed(failure)
    case .success(let outcome):
      let stamp = outcome.minted?.stamp ?? .zero
      let token = outcome.covered.map {
        ContextToken(cluster: cluster, key: write.key, vector: $0, stamp: stamp, secret: FakeStore.secret)
      }
      return .written(
        Receipt(
          context: token, stamp: stamp, acknowledgements: 2, hints: 0,
          siblings: outcome.record.versions.count > 1 ? .present : .absent))
    }
  }

  private func mint(_ write: WriteRequest, by node: NodeID, at wall: WallTime) -> Mint {
    let count = counter.add(1, ordering: .relaxed).newValue
    let (content, checksum): (Version.Content, UInt64) =
      switch write.payload {
      case .put(let value, let checksum): (.value(value), checksum)
      case .delete: (.tombstone, 0)
      }
    return Mint(
      dot: Dot(actor: Actor(node: node, epoch: 1), counter: count << 8),
      basis: write.context.map { .context($0.vector) } ?? .overwrite, stamp: Stamp(bits: Stamp(wall).bits + count),
      stampCeiling: HybridClock.ceiling(at: wall), requestID: write.requestID,
      expiry: write.ttlMs.map { WallTime(milliseconds: wall.milliseconds + $0) }, checksum: checksum, content: content)
  }
}

extension FakeNode {
  /// What an honest node answers.
  func answer(_ request: ClientRequest, wall: UInt64) -> ClientResponse {
    let wall = WallTime(milliseconds: wall)
    let (description, layout, table) = with { ($0.description, $0.layout, $0.table) }
    let cluster = description.cluster
    switch request {
    case .describe: return .described(description)
    case .reserveCluster(let id): return reserve(id)
    case .formCluster(let layout, _): return form(layout)
    case .repair(let request): return .repaired(repair(request))
    case .get, .write, .explain, .fetchLayout: break
    }
    guard let layout, let table else { return .failed(Failure(.notMember, detail: "no member of a cluster")) }
    switch request {
    case .get(let key, let quorum):
      guard quorum.count(default: 1, replication: layout.settings.replication) <= layout.settings.replication else {
        return .failed(Failure(.invalidQuorum, detail: "R is above the \(layout.settings.replication) copies"))
      }
      return .value(store.read(key, cluster: cluster, at: wall))
    case .write(let write): return store.write(write, by: description.member.id, cluster: cluster, at: wall)
    case .explain(let key):
      let owners = table[key.token.partition(bits: table.partitionBits)].map { layout.members[Int($0)].id }
      let record = EncodedRecord(store[key])
      return .explained(owners.map { ReplicaView(node: $0, state: .record(record)) })
    case .fetchLayout: return .layout(layout, table)
    case .describe, .reserveCluster, .formCluster, .repair: return .done
    }
  }

  /// As a node whose copies are in order, and which has compared them all.
  private func repair(_ request: RepairRequest) -> RepairAnswer {
    let (description, layout) = with { ($0.description, $0.layout) }
    let peers = (layout?.members.map(\.id) ?? []).filter { $0 != description.member.id }.sorted()
    switch request {
    case .rescan(_, _, let bytesMax):
      var rescan = Rescan(root: Digest(low: 1, high: 2))
      if bytesMax > 0 {
        (rescan.keys, rescan.bytes) = (10, 2_000)
        rescan.tombstones = Rescan.Dead(versions: 2, bytes: 300)
        rescan.swept = Rescan.Dead(versions: 1, bytes: 150)
      }
      return .rescanned(rescan)
    case .compare: return .comparing(pairs: UInt32(peers.count))
    case .losses: return .losses(Losses(shards: 1, entries: []))
    case .acceptLoss: return .accepted(parts: 0)
    case .status:
      return .status(
        RepairStatus(
          shards: 1,
          peers: peers.map { node in
            var peer = RepairStatus.Peer(node: node)
            (peer.pairs, peer.oldestMs, peer.mended) = (64, 90_000, 3)
            return peer
          }))
    }
  }

  private func reserve(_ cluster: ClusterID) -> ClientResponse {
    with { state in
      guard state.description.cluster == .none || state.description.cluster == cluster else {
        return .failed(Failure(.otherCluster, detail: "this node belongs to another cluster"))
      }
      state.reserved = cluster
      return .reserved(state.description.cluster == cluster ? FakeStore.secret : nil)
    }
  }

  private func form(_ layout: Layout) -> ClientResponse {
    guard with({ $0.reserved }) == layout.cluster else {
      return .failed(Failure(.otherCluster, detail: "not reserved"))
    }
    join(layout)
    return .done
  }

  /// Makes this node a serving member.
  public func join(_ layout: Layout) {
    with { state in
      state.layout = layout
      state.table = FakeCluster.table(layout)
      state.description.state = .serving
      state.description.cluster = layout.cluster
      state.description.layoutVersion = layout.version
    }
  }
}
