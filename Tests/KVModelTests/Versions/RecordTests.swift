import Testing

@testable import KVModel

@Suite struct RecordTests {
  private let key = (try? Key([1])).unsafelyUnwrapped
  private let dot = Dot(actor: Actor(node: NodeID(1), epoch: 0), counter: 1)

  /// HAZARDS.md rows 7, 14: epochs keep it from happening. If it ever does, replicas must not swap two values for ever.
  @Test func `two values under one dot still join the same way round`() {
    var random = PRNG(seed: 70)
    for _ in 0..<5_000 {
      let records = (0..<3).map { _ in Record(context: VersionVector(), versions: [random.version(dot)]) }
      let joined = records[0].joined(records[1]).joined(records[2])
      #expect(joined == records[2].joined(records[1]).joined(records[0]))
      #expect(joined == records[1].joined(records[0].joined(records[2])))
      #expect(joined.joined(records[0]) == joined)
    }
  }

  /// Every context covers a counter of zero, so such a dot would pass for one that is there.
  @Test func `a replica's write with a minted dot of zero is refused`() {
    let write = ReplicaWrite(
      key: key, purpose: .write(minted: Dot(actor: dot.actor, counter: 0)), record: .empty)
    #expect(VersionVector().covers(Dot(actor: dot.actor, counter: 0)))
    #expect(throws: DecodeError.outOfBounds) { try Body(.replicaWrite, Body.peer(.replicaWrite(write)).bytes) }
  }

  /// In a join swept wins over unswept: a forged copy must not erase a value that never expires.
  @Test func `a swept version that never expires is refused`() {
    var version = Version(
      dot: dot, stamp: .zero, expiry: nil, requestID: RequestID(client: 1, sequence: 1), checksum: 5, content: .swept)
    func decode() throws(DecodeError) -> Record {
      try EncodedRecord(Record(context: VersionVector(), versions: [version])).decoded()
    }
    #expect(throws: DecodeError.notCanonical) { try decode() }
    version.expiry = WallTime(milliseconds: 1)
    #expect(throws: Never.self) { try decode() }
  }

  @Test func `a damaged byte anywhere in a stored record is found`() {
    var random = PRNG(seed: 71)
    for _ in 0..<50 {
      let bytes = random.encodedRecord().bytes
      for bit in 0..<(bytes.count * 8) {
        var flipped = bytes
        flipped[bit / 8] ^= 1 << (bit % 8)
        #expect(throws: DecodeError.self) { try EncodedRecord(unverified: flipped).decoded() }
      }
    }
  }

  @Test func `a write with a context replaces what was read, one beside it stays`() {
    var random = PRNG(seed: 72)
    let (a, b) = (Actor(node: NodeID(1), epoch: 0), Actor(node: NodeID(2), epoch: 0))
    var record = Record()
    record.add(random.version(Dot(actor: a, counter: 1)), superseding: VersionVector())
    let read = record.context
    record.add(random.version(Dot(actor: b, counter: 1)), superseding: VersionVector())
    record.add(random.version(Dot(actor: a, counter: 2)), superseding: read)
    #expect(record.versions.map(\.dot) == [Dot(actor: a, counter: 2), Dot(actor: b, counter: 1)])
    record.add(random.version(Dot(actor: a, counter: 3)), superseding: record.context)
    #expect(record.versions.map(\.dot) == [Dot(actor: a, counter: 3)])
  }

  /// Our bug, never a client's: the coordinator refuses a token that covers the dot it is about to mint.
  @Test func `minting a dot that is covered ends the process`() async {
    await #expect(processExitsWith: .failure) {
      let dot = Dot(actor: Actor(node: NodeID(1), epoch: 0), counter: 1)
      var random = PRNG(seed: 73)
      var record = Record()
      record.add(random.version(dot), superseding: VersionVector([.init(actor: dot.actor, counter: 9)]))
    }
  }

  @Test func `a value is there until its expiry, a tombstone and a swept value never`() {
    let value = Version(
      dot: dot, stamp: .zero, expiry: WallTime(milliseconds: 10), requestID: RequestID(client: 0, sequence: 0),
      checksum: Checksum.of([1]), content: .value([1]))
    #expect(value.value(at: WallTime(milliseconds: 9)) == [1])
    #expect(value.value(at: WallTime(milliseconds: 10)) == nil)
    var other = value
    for content in [.tombstone, .swept] as [Version.Content] {
      other.content = content
      #expect(other.value(at: WallTime(milliseconds: 0)) == nil && other.valueBytes == 0)
    }
  }
}
