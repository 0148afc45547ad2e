import Dispatch
import Glibc
import KVCore
import KVModel
import Testing

@testable import KVStorage

/// Two owners of a million keys, which differ in one: what a whole round of all partitions costs that finds nothing, and
/// one that finds and mends it. `Scripts/bench.sh heal` runs it; by itself: `RINGKV_BENCH=1 swift test -c release --filter
/// ExchangeBench`. It prints, and checks the bounds of the design.
@Suite(.serialized, .enabled(if: getenv("RINGKV_BENCH") != nil))
struct ExchangeBench {
  static let count = getenv("RINGKV_BENCH_KEYS").flatMap { Int(String(cString: $0)) } ?? 1_000_000

  /// One owner: its shard and its store; everything it says goes through the codec.
  private final class Owner {
    /// What the shard has not asked for.
    static let filling = StorageID(raw: 0)

    let id: NodeID
    var shard = Shard()
    let directory = TemporaryDirectory()
    let wakeups: DispatchSemaphore
    let store: RocksDBStorage
    var sent: [(to: NodeID, bytes: [UInt8], Shard.Envelope)] = []
    var bytesSent = 0
    var framesSent = 0
    var answers: [ClientResponse] = []
    private var effects: [Shard.Effect] = []
    private var results: [StorageCompletion] = []

    init(_ id: NodeID, _ layout: ClusterView.LiveLayout, _ wakeups: DispatchSemaphore) throws {
      self.id = id
      self.wakeups = wakeups
      var options = StorageOptions()
      options.durability = .os
      options.backgroundBytesPerSecond = 0
      store = try RocksDBStorage.open(
        directory: directory.path, identity: ShardIdentity(node: id, shard: 0, shards: 1),
        geometry: ShardGeometry(of: layout.layout), generation: 1, options: options, onResults: { wakeups.signal() })
      step(
        .recovered(
          ShardRecovery(
            identity: ShardIdentity(node: id, shard: 0, shards: 1), actor: Actor(node: id, epoch: 1), lease: nil,
            settings: ShardSettings(), seed: id.value)))
      step(.view(ClusterView(node: id, layouts: [layout])))
    }

    static func now(ahead: Span64 = .zero) -> Now {
      var time = timespec()
      clock_gettime(CLOCK_MONOTONIC, &time)
      let nanoseconds = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec) + ahead.nanoseconds
      return Now(instant: Instant(nanoseconds: nanoseconds), wall: WallTime(milliseconds: 1_700_000_000_000))
    }

    /// Ten seconds after the link came up, so that hints have had their turn.
    func step(_ input: Shard.Input, ahead: Span64 = .seconds(10)) {
      shard.step(input, at: Owner.now(ahead: ahead), into: &effects)
      carryOut()
    }

    private func carryOut() {
      var next = 0
      while next < effects.count {
        let effect = effects[next]
        next += 1
        switch effect {
        case .store(let operation, let id): store.submit(operation, id: id, results: &results)
        case .send(let message, to: let node, let envelope): send(message, to: node, envelope)
        case .respond(let response, to: _): answers.append(response)
        case .schedule, .renewEpoch, .wentBack, .note, .halt: break
        }
        while !results.isEmpty {
          let batch = results
          results = []
          for completion in batch { hear(completion) }
        }
      }
      effects.removeAll(keepingCapacity: true)
    }

    private func send(_ message: PeerMessage, to node: NodeID, _ envelope: Shard.Envelope) {
      if case .ping = message { return }
      var bytes: [UInt8] = []
      let header = FrameHeader(type: message.frameType, requestID: envelope.operation)
      header.appendFrame(to: &bytes) { message.encode(into: &$0) }
      bytesSent += bytes.count
      framesSent += 1
      sent.append((node, bytes, envelope))
    }

    /// What the store has found meanwhile, and the end of the turn.
    func turn() {
      store.collect(results: &results)
      repeat {
        let batch = results
        results = []
        for completion in batch { hear(completion) }
        carryOut()
        store.endTurn(results: &results)
      } while !results.isEmpty
    }

    private func hear(_ completion: StorageCompletion) {
      if completion.id == Owner.filling { return }
      shard.step(.stored(completion.result, for: completion.id), at: Owner.now(ahead: .seconds(10)), into: &effects)
    }

    func fill(_ count: Int) {
      var random = PRNG(seed: 1)
      for number in 0..<count {
        var bytes: [UInt8] = []
        bytes.append(integer: random.next())
        bytes.append(integer: random.next())
        join(try! Key(bytes), UInt64(number + 1))
        if number % 64 == 63 { turn() }
      }
      turn()
      answers = []
      _ = store.database.settle(.data)
    }

