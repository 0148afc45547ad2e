import KVModel
import Testing

@testable import KVCore

struct MergeTests {
  private static let actor = Actor(node: NodeID(1), epoch: 1)

  private func mint(
    _ counter: UInt64, _ basis: Mint.Basis = .overwrite, stamp: UInt64 = 10, bytes: Int = 1
  ) -> Change {
    let value = [UInt8](repeating: 7, count: bytes)
    return .mint(
      Mint(
        dot: Dot(actor: Self.actor, counter: counter), basis: basis, stamp: Stamp(bits: stamp << 16),
        stampCeiling: Stamp(bits: 1_000 << 16), requestID: RequestID(client: 1, sequence: counter), expiry: nil,
        checksum: Checksum.of(value), content: .value(value)))
  }

  private func record(_ changes: Change...) throws -> Record {
    var record = Record()
    for change in changes { record = try Merge.apply(change, to: record).get().record }
    return record
  }

  private func code(_ change: Change, _ record: Record) -> Failure.Code? {
    if case .failure(let failure) = Merge.apply(change, to: record) { failure.code } else { nil }
  }

  @Test func `an overwrite supersedes what is here, and its stamp exceeds theirs`() throws {
    let old = try record(mint(1, stamp: 20))
    let outcome = try Merge.apply(mint(2, stamp: 10), to: old).get()
    #expect(outcome.record.versions.map(\.dot.counter) == [2])
    #expect(outcome.minted.map { $0.stamp > old.highestStamp } == true)
    #expect(outcome.changed && outcome.beside == nil)
  }

  private static let other = Actor(node: NodeID(2), epoch: 1)

  private func again(_ first: Record, beside: VersionVector, stamp: UInt64 = 30) -> Mint.Basis {
    .again(
      first: first.versions[0].dot, covered: first.context,
      beside: Beside(history: beside, stamp: Stamp(bits: stamp << 16)))
  }

  @Test func `the second round of an overwrite supersedes what other owners reported`() throws {
    let first = try record(mint(1))
    let beside = VersionVector([.init(actor: Self.other, counter: 5)])
    let outcome = try Merge.apply(mint(2, again(first, beside: beside)), to: first).get()
    #expect(outcome.record.context.covers(Dot(actor: Self.other, counter: 5)))
    #expect(outcome.record.versions.map(\.dot.counter) == [2])
    #expect(outcome.minted.map { $0.stamp > Stamp(bits: 30 << 16) } == true)
  }

  /// Somebody read the first round's version and replaced it before the second round began: what they wrote stays, and
  /// so does whatever was written since (kvsim seeds 21 and 100203).
  @Test func `the second round of an overwrite that was replaced is refused`() throws {
    let first = try record(mint(1))
    let reader = Version(
      dot: Dot(actor: Self.other, counter: 6), stamp: Stamp(bits: 20 << 16),
      requestID: RequestID(client: 2, sequence: 1), checksum: 0, content: .tombstone)
    let replaced = first.joined(Record(context: first.context, versions: [reader]))
    #expect(replaced.versions.map(\.dot) == [reader.dot])
    let beside = VersionVector([.init(actor: Self.other, counter: 5)])
    #expect(code(mint(2, again(first, beside: beside)), replaced) == .unavailable)
  }

  /// The story: n1 minted the first round of overwrite a, and b replaced it there. c, on n2, read b and replaced it. Then
  /// the record of a's first round, held up by a lossy link, arrived at n2. Its answer named c as something beside a; a's
  /// second round claimed c and minted nothing, since a had been replaced, and took c away wherever it was. The key was
  /// empty, all acknowledged. Found by Scripts/chaos.sh.
  @Test func `what replaced a version that arrives late stays`() throws {
    let a = try record(mint(1, stamp: 10))
    let b = try Merge.apply(mint(2, stamp: 20), to: a).get().record
    let c = Version(
      dot: Dot(actor: Self.other, counter: 1), stamp: Stamp(bits: 30 << 16),
      requestID: RequestID(client: 2, sequence: 1), checksum: 0, content: .value([1]))
    var atOther = b
    atOther.add(c, superseding: b.context)
    let late = try Merge.apply(.join(a), to: atOther).get()
    #expect(late.record == atOther)
    #expect(late.beside == nil)
    #expect(code(mint(3, again(a, beside: atOther.context)), b) == .unavailable)
  }

  @Test func `no stamp is minted above the ceiling, whatever is superseded`() throws {
    let ahead = try record(mint(1, stamp: 50_000))
    let outcome = try Merge.apply(mint(2, stamp: 10), to: ahead).get()
    #expect(outcome.minted?.stamp == Stamp(bits: 1_000 << 16))
  }

  @Test func `a context supersedes exactly what was read`() throws {
    let first = try record(mint(1))
    let read = first.context
    let sibling = try Merge.apply(mint(2, .context(VersionVector())), to: first).get().record
    #expect(sibling.versions.count == 2)
    let third = try Merge.apply(mint(3, .context(read)), to: sibling).get().record
    #expect(third.versions.map(\.dot.counter) == [2, 3])
  }

