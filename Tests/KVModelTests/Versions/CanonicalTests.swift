import Testing

@testable import KVModel

#if DEBUG
  private let cases = 3_000
#else
  private let cases = 200_000
#endif

@Suite struct CanonicalTests {
  /// Rk#1189, Sc#10156. The pool has many equal states reached by different ways, and many that differ in one thing.
  @Test func `hazard 14: two states are equal exactly when their bytes and their digests are`() throws {
    let world = World(seed: 20, actors: 2, countersMax: 2)
    var random = PRNG(seed: 21)
    let key = try Key(Array("k".utf8))
    let pool = (0..<600).map { _ in world.record(&random) }.filter { $0.versions.allSatisfy { $0.content != .swept } }
    let forms = pool.map { (record: $0, bytes: EncodedRecord($0), digest: $0.digest(of: key, seed: 1)) }
    var equal = 0
    for _ in 0..<cases {
      let (a, b) = (random.pick(forms), random.pick(forms))
      equal += a.record == b.record ? 1 : 0
      #expect((a.record == b.record) == (a.bytes == b.bytes))
      #expect((a.record == b.record) == (a.digest == b.digest))
    }
    #expect(equal > cases / 1_000 && equal < cases)
  }

  @Test func `hazard 14: the way to a state leaves no trace in its bytes`() {
    let world = World(seed: 22)
    var random = PRNG(seed: 23)
    for _ in 0..<(cases / 50) {
      let record = world.record(&random)
      let shuffled = Record(
        context: VersionVector(record.context.entries.shuffled(using: &random)),
        versions: record.versions.shuffled(using: &random))
      #expect(EncodedRecord(shuffled) == EncodedRecord(record))
      // Built up version by version, joined with its own pieces.
      let pieces = record.versions.map { Record(context: record.context, versions: [$0]) }
      let rebuilt = pieces.shuffled(using: &random).reduce(record) { $0.joined($1) }
      #expect(rebuilt.context == record.context)
    }
  }

  @Test func `hazard 14: a change of any one field changes bytes and digest, except the sweep, which keeps the digest`()
    throws
  {
    var random = PRNG(seed: 24)
    let key = try Key(Array("k".utf8))
    let dot = Dot(actor: Actor(node: NodeID(1), epoch: 1), counter: 2)
    let value = Array("value".utf8)
    let version = Version(
      dot: dot, stamp: Stamp(bits: 7), expiry: WallTime(milliseconds: 9), requestID: random.requestID(),
      checksum: Checksum.of(value), content: .value(value))
    let base = Record(context: VersionVector(), versions: [version])
    let changes: [(inout Version) -> Void] = [
      { $0.dot.counter = 1 }, { $0.dot.actor.epoch = 2 }, { $0.dot.actor.node = NodeID(2) },
      { $0.stamp = Stamp(bits: 8) },
      { $0.expiry = nil }, { $0.expiry = WallTime(milliseconds: 10) }, { $0.requestID.client ^= 1 },
      { $0.requestID.sequence ^= 1 },
      {
        $0.checksum = Checksum.of([0]); $0.content = .value([0])
      },
      {
        $0.checksum = 0; $0.content = .tombstone
      },
    ]
    var seen = Set([EncodedRecord(base)])
    var digests = Set([base.digest(of: key, seed: 1)])
    for change in changes {
      var changed = version
      change(&changed)
      let record = Record(context: VersionVector(), versions: [changed])
      #expect(seen.insert(EncodedRecord(record)).inserted)
      #expect(digests.insert(record.digest(of: key, seed: 1)).inserted)
    }
    let other = try Key(Array("l".utf8))
    #expect(digests.insert(base.digest(of: other, seed: 1)).inserted)
    #expect(digests.insert(base.digest(of: key, seed: 2)).inserted)
    #expect(digests.insert(Record(context: base.context, versions: []).digest(of: key, seed: 1)).inserted)
    var swept = base
    swept.sweep(at: WallTime(milliseconds: 9))
    #expect(swept.versions[0].content == .swept && EncodedRecord(swept) != EncodedRecord(base))
    #expect(!digests.insert(swept.digest(of: key, seed: 1)).inserted)
  }

  @Test func `planted: hazard 14: an encoding in the order of arrival is caught by the same comparison`() {
    let world = World(seed: 25)
    var random = PRNG(seed: 26)
    let caught = (0..<100).contains { _ in
      let entries = world.vector(&random).entries
      func inOrder(_ entries: [VersionVector.Entry]) -> [UInt64] { entries.map { $0.actor.node.value ^ $0.counter } }
      return inOrder(entries) != inOrder(entries.shuffled(using: &random))
    }
    #expect(caught)
  }

  /// Rc#613, Rk#26: a pruned vector makes a descendant look concurrent.
  @Test func `hazard 11: sixty actors on a key, and a descendant never looks concurrent`() throws {
    var random = PRNG(seed: 27)
    var record = Record()
    var ancestors: [Record] = []
    for step in 0..<600 as Range<UInt64> {
      let actor = Actor(node: NodeID(step % 20), epoch: UInt32(step / 200))
      let superseding = record.context
      record.add(random.version(Dot(actor: actor, counter: step + 1)), superseding: superseding)
      record = try EncodedRecord(record).decoded()
      if step % 10 == 0 { ancestors.append(record) }
      #expect(record.versions.count == 1)
    }
    #expect(record.context.entries.count == 60)
    for ancestor in ancestors {
      #expect(record.joined(ancestor) == record && ancestor.joined(record) == record)
      #expect(record.context.covers(ancestor.context))
      #expect(record.beside(in: ancestor) == nil)
    }
  }

  @Test func `planted: hazard 11: a vector cut to fifty entries takes its ancestor for concurrent`() throws {
    var random = PRNG(seed: 28)
    var record = Record()
    var ancestor = Record()
    for step in 0..<60 as Range<UInt64> {
      let dot = Dot(actor: Actor(node: NodeID(step), epoch: 0), counter: step + 1)
      record.add(random.version(dot), superseding: record.context)
      if step == 3 { ancestor = record }
    }
    let pruned = Record(context: VersionVector(record.context.entries.suffix(50)), versions: record.versions)
    #expect(pruned.joined(ancestor).versions.count == 2)
  }
}