    /// A version of node 9's, whose dot is the number.
    func join(_ key: Key, _ number: UInt64) {
      let value = Array("value \(number)".utf8)
      let version = Version(
        dot: Dot(actor: Actor(node: NodeID(9), epoch: 1), counter: number), stamp: Stamp(bits: number << 16),
        requestID: RequestID(client: 9, sequence: number), checksum: Checksum.of(value), content: .value(value))
      var ignored: [StorageCompletion] = []
      store.submit(
        .merge(key, .join(Record(context: VersionVector(), versions: [version]))), id: Owner.filling,
        results: &ignored)
    }

    var asked: UInt32 {
      answers = []
      step(.request(.repair(.status(shard: 0)), from: ClientRef(connection: 1, request: 1), deadline: .distantFuture))
      guard case .repaired(.status(let status))? = answers.last else { return .max }
      return status.peers.reduce(0) { $0 + $1.asked }
    }
  }

  private struct Pair {
    let a: Owner
    let b: Owner
    let wakeups: DispatchSemaphore

    /// Delivers until nothing is under way.
    func run(until isDone: () -> Bool) {
      while !isDone() {
        var moved = false
        for (from, to) in [(a, b), (b, a)] {
          let frames = from.sent
          from.sent = []
          for frame in frames {
            moved = true
            let message = frame.bytes.withUnsafeBytes { bytes -> PeerMessage? in
              guard
                case .frame(let header, let body, _) = FrameScan.next(in: bytes, bodyBytesMax: Limits.recordBytesMax)
              else { return nil }
              return try? PeerMessage(header.type, body)
            }
            if let message { to.step(.message(message, from: from.id, frame.2)) }
          }
          to.turn()
          from.turn()
        }
        if !moved { _ = wakeups.wait(timeout: .now() + .milliseconds(2)) }
      }
    }

    func ask(_ partitions: Range<Int>) {
      for partition in partitions {
        let request = ClientRequest.repair(.compare(PartitionID(UInt16(partition))))
        a.step(.request(request, from: ClientRef(connection: 1, request: 1), deadline: .distantFuture))
      }
    }
  }

  private static func cpuMs() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e3 + Double(time.tv_nsec) / 1e6
  }

  @Test func `one key among a million`() throws {
    let members = [1, 2].map { number in
      Member(
        id: NodeID(UInt64(number)), name: "n\(number)", clientAddress: Address(host: "h", port: 1),
        peerAddress: Address(host: "h", port: 2), zone: "z\(number)", host: "h\(number)")
    }
    let settings = ClusterSettings(name: "bench", replication: 2, readQuorum: 1, writeQuorum: 1)
    let layout = ClusterView.LiveLayout(
      Layout(cluster: ClusterID(77), version: 1, settings: settings, members: members))
    let wakeups = DispatchSemaphore(value: 0)
    let pair = Pair(
      a: try Owner(NodeID(1), layout, wakeups), b: try Owner(NodeID(2), layout, wakeups), wakeups: wakeups)
    for owner in [pair.a, pair.b] { owner.fill(Self.count) }
    pair.a.step(.linkChanged(NodeID(2), isUp: true), ahead: .zero)
    pair.b.step(.linkChanged(NodeID(1), isUp: true), ahead: .zero)

    func measured(_ name: String, _ partitions: Range<Int>) -> (bytes: Int, cpuMs: Double) {
      pair.run { pair.a.shard.backgroundInFlight + pair.b.shard.backgroundInFlight == 0 }
      let (bytes, frames) = (pair.a.bytesSent + pair.b.bytesSent, pair.a.framesSent + pair.b.framesSent)
      let (cpu, mended) = (Self.cpuMs(), pair.a.shard.counters.keysMended)
      pair.ask(partitions)
      pair.run { pair.a.asked == 0 }
      let found = (pair.a.bytesSent + pair.b.bytesSent - bytes, Self.cpuMs() - cpu)
      print(
        "BENCH \(name): \(found.0) bytes in \(pair.a.framesSent + pair.b.framesSent - frames) frames, both ways;",
        "\((found.1 * 100).rounded() / 100) ms of CPU, both sides; \(pair.a.shard.counters.keysMended - mended) keys mended"
      )
      return found
    }

    // Links that came up make everything urgent: that round is over first.
    _ = measured("exchange, a whole round that finds nothing", 0..<settings.partitions)
    let key = try Key(Array("the one".utf8))
    pair.a.join(key, UInt64(Self.count + 1))
    pair.a.turn()
    let one = measured("exchange, a whole round that finds one key of \(Self.count)", 0..<settings.partitions)
    #expect(one.bytes <= 64 << 10 && one.cpuMs <= 50)
    let a = pair.a.store.syncedLeaf(LeafPlace(of: key, pair.a.store.geometry))
    #expect(a == pair.b.store.syncedLeaf(LeafPlace(of: key, pair.b.store.geometry)) && a != .zero)
  }
}
