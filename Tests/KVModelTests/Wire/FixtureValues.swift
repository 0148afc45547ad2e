@testable import KVModel

/// The values behind `Fixtures/revision1`: written out, not drawn, so that they stay what they are.
enum FixtureValues {
  static let actors = [
    Actor(node: NodeID(0x0102_0304_0506_0708), epoch: 1), Actor(node: NodeID(0x1112_1314_1516_1718), epoch: 0),
  ]
  static let vector = VersionVector([
    .init(actor: actors[0], counter: 0x0203), .init(actor: actors[1], counter: 0x0101),
    .init(actor: Actor(node: NodeID(.max), epoch: .max), counter: .max),
  ])
  static let stamp = Stamp(bits: 0x018c_0000_0001_0002)
  static let requestID = RequestID(client: 0x2122_2324_2526_2728, sequence: 5)
  static let value = Array("Ada Lovelace".utf8)
  static let cluster = ClusterID(0xc1c2_c3c4_c5c6_c7c8)

  static func version(_ actor: Int, _ counter: UInt64, _ content: Version.Content, expiry: UInt64? = nil) -> Version {
    Version(
      dot: Dot(actor: actors[actor], counter: counter), stamp: Stamp(bits: stamp.bits + counter),
      expiry: expiry.map { WallTime(milliseconds: $0) }, requestID: requestID,
      checksum: content == .tombstone ? 0 : Checksum.of(value), content: content)
  }

  static let record = Record(
    context: vector,
    versions: [
      version(0, 0x0103, .value(value)), version(0, 0x0203, .tombstone), version(1, 0x0101, .swept, expiry: 99),
    ])
  static let encoded = EncodedRecord(record)

  static func key() throws -> Key {
    try Key(namespace: 0x0102, partitionKey: Array("user".utf8), sortKey: Array("1".utf8))
  }
  static func token() throws -> ContextToken {
    ContextToken(cluster: cluster, key: try key(), vector: vector, stamp: stamp, secret: Generators.secret)
  }

  static func member(_ n: UInt64) -> Member {
    Member(
      id: NodeID(n), name: "node-\(n)", clientAddress: Address(host: "10.0.0.\(n)", port: 7420),
      peerAddress: Address(host: "fd00::\(n)", port: 7421), zone: "zürich-\(n)", host: "rack\(n)",
      weight: UInt16(100 * n))
  }

  static let settings = ClusterSettings(
    name: "fixture", replication: 2, readQuorum: 1, writeQuorum: 2, partitionBits: 4, virtualNodes: 64, leafBits: 6)
  static let layout = Layout(
    cluster: cluster, version: 3, settings: settings, members: [member(2), member(1), member(3)])
  static let table = PartitionTable(
    partitionBits: 4, copies: 2, owners: (0..<16 as Range<UInt16>).flatMap { [$0 % 3, ($0 + 1) % 3] })
  static let generation = Generation(number: 7, nonce: 0x3132, predecessor: 0x4142)

  static var rescan: Rescan {
    var rescan = Rescan(nextLeaf: 64, root: Digest(low: 1, high: 2))
    (rescan.differingLeaves, rescan.keys, rescan.bytes, rescan.damaged) = (3, 4, 5, 6)
    rescan.tombstones = Rescan.Dead(versions: 7, bytes: 8)
    rescan.swept = Rescan.Dead(versions: 9, bytes: 10)
    return rescan
  }

  static func description() -> NodeDescription {
    var measurements = NodeDescription.Measurements()
    measurements.uptimeMs = 1
    measurements.diskUsedBytes = 2
    measurements.diskTotalBytes = 3
    measurements.dataBytes = 4
    measurements.keys = 5
    measurements.readP99Us = 6
    measurements.writeP99Us = 7
    measurements.repairAgeMs = 8
    measurements.hints = [.init(node: NodeID(2), keys: 9, marks: 10, ageMs: 11)]
    measurements.reads = 9
    measurements.writes = 10
    measurements.isDiskNearlyFull = true
    return NodeDescription(
      member: member(1), state: .stranger, cluster: cluster, layoutVersion: 3, settings: settings,
      generation: generation, shards: 2, syncs: true, release: "0.1.0", expected: NodeID(9), measurements: measurements,
      peers: [.init(node: NodeID(2), health: .slow, sinceMs: 8), .init(node: NodeID(3), health: .replaced, sinceMs: 9)])
  }