  @Test func `a context that claims the dot to be minted is refused, not trapped on`() throws {
    let forged = VersionVector([.init(actor: Self.actor, counter: .max)])
    #expect(code(mint(1, .context(forged)), Record()) == .invalidContext)
    #expect(code(mint(1), try record(mint(1))) == .invalidContext)
  }

  @Test func `a sibling too many is refused; a write that leaves fewer is welcome`() throws {
    var full = Record()
    for counter in 1...UInt64(Limits.siblingsMax) {
      full = try Merge.apply(mint(counter, .context(VersionVector())), to: full).get().record
    }
    #expect(code(mint(1_000, .context(VersionVector())), full) == .tooManySiblings)
    // More than are allowed came together from several coordinators.
    let others = (1...10 as ClosedRange<UInt64>).map { index in
      let dot = Dot(actor: Actor(node: NodeID(index + 1), epoch: 1), counter: 1)
      return Version(
        dot: dot, stamp: .zero, requestID: RequestID(client: 2, sequence: index), checksum: 0, content: .tombstone)
    }
    let over = full.joined(Record(context: VersionVector(), versions: others))
    let some = VersionVector([.init(actor: Self.actor, counter: 20)])
    #expect(code(mint(1_000, .context(some)), over) == nil)
    #expect(code(mint(1_000), over) == nil)
  }

  @Test func `a join beyond the format's bounds is refused, so that what is stored can be read again`() {
    func record(_ nodes: Range<UInt64>) -> Record {
      Record(
        context: VersionVector(nodes.map { .init(actor: Actor(node: NodeID($0), epoch: 1), counter: 1) }), versions: [])
    }
    let half = UInt64(Limits.contextEntriesMax / 2)
    #expect(code(.join(record(0..<half)), record(half..<2 * half)) == nil)
    #expect(code(.join(record(0..<half)), record(half..<2 * half + 1)) == .tooManySiblings)
  }

  @Test func `what an owner holds beside a write is named`() throws {
    let mine = try record(mint(1))
    let dot = Dot(actor: Actor(node: NodeID(2), epoch: 1), counter: 1)
    let incoming = Record(
      context: VersionVector(),
      versions: [
        Version(
          dot: dot, stamp: Stamp(bits: 1), requestID: RequestID(client: 1, sequence: 1), checksum: 0,
          content: .tombstone)
      ])
    let outcome = try Merge.apply(.join(incoming), to: mine).get()
    #expect(outcome.beside?.history == outcome.record.context)
    let again = try Merge.apply(.join(mine), to: outcome.record).get()
    #expect(!again.changed)
  }

  /// kvsim, seed 58: an entry of a vector claims every dot up to its counter, so the receipt of a write claimed a sibling
  /// that the same node had minted before it, and the next write with that receipt replaced it, unseen.
  @Test func `a receipt covers the write, and no version beside it`() throws {
    let alone = try Merge.apply(mint(1), to: Record()).get()
    #expect(alone.covered?.covers(Dot(actor: Self.actor, counter: 1)) == true)
    let beside = try Merge.apply(mint(2, .context(VersionVector())), to: alone.record).get()
    #expect(beside.record.versions.count == 2)
    #expect(beside.covered == nil)
  }

  /// kvsim, seeds 92 and 209: an owner that has seen the overwrite replaced cannot say which of its versions came before.
  @Test func `a join of what was replaced here is contested, since what else was replaced is not known`() throws {
    let incoming = try record(mint(1))
    func version(_ counter: UInt64) -> Version {
      Version(
        dot: Dot(actor: Self.other, counter: counter), stamp: Stamp(bits: 20 << 16),
        requestID: RequestID(client: 2, sequence: counter), checksum: 0, content: .tombstone)
    }
    let one = Record(context: incoming.context, versions: [version(6)])
    let two = Record(context: incoming.context, versions: [version(6), version(7)])
    let single = try Merge.apply(.join(incoming), to: one).get()
    #expect(single.isContested && single.beside == nil)
    #expect(try Merge.apply(.join(incoming), to: two).get().isContested)
    #expect(try !Merge.apply(.join(incoming), to: Record()).get().isContested)
  }

  @Test func `a request id is remembered for a minute from when its version was replaced`() throws {
    let key = try Key([1])
    let old = try record(mint(1, stamp: 1_000))
    for stamp: UInt64 in [50_000, 61_000, 10_000_000] {
      let new = try Merge.apply(mint(2, stamp: stamp), to: old).get().record
      let delta = RecordDelta(of: key, from: old, to: new, seed: 1)
      #expect(delta.requestsReplaced.map(\.id.sequence) == [1])
      #expect(delta.requestsReplaced.first?.until == WallTime(milliseconds: stamp + RequestMemory.spanMs))
    }
  }
}
