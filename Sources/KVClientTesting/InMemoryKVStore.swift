public import KVClient
internal import KVCore
internal import KVModel
internal import Synchronization

/// A store in memory behind the client's protocol, for tests of code that uses RingKV.
///
/// Siblings, contexts, deletes and expiry are those of a cluster: the same merge decides. Every write is seen by every
/// read at once, as if one node had all keys. Time stands still until ``advance(by:)``, so that tests do not wait.
///
/// ```swift
/// let store = InMemoryKVStore()
/// try await store.put("session", "token", ttl: .seconds(60))
/// store.advance(by: .seconds(61))
/// let session = try await store.get("session")  // nil
/// ```
public final class InMemoryKVStore: KVStore {
  private struct State {
    var records: [Key: Record] = [:]
    var nowMs: UInt64
    var writes: UInt64 = 0
    var failures: [KVError] = []

    mutating func fail() throws(KVError) {
      if !failures.isEmpty { throw failures.removeFirst() }
    }
  }

  private let state: Mutex<State>
  private let secret = ClusterSecret(low: 0x7465_7374, high: 0x7374_6f72)
  private static let cluster = ClusterID(0x7465_7374)
  private static let actor = Actor(node: NodeID(1), epoch: 1)

  /// An empty store.
  ///
  /// - Parameter nowMs: What its clock shows, milliseconds since 1970.
  public init(nowMs: UInt64 = 1_700_000_000_000) { state = Mutex(State(nowMs: nowMs)) }

  /// Moves the clock on; what expires by then is absent.
  public func advance(by span: Duration) {
    let milliseconds = span.components.seconds * 1_000 + span.components.attoseconds / 1_000_000_000_000_000
    state.withLock { $0.nowMs += UInt64(max(0, milliseconds)) }
  }

  /// The next calls fail with these, in order, and have no effect; whatever comes after them is served.
  public func failNext(_ errors: KVError...) { state.withLock { $0.failures += errors } }

  /// How many keys have a value.
  public var count: Int {
    state.withLock { state in
      let now = WallTime(milliseconds: state.nowMs)
      return state.records.values.count { record in record.versions.contains { $0.value(at: now) != nil } }
    }
  }

  /// Reads a key, its absence included.
  public func perform(_ read: KVReadRequest) async throws(KVError) -> KVState {
    let key = try read.key.model()
    let found = try state.withLock { state throws(KVError) in
      try state.fail()
      return answer(key, state)
    }
    return try KVState(found)
  }

  /// Carries out a put or a delete.
  public func perform(_ write: KVWriteRequest) async throws(KVError) -> KVReceipt {
    let request = try write.modelRequest(id: RequestID(client: 0, sequence: 0))
    if let token = request.context,
      !token.belongs(to: request.key, of: InMemoryKVStore.cluster) || !token.isSealed(by: secret)
    {
      throw KVError(.invalidContext, "the context is of another key or another store")
    }
    let receipt = try state.withLock { state throws(KVError) in
      try state.fail()
      return try apply(request, to: &state)
    }
    return KVReceipt(receipt)
  }

  private func answer(_ key: Key, _ state: State) -> ReadAnswer {
    let record = state.records[key] ?? Record()
    let now = WallTime(milliseconds: state.nowMs)
    return ReadAnswer(
      context: token(key, record.context, record.highestStamp),
      siblings: record.newestFirst.map {
        ReadAnswer.Sibling(stamp: $0.stamp, expiry: $0.expiry, checksum: $0.checksum, value: $0.value(at: now))
      })
  }

  private func apply(_ write: WriteRequest, to state: inout State) throws(KVError) -> Receipt {
    state.writes += 1
    let mint = InMemoryKVStore.mint(write, number: state.writes, at: WallTime(milliseconds: state.nowMs))
    switch Merge.apply(.mint(mint), to: state.records[write.key] ?? Record()) {
    case .failure(let failure): throw KVError(failure)
    case .success(let outcome):
      state.records[write.key] = outcome.record
      let stamp = outcome.minted?.stamp ?? mint.stamp
      return Receipt(
        context: outcome.covered.map { token(write.key, $0, stamp) }, stamp: stamp, acknowledgements: 1, hints: 0,
        siblings: outcome.record.versions.count > 1 ? .present : .absent)
    }
  }

  private static func mint(_ write: WriteRequest, number: UInt64, at now: WallTime) -> Mint {
    let (content, checksum): (Version.Content, UInt64) =
      switch write.payload {
      case .put(let value, let checksum): (.value(value), checksum)
      case .delete: (.tombstone, 0)
      }
    return Mint(
      dot: Dot(actor: actor, counter: number), basis: write.context.map { .context($0.vector) } ?? .overwrite,
      stamp: Stamp(bits: Stamp(now).bits + number), stampCeiling: HybridClock.ceiling(at: now),
      requestID: RequestID(client: 0, sequence: number),
      expiry: write.ttlMs.map { WallTime(milliseconds: now.milliseconds + $0) }, checksum: checksum, content: content)
  }

  private func token(_ key: Key, _ vector: VersionVector, _ stamp: Stamp) -> ContextToken {
    ContextToken(cluster: InMemoryKVStore.cluster, key: key, vector: vector, stamp: stamp, secret: secret)
  }
}
