@testable import KVModel

/// Seeded draws of what goes over the wire.
extension PRNG {
  mutating func address() -> Address { Address(host: text(max: 255), port: UInt16(truncatingIfNeeded: next())) }

  mutating func member(_ id: UInt64) -> Member {
    Member(
      id: NodeID(id), name: "n\(id)" + text(max: 50), clientAddress: address(), peerAddress: address(),
      zone: text(max: 64), host: text(max: 255), weight: UInt16(within(1...10_000)))
  }

  mutating func settings() -> ClusterSettings {
    let replication = Int(within(1...7))
    return ClusterSettings(
      name: text(max: 64), replication: replication, readQuorum: Int(within(1...UInt64(replication))),
      writeQuorum: Int(within(1...UInt64(replication))), partitionBits: Int(within(4...5)),
      virtualNodes: Int(within(1...4_096)), leafBits: Int(within(0...16)))
  }

  mutating func layout() -> Layout {
    let ids = Set(list(1...5) { $0.next() }).sorted()
    return Layout(
      cluster: ClusterID(next()), version: UInt32(within(1...9)), settings: settings(), members: ids.map { member($0) })
  }

  mutating func table(of layout: Layout) -> PartitionTable {
    let copies = min(layout.settings.replication, layout.members.count)
    var owners: [UInt16] = []
    for _ in 0..<layout.settings.partitions {
      owners += (0..<UInt16(layout.members.count)).shuffled(using: &self).prefix(copies)
    }
    return PartitionTable(partitionBits: layout.settings.partitionBits, copies: copies, owners: owners)
  }

  mutating func description() -> NodeDescription {
    var measurements = NodeDescription.Measurements()
    measurements.uptimeMs = number()
    measurements.diskTotalBytes = number()
    measurements.writeP99Us = number()
    measurements.hints = Set(list(0...3) { $0.number() }).sorted().map {
      .init(node: NodeID($0), keys: number(), marks: number(), ageMs: number())
    }
    let peers = Set(list(0...4) { $0.next() }).map {
      NodeDescription.Peer(node: NodeID($0), health: pick(NodeDescription.Peer.Health.allCases), sinceMs: number())
    }
    return NodeDescription(
      member: member(next()), state: pick(NodeDescription.State.allCases), cluster: ClusterID(number()),
      layoutVersion: UInt32(below(3)), settings: settings(), generation: generation(), shards: UInt16(within(1...256)),
      syncs: chance(1, of: 2), release: text(max: 128), expected: NodeID(number()), measurements: measurements,
      peers: peers)
  }

  mutating func quorum() -> Quorum { pick([.quorum, .all, .owners(0), .owners(1), .owners(2), .owners(7)]) }

  mutating func write() -> WriteRequest {
    let value = bytes(Int(below(30)))
    let isDelete = chance(1, of: 3)
    return WriteRequest(
      key: key(), quorum: quorum(), requestID: requestID(), isRetry: chance(1, of: 2), context: optional { $0.token() },
      ttlMs: isDelete ? nil : optional { Swift.min($0.number(), .max - 1) },
      payload: isDelete ? .delete : .put(value, checksum: Checksum.of(value)))
  }

  mutating func failure() -> Failure {
    Failure(
      pick(Failure.Code.allCases), chance(1, of: 2) ? .rejected : .unknown, needed: Int(below(8)), got: Int(below(8)),
      retryAfterMs: UInt32(truncatingIfNeeded: number()), detail: text(max: 1_024))
  }

  mutating func answer() -> ReadAnswer {
    ReadAnswer(
      context: token(),
      siblings: list(0...3) { draw in
        ReadAnswer.Sibling(
          stamp: Stamp(bits: draw.number()), expiry: draw.optional { $0.wall() }, checksum: draw.number(),
          value: draw.optional { Bytes($0.bytes(Int($0.below(9)))) })
      })
  }

  mutating func replicaView() -> ReplicaView {
    ReplicaView(node: NodeID(number()), state: pick([.record(encodedRecord()), .unreachable, .unreadable]))
  }

  mutating func repairRequest() -> RepairRequest {
    let partition = PartitionID(UInt16(truncatingIfNeeded: number()))
    return pick([
      .rescan(partition, from: UInt32(truncatingIfNeeded: number()), bytesMax: UInt32(truncatingIfNeeded: number())),
      .compare(partition), .status(shard: UInt16(truncatingIfNeeded: number())),
      .losses(shard: UInt16(truncatingIfNeeded: number())), .acceptLoss(partition),
    ])
  }

  mutating func repairAnswer() -> RepairAnswer {
    var rescan = Rescan(nextLeaf: optional { UInt32($0.below(1 << 16)) }, root: digest())
    rescan.differingLeaves = UInt32(below(1_000))
    (rescan.keys, rescan.bytes, rescan.damaged) = (number(), number(), number())
    rescan.tombstones = Rescan.Dead(versions: number(), bytes: number())
    rescan.swept = Rescan.Dead(versions: number(), bytes: number())
    let peers = list(0...4) { random in
      var peer = RepairStatus.Peer(node: NodeID(random.number()))
      (peer.pairs, peer.never, peer.oldestMs) = (7, 1, random.number())
      (peer.urgent, peer.running, peer.asked) = (UInt32(random.below(9)), 2, 3)
      (peer.mended, peer.failed, peer.marks) = (random.number(), random.number(), random.number())
      return peer
    }
    return pick([
      .rescanned(rescan), .comparing(pairs: UInt32(below(100))),
      .status(RepairStatus(shards: UInt16(below(64)), peers: peers)), .accepted(parts: UInt32(below(100))),
      .losses(
        Losses(
          shards: UInt16(below(64)),
          entries: list(0...4) { random in
            Losses.Entry(partition: PartitionID(UInt16(random.below(1 << 16))), keys: UInt32(random.below(9)))
          })),
    ])
  }

  mutating func digest() -> Digest { Digest(low: next(), high: next()) }

  mutating func hello() -> Hello {
    chance(1, of: 2)
      ? Hello(client: text(max: 128), cluster: ClusterID(number()))
      : Hello(
        role: .peer, cluster: ClusterID(number()), node: NodeID(number()), expected: NodeID(number()),
        generation: generation(), shard: UInt16(below(2)), shards: UInt16(within(2...256)), clockMs: number(),
        agent: text(max: 128))
  }

  mutating func welcome() -> Welcome {
    Welcome(
      cluster: ClusterID(number()), node: NodeID(number()), generation: generation(), shards: UInt16(within(1...256)),
      layoutVersion: UInt32(below(9)),
      now: Now(instant: Instant(nanoseconds: number()), wall: WallTime(milliseconds: number())), agent: text(max: 128))
  }

  mutating func refusal() -> Refusal {
    Refusal(
      Refusal.Reason(rawValue: UInt8(within(1...11))) ?? .notHello, text(max: 1_024),
      retryAfterMs: UInt32(within(0...1) * within(1...60_000)))
  }
}