  /// Of the first release, which had no features.
  private static var hello: Hello {
    var hello = Hello(
      role: .peer, cluster: cluster, node: NodeID(1), expected: NodeID(2), generation: generation, shard: 1, shards: 2,
      clockMs: 4, agent: "kvnode 0.1.0")
    hello.features = []
    return hello
  }

  private static var welcome: Welcome {
    var welcome = Welcome(
      cluster: cluster, node: NodeID(1), generation: generation, shards: 2, layoutVersion: 3,
      now: Now(instant: Instant(nanoseconds: 5_000_000), wall: WallTime(milliseconds: 6)), agent: "kvnode 0.1.0")
    welcome.features = []
    return welcome
  }

  static func write(_ payload: WriteRequest.Payload) throws -> WriteRequest {
    WriteRequest(
      key: try key(), quorum: .owners(2), requestID: requestID, isRetry: true, context: try token(),
      ttlMs: payload == .delete ? nil : 60_000, payload: payload)
  }

  static func answer() throws -> ReadAnswer {
    ReadAnswer(
      context: try token(),
      siblings: [
        .init(stamp: stamp, expiry: WallTime(milliseconds: 99), checksum: Checksum.of(value), value: Bytes(value)),
        .init(stamp: .zero, expiry: nil, checksum: 0, value: nil),
      ])
  }

  static func receipt(siblings: Receipt.Siblings, wasFound: Bool) throws -> Receipt {
    Receipt(
      context: try token(), stamp: stamp, acknowledgements: 2, hints: 1, siblings: siblings, wasFound: wasFound)
  }

  static let failure = Failure(.unavailable, .unknown, needed: 2, got: 1, retryAfterMs: 50, detail: "two owners away")

  private static func entry(_ node: UInt64, _ state: MemberEntry.State = .alive) -> MemberEntry {
    MemberEntry(
      node: NodeID(node), generation: 4, incarnation: 5, state: state,
      clientAddress: Address(host: "10.0.0.1", port: 7420), peerAddress: Address(host: "10.0.0.1", port: 7421),
      name: "n\(node)")
  }

  private static var suspicion: Rumour { Rumour(entry(2, .suspect), accuser: NodeID(3)) }

  private static func gossip(_ content: GossipMessage.Content) -> Body {
    .control(
      .gossip(
        GossipMessage(
          cluster: cluster, layoutVersion: 3, layoutDigest: 6, probe: 7, sender: entry(1), content: content)))
  }

