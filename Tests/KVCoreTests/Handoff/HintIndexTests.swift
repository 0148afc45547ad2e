import KVModel
import Testing

@testable import KVCore

struct HintIndexTests {
  private static let geometry = ShardGeometry(cluster: ClusterID(9), partitionBits: 4, leafBits: 3)
  private static let (two, three) = (NodeID(2), NodeID(3))

  private static func key(_ number: Int) throws -> Key { try Key(Array("k\(number)".utf8)) }

  private static func note(_ index: inout HintIndex, _ target: NodeID, _ number: Int) throws -> HintIndex.Entry {
    let key = try key(number)
    return index.note(target, key, LeafPlace(of: key, geometry))
  }

  @Test func `each pair of target and key counts once, however often it is noted`() throws {
    var index = HintIndex(keysMax: 100)
    for _ in 0..<3 {
      for number in 1...5 { #expect(try Self.note(&index, Self.two, number) == .key) }
      #expect(try Self.note(&index, Self.three, 1) == .key)
    }
    #expect(index.count == 6 && index.sequence == 18)
    let census = index.census(synced: 18)
    #expect(census.targets.map(\.node) == [Self.two, Self.three] && census.targets.map(\.keys) == [5, 1])
    #expect(index.forget(Self.two, try (1...5).map(Self.key), upTo: 18).count == 5)
    #expect(index.census(synced: 18).targets.map(\.node) == [Self.three] && index.count == 1)
  }

  @Test func `hazard 2: what was noted after a page was listed is not forgotten with it`() throws {
    var index = HintIndex(keysMax: 100)
    _ = try Self.note(&index, Self.two, 1)
    _ = try Self.note(&index, Self.two, 2)
    let listed = index.sequence
    _ = try Self.note(&index, Self.two, 1)
    #expect(index.forget(Self.two, [try Self.key(1), try Self.key(2)], upTo: listed) == [try Self.key(2)])
    #expect(index.count == 1)
    // Of an unknown one only the entry on the disk is left.
    #expect(index.forget(Self.two, [try Self.key(7)], upTo: listed) == [try Self.key(7)])
    #expect(index.count == 1)
  }

  @Test func `hazard 16: over the budget leaves are marked, once each, and a known key keeps its hint`() throws {
    var index = HintIndex(keysMax: 2)
    _ = try Self.note(&index, Self.two, 1)
    _ = try Self.note(&index, Self.three, 1)
    let place = LeafPlace(of: try Self.key(2), Self.geometry)
    #expect(try Self.note(&index, Self.two, 2) == .mark(place))
    #expect(try Self.note(&index, Self.two, 2) == .nothing)
    #expect(try Self.note(&index, Self.two, 1) == .key)
    #expect(index.overBudget == 2 && index.count == 2)
    #expect(index.census(synced: 0).isMarked(place.partition, for: Self.two))
    #expect(!index.census(synced: 0).isMarked(place.partition, for: Self.three))
    // The second note of the leaf came after an exchange had begun.
    #expect(index.forgetMarks(Self.two, place.partition, upTo: 3) == [])
    #expect(index.forgetMarks(Self.two, place.partition, upTo: index.sequence) == [place])
    #expect(index.forget(Self.three, [try Self.key(1)], upTo: index.sequence).count == 1)
    #expect(try Self.note(&index, Self.two, 2) == .key, "there is room again")
  }

  @Test func `what an earlier start left counts, and may go at once`() throws {
    var index = HintIndex(keysMax: 1)
    index.load(Self.two, try Self.key(1))
    index.load(Self.two, try Self.key(2))
    index.load(Self.two, LeafPlace(partition: PartitionID(3), leaf: 4))
    #expect(index.count == 2, "a smaller budget than before drops nothing")
    #expect(index.census(synced: 0).targets == [.init(node: Self.two, keys: 2, marks: 1, marked: [PartitionID(3)])])
    #expect(index.forget(Self.two, [try Self.key(1), try Self.key(2)], upTo: 0).count == 2)
    #expect(index.forgetMarks(Self.two, PartitionID(3), upTo: 0).count == 1 && index.isEmpty)
  }
}
