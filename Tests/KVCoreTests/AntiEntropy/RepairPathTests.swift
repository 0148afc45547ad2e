import KVModel
import Testing

@testable import KVCore

/// What `kvctl repair` asks, at one shard on a memory store.
struct RepairPathTests {
  private struct Node {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    let storage = MemoryStorage(geometry: ShardGeometry(of: ControlTests.layout()))

    init(interval: Span64 = .milliseconds(100)) {
      var settings = ShardSettings()
      settings.exchangeInterval = interval
      _ = step(.recovered(settings))
      _ = step(.ofThree)
    }

    mutating func step(_ input: Shard.Input) -> [Shard.Effect] {
      var all: [Shard.Effect] = []
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      for effect in effects {
        guard case .store(let operation, let id) = effect else {
          all.append(effect)
          continue
        }
        var results: [StorageCompletion] = []
        storage.submit(operation, id: id, results: &results)
        storage.endTurn(results: &results)
        for result in results { all += step(.stored(result.result, for: result.id)) }
      }
      return all
    }

    mutating func ask(_ request: RepairRequest, within span: Span64 = .seconds(5)) -> ClientResponse? {
      let client = ClientRef(connection: 1, request: 1)
      let deadline = now.instant.advanced(by: span)
      let answers = step(.request(.repair(request), from: client, deadline: deadline)).compactMap {
        effect -> ClientResponse? in
        if case .respond(let response, to: client) = effect { response } else { nil }
      }
      #expect(answers.count == 1)
      return answers.first
    }

    mutating func failure(_ request: RepairRequest, within span: Span64 = .seconds(5)) -> Failure.Code? {
      if case .failed(let failure)? = ask(request, within: span) { failure.code } else { nil }
    }
  }

  @Test func `leaves are read again for whoever asks, and the tree's root is told`() throws {
    var node = Node()
    let key = try Key(Array("a".utf8))
    let place = LeafPlace(of: key, node.storage.geometry)
    let record = Record(
      context: VersionVector(),
      versions: [
        Version(
          dot: Dot(actor: Actor(node: NodeID(2), epoch: 1), counter: 1), stamp: .zero,
          requestID: RequestID(client: 1, sequence: 1), checksum: 0, content: .tombstone)
      ])
    var results: [StorageCompletion] = []
    node.storage.submit(.merge(key, .join(record)), id: StorageID(raw: 1), results: &results)
    node.storage.endTurn(results: &results)
    guard case .repaired(.rescanned(let found))? = node.ask(.rescan(place.partition, from: 0, bytesMax: .max)) else {
      return #expect(Bool(false))
    }
    #expect(found.keys == 1 && found.tombstones.versions == 1 && found.differingLeaves == 0 && found.nextLeaf == nil)
    let digest = record.digest(of: key, seed: node.storage.geometry.digestSeed)
    #expect(found.root == digest)
    #expect(
      node.ask(.rescan(place.partition, from: 0, bytesMax: 0))
        == .repaired(.rescanned(Rescan(nextLeaf: 0, root: digest))))
    #expect(node.shard.backgroundInFlight == 0)
  }

  @Test func `what cannot be asked is refused, and nothing is under way after it`() {
    var node = Node()
    #expect(node.failure(.rescan(PartitionID(60_000), from: 0, bytesMax: 1)) == .invalidRequest)
    #expect(node.failure(.rescan(PartitionID(0), from: .max, bytesMax: 1)) == .invalidRequest)
    #expect(node.failure(.compare(PartitionID(60_000))) == .invalidRequest)
    #expect(node.failure(.status(shard: 0), within: .zero) == .timedOut)
    #expect(node.shard.backgroundInFlight == 0)
    var silent = Node(interval: .zero)
    #expect(silent.failure(.compare(PartitionID(0))) == .invalidRequest)
    var outside = Shard()
    var effects: [Shard.Effect] = []
    let client = ClientRef(connection: 1, request: 1)
    let deadline = Instant(nanoseconds: 5_000_000_000)
    outside.step(.request(.repair(.status(shard: 0)), from: client, deadline: deadline), at: silent.now, into: &effects)
    #expect(effects == [.respond(.failed(.notInCluster), to: client)])
  }

  @Test func `a comparison that is asked for begins at once, and shows until it has ended well`() {
    var node = Node()
    for peer in [2, 3] as [UInt64] { _ = node.step(.linkChanged(NodeID(peer), isUp: true)) }
    node.now.instant = node.now.instant.advanced(by: .seconds(10))
    let partition = PartitionID(9)
    #expect(node.ask(.compare(partition)) == .repaired(.comparing(pairs: 2)))
    guard case .repaired(.status(let status))? = node.ask(.status(shard: 0)) else { return #expect(Bool(false)) }
    #expect(status.shards == 1 && status.peers.map(\.node) == [NodeID(2), NodeID(3)])
    #expect(status.peers.reduce(0) { $0 + $1.asked } == 2)
    #expect(status.peers.allSatisfy { $0.never == $0.pairs && $0.pairs > 0 })
  }

  @Test func `while the shard has much to do exchanges begin more seldom, and never stop`() throws {
    var node = Node()
    func pause(_ node: inout Node) -> Span64? {
      let timer = TimerID(raw: Shard.exchangeTimerID.raw)
      return node.step(.timer(timer)).compactMap { effect -> Span64? in
        if case .schedule(timer, at: let at) = effect { at.since(node.now.instant) } else { nil }
      }.first
    }
    #expect(pause(&node) == .milliseconds(100))
    node.shard.settings.handoffLoad = 1
    for peer in [2, 3] as [UInt64] { _ = node.step(.linkChanged(NodeID(peer), isUp: true)) }
    for number in 0..<30 {
      let get = ClientRequest.get(try Key(Array("k\(number)".utf8)), .quorum)
      _ = node.step(
        .request(
          get, from: ClientRef(connection: 2, request: UInt64(number)),
          deadline: node.now.instant.advanced(by: .seconds(9))))
    }
    #expect(node.shard.inFlight >= 8)
    #expect(pause(&node) == .milliseconds(800))
  }
}