  static func body(_ type: FrameType) throws -> Body {
    switch type {
    case .hello: .hello(hello)
    case .welcome: .welcome(welcome)
    case .refused: .refusal(Refusal(.otherNode, "its data directory was replaced"))
    case .goAway, .cancel: .nothing
    case .claim: .control(.claim(GenerationClaim(generation: generation, ancestors: [1, 2], isConfirmed: true)))
    case .verdict: .control(.verdict(.refused(known: generation), onNonce: 3))
    case .gossipPing: gossip(.ping([suspicion]))
    case .gossipAck: gossip(.ack([]))
    case .gossipAsk: gossip(.ask(NodeID(2), [suspicion]))
    case .gossipNack: gossip(.nack([]))
    case .gossipPush: gossip(.push([entry(1), entry(2)]))
    case .gossipPull: gossip(.pull([entry(2)]))
    case .visit: .control(.visit)
    case .visited: .control(.visited(Visit(layout: layout, members: [entry(1), entry(2)])))
    case .treeCompare:
      .peer(
        .tree(
          .compare(
            PartitionID(3), [TreeDigest(node: TreeNode(depth: 2, index: 3), digest: Digest(low: 1, high: 2))],
            question: 9)))
    case .treeRoots:
      .peer(
        .tree(
          .roots(
            [3, 700].map { RootDigest(partition: PartitionID($0), digest: Digest(low: UInt64($0), high: 2)) },
            question: 9)))
    case .treeDiffering: .peer(.tree(.differing([0, 3], question: 9)))
    case .leafList: .peer(.tree(.list(PartitionID(3), leaf: 4, after: try key(), limit: 256, question: 9)))
    case .leafListed:
      .peer(
        .tree(
          .listed(
            LeafPage(entries: [.init(key: try key(), digest: Digest(low: 1, high: 2))], isLast: true), question: 9)))
    case .treeDeclined: .peer(.tree(.declined(question: 9)))
    case .treeGaps: .peer(.tree(.askGaps(PartitionID(3), question: 9)))
    case .treeGapsKnown: .peer(.tree(.gaps(PartitionGaps(isWhole: false, keys: [try key()]), question: 9)))
    case .hintOffer:
      .peer(
        .handoff(
          .offer(
            HintOffer(
              target: NodeID(2), partition: PartitionID(3),
              entries: [.init(key: try key(), digest: Digest(low: 1, high: 2), bytes: 300)]), question: 9)))
    case .hintWanted:
      .peer(.handoff(.wanted([0, 3], HintCredit(keys: 64, bytes: 1 << 20, pauseMs: 5), question: 9)))
    case .hintDeclined:
      .peer(.handoff(.declined(.notHere, HintCredit(keys: 16, bytes: 1 << 18, pauseMs: 1_000), question: 9)))
    case .ping: .peer(.ping(clockMs: 7))
    case .pong: .peer(.pong(clockMs: 8))
    case .get: .request(.get(try key(), .quorum))
    case .put: .request(.write(try write(.put(value, checksum: Checksum.of(value)))))
    case .delete: .request(.write(try write(.delete)))
    case .explain: .request(.explain(try key()))
    case .describe: .request(.describe)
    case .fetchLayout: .request(.fetchLayout)
    case .reserveCluster: .request(.reserveCluster(cluster))
    case .formCluster: .request(.formCluster(layout, Generators.secret))
    case .repair: .request(.repair(.rescan(PartitionID(513), from: 7, bytesMax: 1 << 20)))
    case .value: .response(.value(try answer()))
    case .written: .response(.written(try receipt(siblings: .unknown, wasFound: false)))
    case .failed: .response(.failed(failure))
    case .explained:
      .response(
        .explained([
          .init(node: NodeID(1), state: .record(encoded)), .init(node: NodeID(2), state: .unreachable),
          .init(node: NodeID(3), state: .unreadable),
        ]))
    case .described: .response(.described(description()))
    case .layout: .response(.layout(layout, table))
    case .done: .response(.done)
    case .reserved: .response(.reserved(Generators.secret))
    case .repaired: .response(.repaired(.rescanned(rescan)))
    case .replicaRead: .peer(.replicaRead(try key(), inlineBytesMax: 4_096))
    case .replicaReadReply: .peer(.replicaReadReply(.record(encoded)))
    case .replicaWrite:
      .peer(
        .replicaWrite(
          ReplicaWrite(key: try key(), purpose: .write(minted: Dot(actor: actors[0], counter: 0x0103)), record: encoded)
        ))
    case .replicaWriteReply: .peer(.replicaWriteReply(.stored(beside: Beside(history: vector, stamp: stamp))))
    case .forwarded: .peer(.forwarded(.get(try key(), .all)))
    case .forwardedReply: .peer(.forwardedReply(.failed(failure)))
    case .requestCheck: .peer(.requestCheck(requestID, try key()))
    case .requestCheckReply: .peer(.requestCheckReply(.seen))
    }
  }

  static func frame(_ type: FrameType) throws -> [UInt8] { try frame(type, body(type)) }

  static func frame(_ type: FrameType, _ body: Body) -> [UInt8] {
    let header = FrameHeader(
      type: type, requestID: 0x5152_5354_5556_5758, deadlineMs: 0x6162, layoutVersion: 3, partition: PartitionID(0x0f0e)
    )
    var frame: [UInt8] = []
    header.appendFrame(to: &frame) { body.encode(into: &$0) }
    return frame
  }
}
