import KVModel
import Testing

@testable import KVCore

/// One shard on a memory store: what it sweeps, when, and how fast.
struct SweepTests {
  private struct Node {
    var shard = Shard()
    var now = Now(instant: Instant(nanoseconds: 1_000_000_000), wall: WallTime(milliseconds: 1_700_000_000_000))
    var storage: MemoryStorage
    var stored: [StorageOperation] = []
    /// When set, merges are not answered.
    var holdsMerges = false
    private var held: [(StorageOperation, StorageID)] = []
    private var dots: UInt64 = 0

    init(_ change: (inout ShardSettings) -> Void = { _ in }) {
      storage = MemoryStorage(geometry: ShardGeometry(of: ControlTests.layout()))
      var settings = ShardSettings()
      settings.exchangeInterval = .zero
      change(&settings)
      step(.recovered(settings))
      step(.ofThree)
      stored = []
    }

    mutating func step(_ input: Shard.Input) {
      var effects: [Shard.Effect] = []
      shard.step(input, at: now, into: &effects)
      for case .store(let operation, let id) in effects {
        stored.append(operation)
        if holdsMerges, case .merge = operation { held.append((operation, id)) } else { carryOut(operation, id) }
      }
    }

    private mutating func carryOut(_ operation: StorageOperation, _ id: StorageID) {
      var results: [StorageCompletion] = []
      storage.submit(operation, id: id, results: &results)
      storage.endTurn(results: &results)
      for result in results { step(.stored(result.result, for: result.id)) }
    }

    mutating func release() {
      holdsMerges = false
      let waiting = held
      held = []
      for (operation, id) in waiting { carryOut(operation, id) }
    }

    /// A second passes, and the sweep's timer fires.
    mutating func tick(_ milliseconds: UInt64 = 1_000) {
      now.instant = now.instant.advanced(by: .milliseconds(milliseconds))
      now.wall.milliseconds += milliseconds
      step(.timer(TimerID(raw: Shard.sweepID.raw)))
    }

    /// A value that expires so many milliseconds from now.
    mutating func put(_ text: String, expiresIn milliseconds: UInt64, _ basis: Mint.Basis = .overwrite) throws {
      dots += 1
      let bytes = Array("value".utf8)
      let mint = Mint(
        dot: Dot(actor: Actor(node: NodeID(1), epoch: 1), counter: dots), basis: basis,
        stamp: Stamp(now.wall), stampCeiling: Stamp(bits: .max),
        requestID: RequestID(client: 1, sequence: dots),
        expiry: WallTime(milliseconds: now.wall.milliseconds + milliseconds), checksum: Checksum.of(bytes),
        content: .value(bytes))
      var results: [StorageCompletion] = []
      storage.submit(.merge(try key(text), .mint(mint)), id: StorageID(raw: 1), results: &results)
      storage.endTurn(results: &results)
    }

    func key(_ text: String) throws -> Key { try Key(Array(text.utf8)) }

    func contents(_ text: String) throws -> [Version.Content] {
      let key = try key(text)
      return try storage.snapshot().records.filter { $0.key == key.bytes }
        .flatMap { try $0.record.decoded().versions.map(\.content) }
    }

    var sweeps: Int { stored.count { if case .merge(_, .sweep, _) = $0 { true } else { false } } }
  }

  @Test func `what has expired is swept when the margin is over, and not before`() throws {
    var node = Node { $0.sweepMargin = .seconds(5) }
    try node.put("a", expiresIn: 2_000)
    for _ in 0..<6 { node.tick() }
    #expect(node.sweeps == 0)
    try #expect(node.contents("a") == [.value(Array("value".utf8))])
    node.tick()
    try #expect(node.contents("a") == [.swept])
    #expect(node.shard.counters.versionsSwept == 1 && node.shard.counters.bytesSwept == 5)
    node.tick()
    #expect(node.sweeps == 1, "what was swept is not due again")
  }

  @Test func `the margin is never less than what two clocks may differ by`() throws {
    #expect(Sweep.due(at: WallTime(milliseconds: 5_000), margin: .zero) == WallTime(milliseconds: 4_000))
    #expect(Sweep.due(at: WallTime(milliseconds: 500), margin: .zero) == nil)
    #expect(Sweep.marginMin.milliseconds >= 2 * Limits.clockSkewMsMax)
    #expect(Sweep.marginDefault > Sweep.marginMin)
  }

  @Test func `without an interval nothing is ever swept`() throws {
    var effects: [Shard.Effect] = []
    var shard = Shard()
    var settings = ShardSettings()
    settings.sweepInterval = .zero
    let recovery = ShardRecovery(
      identity: ShardIdentity(node: NodeID(1), shard: 0, shards: 1), actor: Actor(node: NodeID(1), epoch: 1),
      lease: nil, settings: settings, seed: 1)
    let now = Now(instant: Instant(nanoseconds: 1), wall: WallTime(milliseconds: 1))
    shard.step(.recovered(recovery), at: now, into: &effects)
    let timer = TimerID(raw: Shard.sweepID.raw)
    #expect(!effects.contains { if case .schedule(timer, at: _) = $0 { true } else { false } })
  }

  @Test func `a tick sweeps what its rate allows, some at a time, and the next one goes on`() throws {
    var node = Node {
      $0.sweepMargin = .seconds(1)
      $0.sweepKeysPerSecond = 30
      $0.sweepsMax = 4
    }
    for number in 0..<70 { try node.put("k\(number)", expiresIn: 1) }
    node.tick(2_000)
    #expect(node.sweeps == 30)
    node.holdsMerges = true
    node.tick()
    #expect(node.sweeps == 34 && node.shard.sweepsInFlight == 4, "no more at once")
    node.release()
    #expect(node.sweeps == 60 && node.shard.sweepsInFlight == 0)
    node.tick()
    #expect(node.sweeps == 70 && node.storage.snapshot().expiries.isEmpty)
    node.tick()
    #expect(node.sweeps == 70 && node.shard.sweepLag == .zero)
  }

  @Test func `a tick of a busy shard sweeps less, and never nothing`() throws {
    var node = Node {
      $0.sweepMargin = .seconds(1)
      $0.sweepKeysPerSecond = 16
      $0.handoffLoad = 1
    }
    for number in 0..<40 { try node.put("k\(number)", expiresIn: 1) }
    for number in 0..<20 {
      node.step(
        .request(
          .get(try node.key("other\(number)"), .quorum), from: ClientRef(connection: 1, request: UInt64(number)),
          deadline: node.now.instant.advanced(by: .seconds(60))))
    }
    node.tick(2_000)
    #expect(node.sweeps >= 2 && node.sweeps <= 16)
  }

  @Test func `the entry of a damaged record goes, since there is nothing to sweep, and the others are swept`() throws {
    var node = Node { $0.sweepMargin = .seconds(1) }
    for number in 0..<5 { try node.put("k\(number)", expiresIn: UInt64(number + 1)) }
    let isDamaged = node.storage.damage(try node.key("k0"), byte: 30)
    #expect(isDamaged)
    for _ in 0..<3 { node.tick() }
    #expect(node.storage.snapshot().expiries.isEmpty && node.storage.snapshot().quarantined.count == 1)
    for number in 1..<5 { try #expect(node.contents("k\(number)") == [.swept]) }
    #expect(node.shard.counters.versionsSwept == 4)
  }

  @Test func `what stands beside an expired version keeps its bytes, and a key is swept once for all that is due`()
    throws
  {
    var node = Node { $0.sweepMargin = .seconds(1) }
    try node.put("a", expiresIn: 10)
    try node.put("a", expiresIn: 20, .context(VersionVector()))
    try node.put("a", expiresIn: 60_000, .context(VersionVector()))
    node.tick(2_000)
    try #expect(node.contents("a") == [.swept, .swept, .value(Array("value".utf8))])
    #expect(node.shard.counters.versionsSwept == 2)
  }

  @Test func `a key that was swept is written anew like any other`() throws {
    var node = Node { $0.sweepMargin = .seconds(1) }
    try node.put("a", expiresIn: 10)
    node.tick(2_000)
    try #expect(node.contents("a") == [.swept])
    try node.put("a", expiresIn: 60_000)
    try #expect(node.contents("a") == [.value(Array("value".utf8))])
    node.tick()
    try #expect(node.contents("a") == [.value(Array("value".utf8))])
  }
}
